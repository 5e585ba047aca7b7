//! The door of the data plane: HTTP in, HTTP out.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use sagebrush_aws::sigv4::{Dialect, Verifier, signs_body};
use sagebrush_aws::{
    ApiError, BodyError, BodyMemory, InvokeKind, ReadBody, Terms, read_body, request_id,
};
use sagebrush_core::ResourceName;
use sagebrush_core::worker::{Call, Payload};
use tokio::time::Instant;

use crate::error::InvokeError;
use crate::headers;
use crate::invoke::{Invoked, Invoker, Target, too_long};
use crate::meter::Meters;
use crate::reply::{self, Spent};

/// How long a call may take, from the door to the reply.
///
/// SageMaker API: "your model container must respond to requests within 60 seconds".
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// What an operator may set of the data plane.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest payload, in bytes.
    pub max_payload: usize,
    /// What the payloads of all calls may take together.
    pub body_memory: BodyMemory,
}

/// Lets calls in, and answers them.
pub struct Door {
    pub invoker: Invoker,
    pub verifier: Arc<Verifier>,
    pub meters: Arc<Meters>,
    pub settings: Settings,
}

/// What came of a call that was let in.
type Answered = Result<Response<Full<Bytes>>, Refusal>;

/// Why a call got no reply of a model.
enum Refusal {
    Door(ApiError),
    Invoke(InvokeError),
}

impl Door {
    /// Answers `POST /endpoints/{endpoint}/..`.
    pub async fn answer<B>(
        &self,
        endpoint: &str,
        kind: InvokeKind,
        request: Request<B>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let arrived_at = Instant::now();
        let id = request_id();
        match self.handle(endpoint, kind, request, &id, arrived_at).await {
            Ok(response) => response,
            Err(refusal) => {
                let spent = Spent { total: arrived_at.elapsed(), ..Spent::default() };
                match refusal {
                    Refusal::Door(error) => reply::refusal(&error, &id, &spent),
                    Refusal::Invoke(error) => reply::failure(&error, &id, &spent),
                }
            }
        }
    }

    /// The way of a call: body, signature, headers, model, reply, meter.
    async fn handle<B>(
        &self,
        endpoint: &str,
        kind: InvokeKind,
        request: Request<B>,
        id: &Arc<str>,
        arrived_at: Instant,
    ) -> Answered
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let deadline = arrived_at + CALL_TIMEOUT;
        let (parts, body) = request.into_parts();
        // The body's room stays taken until the call is answered or given up.
        let body = self.read(body, signs_body(&parts), deadline).await?;
        let caller = self.verifier.verify_read(&parts, &body, "sagemaker");
        let caller = caller.map_err(|error| error.into_api_error(Dialect::Json))?;
        check_served(kind)?;
        let headers = headers::read(&parts.headers)?;
        let variant = headers.target_variant;
        let target = Target { region: caller.region, endpoint: name(endpoint)?, variant };
        let call = Call {
            payload: Payload { content_type: headers.content_type, body: body.bytes.clone() },
            accept: headers.accept,
            headers: headers.forwarded,
            target_model: headers.target_model,
            target_container: headers.target_container,
            request_id: id.clone(),
            deadline,
        };
        let invoked = self.invoker.invoke(&target, call).await.inspect_err(|error| {
            self.meters.refused(&target, error);
        })?;
        let total = arrived_at.elapsed();
        let timings = invoked.outcome.as_ref().map(|reply| reply.timings).unwrap_or_default();
        let Invoked { queued, gathered, model_latency, .. } = invoked;
        let batch_size = invoked.batch.size;
        let spent = Spent { total, queued, gathered, batch_size, model_latency, timings };
        self.meters.invoked(&target, &invoked, &spent);
        Ok(match invoked.outcome {
            Ok(model_reply) => reply::success(model_reply, &invoked.variant, id, &spent),
            Err(error) => reply::failure(&error, id, &spent),
        })
    }

    async fn read<B>(
        &self,
        body: B,
        is_signed: bool,
        deadline: Instant,
    ) -> Result<ReadBody, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let limit = self.settings.max_payload;
        let terms = Terms { limit, deadline, memory: &self.settings.body_memory, is_signed };
        read_body(body, terms).await.map_err(|error| match error {
            BodyError::TooLarge { .. } => Refusal::Invoke(InvokeError::Invalid(too_long(limit))),
            error @ (BodyError::TimedOut | BodyError::NoRoom | BodyError::Broken(_)) => {
                Refusal::Door(error.into())
            }
        })
    }
}

fn check_served(kind: InvokeKind) -> Result<(), ApiError> {
    match kind {
        InvokeKind::RealTime => Ok(()),
        InvokeKind::Async => Err(ApiError::unknown_operation("InvokeEndpointAsync")),
        InvokeKind::Stream => Err(ApiError::unknown_operation("InvokeEndpointWithResponseStream")),
    }
}

/// The endpoint's name, or the constraint that it breaks.
fn name(endpoint: &str) -> Result<ResourceName, InvokeError> {
    endpoint.parse().map_err(|_| {
        let constraint = if endpoint.chars().count() > 63 {
            "Member must have length less than or equal to 63"
        } else {
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*"
        };
        let shown: String = endpoint.chars().take(256).collect();
        InvokeError::Invalid(format!(
            "1 validation error detected: Value '{shown}' at 'endpointName' failed to satisfy \
             constraint: {constraint}"
        ))
    })
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Door(error)
    }
}

impl From<InvokeError> for Refusal {
    fn from(error: InvokeError) -> Self {
        Self::Invoke(error)
    }
}
