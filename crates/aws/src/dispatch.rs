//! From the name of an operation to the function that does it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sagebrush_core::access::Authorizer;
use sagebrush_wire::{Operation, Service, Shape};
use serde_json::Value;

use crate::audit::decapitalised;
use crate::{ApiError, Context, cbor, guard, json, query, validate};

/// A future that has forgotten its type.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The operations that one state `S` serves.
pub struct Dispatch<S> {
    operations: BTreeMap<Name, Served<Arc<dyn Handle<S>>>>,
}

/// The signing name of a service and the name of an operation.
type Name = (&'static str, &'static str);

impl<S: Send + Sync + 'static> Dispatch<S> {
    #[must_use]
    pub fn new() -> Self {
        Self { operations: BTreeMap::new() }
    }

    /// Serves `O` by `handler`.
    #[must_use]
    pub fn on<O, F, R>(mut self, handler: F) -> Self
    where
        O: Operation,
        F: Fn(Arc<S>, Context, O::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O::Output, ApiError>> + Send + 'static,
    {
        let handle = Handler::<O, F> { handler, operation: std::marker::PhantomData };
        let served = Served {
            service: O::SERVICE,
            input: O::input_shape(),
            is_open: false,
            handle: Arc::new(handle) as _,
        };
        self.operations.insert((O::SERVICE.signing_name, O::NAME), served);
        self
    }

    /// Serves `O`, of the query protocol, to those also who do not sign; [`Context::is_signed`]
    /// tells them. For links in messages, which carry a secret of their own.
    #[must_use]
    pub fn on_open<O, F, R>(self, handler: F) -> Self
    where
        O: Operation,
        F: Fn(Arc<S>, Context, O::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O::Output, ApiError>> + Send + 'static,
    {
        let mut served = self.on::<O, F, R>(handler);
        if let Some(open) = served.operations.get_mut(&(O::SERVICE.signing_name, O::NAME)) {
            open.is_open = true;
        }
        served
    }

    /// The names of the operations served here, sorted.
    #[must_use]
    pub fn operations(&self) -> Vec<&'static str> {
        self.operations.keys().map(|(_, operation)| *operation).collect()
    }

    /// Calls an operation with a JSON body and returns the JSON answer. For tests; the door goes
    /// through [`Api`].
    pub async fn call(
        &self,
        state: Arc<S>,
        context: Context,
        operation: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, ApiError> {
        let found = self.operations.iter().find(|((_, name), _)| *name == operation);
        let (_, served) = found.ok_or_else(|| ApiError::unknown_operation(operation))?;
        let input = json::read(body)?;
        validate::check(served.input, &input)?;
        served.handle.clone().handle(state, context, input, Format::Json).await
    }

    /// Ties the operations to their state, so that services with different states can share a
    /// door.
    #[must_use]
    pub fn serve(self, state: Arc<S>) -> Api {
        let bind = |served: Served<Arc<dyn Handle<S>>>| Served {
            service: served.service,
            input: served.input,
            is_open: served.is_open,
            handle: Arc::new(Bound { state: state.clone(), handle: served.handle }) as _,
        };
        Api {
            operations: self
                .operations
                .into_iter()
                .map(|(name, served)| (name, bind(served)))
                .collect(),
        }
    }
}

impl<S: Send + Sync + 'static> Default for Dispatch<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Operations of any services, ready to be called.
#[derive(Default)]
pub struct Api {
    operations: BTreeMap<Name, Served<Arc<dyn Call>>>,
}

impl Api {
    /// Adds the operations of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        self
    }

    /// The services served here and the names of their operations.
    pub fn operations(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.operations.keys().copied()
    }

    /// The signing name of the service whose `X-Amz-Target` starts with `prefix`.
    #[must_use]
    pub fn service_of_target(&self, prefix: &str) -> Option<&'static str> {
        let mut served = self.operations.values();
        let found = served.find(|served| served.service.target_prefix == prefix);
        found.map(|served| served.service.signing_name).filter(|_| !prefix.is_empty())
    }

    /// The signing name of the service that serves `operation` to those who do not sign.
    pub(crate) fn open_service(&self, operation: &str) -> Option<&'static str> {
        let mut served = self.operations.iter();
        served.find(|((_, name), it)| it.is_open && *name == operation).map(|((name, _), _)| *name)
    }

    /// What a client sent, as the audit log has it; `Null` if it cannot be read.
    pub(crate) fn parameters(&self, service: &str, operation: &str, input: &Input) -> Value {
        let Some(served) = self.operations.get(&(service, operation)) else { return Value::Null };
        let read = match input {
            Input::Json(body) => json::read(body),
            Input::Form(form) => query::read(served.input, form),
            Input::Cbor(body) => cbor::read(served.input, body),
        };
        read.map_or(Value::Null, |value| decapitalised(served.input, value))
    }

    /// Checks whether the caller may, checks `input`, calls the operation and writes its answer.
    pub(crate) async fn call(
        &self,
        authorizer: &dyn Authorizer,
        (service, operation): (&str, &str),
        context: Context,
        input: Input,
    ) -> Result<Vec<u8>, ApiError> {
        let served = self
            .operations
            .get(&(service, operation))
            .ok_or_else(|| ApiError::unknown_operation(&format!("{service}:{operation}")))?;
        let (input, format) = match input {
            Input::Json(body) => (json::read(&body)?, Format::Json),
            Input::Form(form) => (query::read(served.input, &form)?, Format::Xml),
            Input::Cbor(body) => (cbor::read(served.input, &body)?, Format::Cbor),
        };
        // What need not be signed is for its handler to judge.
        if context.is_signed() || !served.is_open {
            let checked = guard::check(authorizer, (service, operation), &context, &input);
            checked.map_err(|denied| guard::denied(denied, format == Format::Xml))?;
        }
        validate::check(served.input, &input)?;
        served.handle.call(context, input, format).await
    }
}

