//! The door of everything but S3 and the runtime: one function from request to answer.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use sagebrush_core::access::Authorizer;
use sagebrush_core::audit::AuditSink;
use sagebrush_core::trace::{Kind, Open, Tracer};
use sagebrush_core::{AccountId, Region, task};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::answer::AnswerTo;
use crate::audit::Heard;
use crate::demux::signing_service;
use crate::dispatch::{Api, Input};
use crate::query::Form;
use crate::sigv4::{Caller, Verifier, signs_body};
use crate::{ApiError, BodyMemory, Context, Peer, Presence, Target, Terms, read_body, request_id};

/// The longest input: a full batch of `PutLogEvents`, whose megabyte grows as JSON. SageMaker's
/// own limits stay far below.
const MAX_BODY: usize = 4 << 20;

/// How long a client may take to send it.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Lets calls in, and answers them.
pub struct Door {
    api: Arc<Api>,
    verifier: Arc<Verifier>,
    authorizer: Arc<dyn Authorizer>,
    account: AccountId,
    memory: BodyMemory,
    tracer: Tracer,
    audit: Option<Arc<dyn AuditSink>>,
}

/// Which operation a request names, and for which service it must be signed.
struct Call {
    service: String,
    operation: String,
    input: Input,
    /// Not signed, and need not be.
    is_open: bool,
}

impl Door {
    #[must_use]
    pub fn new(
        api: Api,
        verifier: Arc<Verifier>,
        authorizer: Arc<dyn Authorizer>,
        account: AccountId,
        memory: BodyMemory,
    ) -> Self {
        let (api, tracer) = (Arc::new(api), Tracer::default());
        Self { api, verifier, authorizer, account, memory, tracer, audit: None }
    }

    /// Tells `sink` of each call whose signature is good.
    #[must_use]
    pub fn audited(self, sink: Arc<dyn AuditSink>) -> Self {
        Self { audit: Some(sink), ..self }
    }

    /// Has its calls traced.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Answers a request whose [`Target`] is `Json`, `Cbor`, `Query` or `Unknown`.
    pub async fn answer<B>(&self, target: Target, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let id = request_id();
        let answer = AnswerTo::new(target.dialect(), request.headers(), id.clone());
        let span = tracing::info_span!("call", request_id = &*id);
        let mut trace = self
            .tracer
            .begin(Kind::Server, "AwsApi", |name| request.headers().get(name)?.to_str().ok());
        let outcome = self.handle(target, request, id.clone(), trace.as_deref_mut());
        let outcome = outcome.instrument(span.clone()).await;
        if let Some(trace) = &mut trace {
            tell(trace, &id, outcome.as_ref().err());
        }
        if let Err(error) = &outcome {
            span.in_scope(|| log(error));
        }
        answer.write(outcome)
    }

