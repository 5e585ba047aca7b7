//! The door of the data plane: HTTP in, HTTP out.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use sagebrush_aws::sigv4::{Caller, Dialect, Verifier, signs_body};
use sagebrush_aws::{
    ApiError, BodyError, BodyMemory, Held, InvokeKind, ReadBody, Terms, read_body, request_id,
};
use sagebrush_core::ResourceName;
use sagebrush_core::access::Authorizer;
use sagebrush_core::trace::Tracer;
use sagebrush_core::worker::{Call, Payload};
use tokio::time::Instant;

use crate::async_inference::{self, AsyncInference, Carried, LONGEST_BODY};
use crate::error::InvokeError;
use crate::headers;
use crate::invoke::{Invoked, Invoker, Target, too_long};
use crate::meter::Meters;
use crate::reply::{self, Spent};
use crate::trace::{self, CallTrace};

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
    pub asynchronous: AsyncInference,
    pub verifier: Arc<Verifier>,
    pub authorizer: Arc<dyn Authorizer>,
    pub meters: Arc<Meters>,
    pub settings: Settings,
    pub tracer: Tracer,
}

/// What came of a call that was let in.
type Answered = Result<Response<Full<Bytes>>, Refusal>;

/// A call that came, and its trace if it is traced.
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) trace: Option<Box<CallTrace>>,
}

/// When a call must be read, and when it must be answered.
pub(crate) struct Within {
    read_by: Instant,
    deadline: Instant,
}

/// A call that was let in.
pub(crate) struct LetIn {
    pub(crate) target: Target,
    pub(crate) call: Call,
    /// The body's room stays taken until the call is answered or given up.
    pub(crate) held: Held,
}

/// Why a call got no reply of a model.
pub(crate) enum Refusal {
    Door(ApiError),
    Invoke(InvokeError),
}