/// What a client sent, before it is known what it should be.
pub(crate) enum Input {
    Json(bytes::Bytes),
    Form(query::Form),
    Cbor(bytes::Bytes),
}

struct Served<H> {
    service: Service,
    input: &'static Shape,
    is_open: bool,
    handle: H,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Xml,
    Cbor,
}

type Answer = BoxFuture<Result<Vec<u8>, ApiError>>;

/// An operation whose types are forgotten.
trait Handle<S>: Send + Sync {
    fn handle(
        self: Arc<Self>,
        state: Arc<S>,
        context: Context,
        input: Value,
        format: Format,
    ) -> Answer;
}

/// An operation whose types and state are forgotten.
trait Call: Send + Sync {
    fn call(&self, context: Context, input: Value, format: Format) -> Answer;
}

struct Handler<O, F> {
    handler: F,
    operation: std::marker::PhantomData<fn() -> O>,
}

impl<S, O, F, R> Handle<S> for Handler<O, F>
where
    S: Send + Sync + 'static,
    O: Operation,
    F: Fn(Arc<S>, Context, O::Input) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O::Output, ApiError>> + Send + 'static,
{
    fn handle(
        self: Arc<Self>,
        state: Arc<S>,
        context: Context,
        input: Value,
        format: Format,
    ) -> Answer {
        Box::pin(async move {
            let input = serde_json::from_value(input)
                .map_err(|error| ApiError::serialization(error.to_string()))?;
            let request_id = context.request_id.clone();
            let output = (self.handler)(state, context, input).await?;
            match format {
                Format::Json => serde_json::to_vec(&output).map_err(ApiError::internal),
                Format::Xml => query::write::<O>(&output, &request_id),
                Format::Cbor => cbor::write::<O>(&output),
            }
        })
    }
}

struct Bound<S> {
    state: Arc<S>,
    handle: Arc<dyn Handle<S>>,
}

impl<S: Send + Sync + 'static> Call for Bound<S> {
    fn call(&self, context: Context, input: Value, format: Format) -> Answer {
        self.handle.clone().handle(self.state.clone(), context, input, format)
    }
}