    /// The way of a call.
    async fn handle<B>(
        &self,
        target: Target,
        request: Request<B>,
        request_id: Arc<str>,
        trace: Option<&mut Open>,
    ) -> Result<Vec<u8>, ApiError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let dialect = target.dialect();
        let (parts, body) = request.into_parts();
        let (limit, deadline) = (MAX_BODY, Instant::now() + BODY_TIMEOUT);
        let terms = Terms { limit, deadline, memory: &self.memory, is_signed: signs_body(&parts) };
        let mut body = read_body(body, terms).await?;
        // What is signed is the body as it came in.
        let unpacked = body.unpacked(&parts.headers, &self.memory)?;
        let call = self.read(target, &parts, &unpacked)?;
        let caller = if call.is_open {
            nobody()
        } else {
            let verified = self.verifier.verify_read(&parts, &body, &call.service);
            verified.map_err(|error| error.into_api_error(dialect))?
        };
        if let Some(trace) = trace {
            trace.rename(call.operation.clone());
            trace.set("rpc.service", call.service.as_str());
            trace.set("rpc.method", call.operation.as_str());
            trace.set("cloud.region", caller.region.as_str());
        }
        let mut context = self.context(&parts, caller, request_id);
        let (_here, caller) = Presence::new();
        context.caller = caller;
        let Some(sink) = self.wanted(&call) else { return self.call(call, context).await };
        let parameters = self.api.parameters(&call.service, &call.operation, &call.input);
        let heard = Heard::new(&call.service, &call.operation, parameters, &context);
        let is_open = call.is_open;
        let outcome = self.call(call, context).await;
        // Whoever need not sign could fill the log with what is refused.
        if outcome.is_ok() || !is_open {
            sink.record(heard.answered(&outcome));
        }
        outcome
    }

    /// Who wants to hear of a call.
    fn wanted(&self, call: &Call) -> Option<&Arc<dyn AuditSink>> {
        self.audit.as_ref().filter(|sink| sink.wants(&call.service, &call.operation))
    }

    fn read(&self, target: Target, parts: &Parts, body: &Bytes) -> Result<Call, ApiError> {
        match target {
            Target::Json { prefix, operation } => {
                let service = self.service_of_target(&prefix, parts);
                let input = Input::Json(body.clone());
                Ok(Call { service, operation, input, is_open: false })
            }
            Target::Cbor { service, operation } => {
                let service = self.service_of_target(&service, parts);
                let input = Input::Cbor(body.clone());
                Ok(Call { service, operation, input, is_open: false })
            }
            Target::Query { service } => {
                // A presigned URL carries it all, and is posted without a body.
                let url = parts.uri.query().unwrap_or_default().as_bytes();
                let text: &[u8] = if body.is_empty() { url } else { body };
                let form = Form::parse(text)
                    .map_err(|error| ApiError::serialization(error.to_string()))?;
                let operation = form.get("Action").unwrap_or_default().to_owned();
                let unsigned = signing_service(parts).is_none();
                let open = self.api.open_service(&operation).filter(|_| unsigned);
                let service = open.map_or(service, str::to_owned);
                let input = Input::Form(form);
                Ok(Call { service, operation, input, is_open: open.is_some() })
            }
            Target::Unknown { service, operation } => {
                let input = Input::Json(Bytes::new());
                Ok(Call { service, operation, input, is_open: false })
            }
            Target::Operations(_) | Target::Invoke { .. } | Target::S3 => {
                Err(ApiError::unknown_operation(parts.uri.path()))
            }
        }
    }

    fn service_of_target(&self, prefix: &str, parts: &Parts) -> String {
        let served = self.api.service_of_target(prefix).map(str::to_owned);
        // Of a service that is not served, only the client knows what it signs with.
        served.or_else(|| signing_service(parts).map(Cow::into_owned)).unwrap_or_default()
    }

    fn context(&self, parts: &Parts, caller: Caller, request_id: Arc<str>) -> Context {
        let header = |name: HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let peer = parts.extensions.get::<Peer>();
        let authority = || parts.uri.authority().map(ToString::to_string);
        Context {
            region: caller.region,
            account: self.account.clone(),
            request_id,
            access_key: caller.access_key,
            session: caller.session,
            user_agent: header(USER_AGENT),
            host: header(HOST).or_else(authority),
            source_ip: peer.map(|peer| peer.ip),
            is_secure: peer.is_some_and(|peer| peer.is_secure),
            caller: Presence::default(),
        }
    }

    /// Calls in a task of its own: a client that hangs up must not stop a call half way, and a
    /// panic must not take the connection down.
    async fn call(&self, call: Call, context: Context) -> Result<Vec<u8>, ApiError> {
        let (api, authorizer) = (self.api.clone(), self.authorizer.clone());
        let Call { service, operation, input, is_open: _ } = call;
        tracing::debug!(service, operation, region = %context.region, "called");
        let work =
            async move { api.call(&*authorizer, (&service, &operation), context, input).await };
        task::spawn("call", work.in_current_span()).await.map_err(ApiError::internal)?
    }
}

/// Who calls an open operation without a signature. The region is for the input to tell.
fn nobody() -> Caller {
    Caller { region: Region::new(""), access_key: "".into(), session: None }
}

fn tell(trace: &mut Open, request_id: &str, error: Option<&ApiError>) {
    let status = error.map_or(StatusCode::OK, |error| error.status);
    trace.set("rpc.system", "aws-api");
    trace.set("http.request.method", "POST");
    trace.set("http.response.status_code", status.as_u16());
    trace.set("aws.request_id", request_id);
    match error {
        Some(error) if status.is_server_error() => trace.fail(&*error.code),
        Some(error) => trace.set("error.type", &*error.code),
        None => {}
    }
}

fn log(error: &ApiError) {
    let code = &*error.code;
    if error.status.is_server_error() {
        let cause = error.source().map(tracing::field::display);
        tracing::error!(code, cause, "a call failed");
    } else {
        tracing::debug!(code, message = error.message, "a call was refused");
    }
}