impl Door {
    /// Sets the gauges that say how things are now, whenever it is called.
    pub fn gauges(&self) -> impl Fn() + Send + Sync + 'static {
        let (routes, meters) = (self.invoker.routes.clone(), self.meters.clone());
        let asynchronous = self.asynchronous.clone();
        move || {
            meters.look(&routes.look());
            asynchronous.look();
        }
    }

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
        let id = request_id();
        let operation =
            if kind == InvokeKind::Async { "InvokeEndpointAsync" } else { "InvokeEndpoint" };
        let mut arrived = self.arrived(operation, request.headers());
        let answered = self.handle(endpoint, kind, request, &id, &mut arrived).await;
        let response = answered.unwrap_or_else(|refusal| refusal.into_response(&id, &mut arrived));
        if let Some(trace) = &mut arrived.trace {
            trace.answered(response.status(), &id);
        }
        response
    }

    pub(crate) fn arrived(&self, operation: &'static str, headers: &HeaderMap) -> Arrived {
        let trace = CallTrace::begin(&self.tracer, operation, headers);
        Arrived { at: Instant::now(), trace }
    }

    /// The way of a call: body, signature, headers, model, reply, meter.
    async fn handle<B>(
        &self,
        endpoint: &str,
        kind: InvokeKind,
        request: Request<B>,
        id: &Arc<str>,
        arrived: &mut Arrived,
    ) -> Answered
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if kind == InvokeKind::Async {
            // Boxed, so that other calls do not carry the room that these need.
            return Box::pin(self.accept(endpoint, request, id, arrived)).await;
        }
        let within = arrived.within(CALL_TIMEOUT);
        let let_in = self.let_in(endpoint, kind, request, id, within).await?;
        let LetIn { target, mut call, held: _held } = let_in;
        arrived.let_in(&target, &mut call);
        let invoked = self.invoker.invoke(&target, call).await.inspect_err(|error| {
            self.meters.refused(&target, error);
        })?;
        let total = arrived.at.elapsed();
        let timings = invoked.outcome.as_ref().map(|reply| reply.timings).unwrap_or_default();
        let Invoked { queued, gathered, model_latency, .. } = invoked;
        let batch_size = invoked.batch.size;
        let spent = Spent { total, queued, gathered, batch_size, model_latency, timings };
        self.meters.invoked(&target, &invoked, &spent);
        if let Some(trace) = &mut arrived.trace {
            trace.invoked(&invoked);
        }
        Ok(match invoked.outcome {
            Ok(model_reply) => reply::success(model_reply, &invoked.variant.name, id, &spent),
            Err(error) => reply::failure(&error, id, &spent),
        })
    }

    /// Reads a call, and checks all that can be said of it before it is tried.
    pub(crate) async fn let_in<B>(
        &self,
        endpoint: &str,
        kind: InvokeKind,
        request: Request<B>,
        id: &Arc<str>,
        Within { read_by, deadline }: Within,
    ) -> Result<LetIn, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let limit = self.settings.max_payload;
        let (body, caller) = self.read(&parts, body, limit, read_by).await?;
        let mut headers = match kind {
            InvokeKind::Stream => headers::read_for_stream(&parts.headers)?,
            InvokeKind::RealTime | InvokeKind::Async => headers::read(&parts.headers)?,
        };
        if self.tracer.is_on() {
            trace::pass_on(&parts.headers, &mut headers.forwarded);
        }
        let target = Target {
            region: caller.region.clone(),
            endpoint: name(endpoint)?,
            variant: headers.target_variant,
            is_asynchronous: false,
        };
        self.allow(&caller, &parts, &target, kind)?;
        let call = Call {
            payload: Payload { content_type: headers.content_type, body: body.bytes },
            accept: headers.accept,
            headers: headers.forwarded,
            target_model: headers.target_model,
            target_container: headers.target_container,
            request_id: id.clone(),
            deadline,
        };
        Ok(LetIn { target, call, held: body.held })
    }

    /// The way of a call that is answered later: body, signature, backlog.
    async fn accept<B>(
        &self,
        endpoint: &str,
        request: Request<B>,
        id: &Arc<str>,
        arrived: &mut Arrived,
    ) -> Answered
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let deadline = arrived.at + CALL_TIMEOUT;
        let (body, caller) = self.read(&parts, body, LONGEST_BODY, deadline).await?;
        let target = Target {
            region: caller.region.clone(),
            endpoint: name(endpoint)?,
            variant: None,
            is_asynchronous: true,
        };
        self.allow(&caller, &parts, &target, InvokeKind::Async)?;
        if let Some(trace) = &mut arrived.trace {
            trace.aims(&target.region, &target.endpoint);
        }
        let carried = arrived.carried(&self.tracer, &parts.headers);
        let body = body.bytes.clone();
        let accepted = self.asynchronous.accept(&target, &parts.headers, body, carried).await;
        Ok(reply::accepted(&accepted?, id))
    }

    /// Reads the body, and checks who signed the request.
    async fn read<B>(
        &self,
        parts: &Parts,
        body: B,
        limit: usize,
        deadline: Instant,
    ) -> Result<(ReadBody, Caller), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (memory, is_signed) = (&self.settings.body_memory, signs_body(parts));
        let terms = Terms { limit, deadline, memory, is_signed };
        let body = read_body(body, terms).await.map_err(|error| match error {
            BodyError::TooLarge { .. } => Refusal::Invoke(InvokeError::Invalid(too_long(limit))),
            error @ (BodyError::TimedOut
            | BodyError::NoRoom
            | BodyError::NotGzip(_)
            | BodyError::Broken(_)) => Refusal::Door(error.into()),
        })?;
        let caller = self.verifier.verify_read(parts, &body, "sagemaker");
        Ok((body, caller.map_err(|error| error.into_api_error(Dialect::Json))?))
    }
}

impl Arrived {
    /// For a call that may take so long.
    pub(crate) fn within(&self, longest: Duration) -> Within {
        Within { read_by: self.at + longest.min(CALL_TIMEOUT), deadline: self.at + longest }
    }

    /// Has the trace, if there is one, go on with the call.
    pub(crate) fn let_in(&mut self, target: &Target, call: &mut Call) {
        if let Some(trace) = &mut self.trace {
            trace.aims(&target.region, &target.endpoint);
            trace.goes_with(&mut call.headers);
        }
    }

    /// The trace of a call that is answered later.
    fn carried(&self, tracer: &Tracer, headers: &HeaderMap) -> Option<Carried> {
        match &self.trace {
            Some(trace) => Some(Carried::of(trace)),
            None if tracer.is_on() => Carried::passing(headers),
            None => None,
        }
    }
}

impl Refusal {
    pub(crate) fn into_response(
        self,
        id: &Arc<str>,
        arrived: &mut Arrived,
    ) -> Response<Full<Bytes>> {
        if let (Some(trace), Self::Invoke(error)) = (&mut arrived.trace, &self) {
            trace.failed(error);
        }
        let spent = Spent { total: arrived.at.elapsed(), ..Spent::default() };
        match self {
            Self::Door(error) => reply::refusal(&error, id, &spent),
            Self::Invoke(error) => reply::failure(&error, id, &spent),
        }
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

impl From<async_inference::Refused> for Refusal {
    fn from(refused: async_inference::Refused) -> Self {
        match refused {
            async_inference::Refused::Invalid(error) => Self::Invoke(error),
            async_inference::Refused::Api(error) => Self::Door(error),
        }
    }
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
