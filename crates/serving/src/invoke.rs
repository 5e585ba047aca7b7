//! One call: route, variant, instance, reply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sagebrush_core::demand::Wanted;
use sagebrush_core::instance::{self, Admitted, Answered, Batch, Instance, NoTurn, Refused};
use sagebrush_core::route::{AsyncConfig, EndpointRoute, Routes, VariantId, VariantRoute};
use sagebrush_core::trace::SpanContext;
use sagebrush_core::worker::{Call, Reply, StreamedReply, WorkerError};
use sagebrush_core::{AccountId, Region, ResourceName};
use tokio::time::Instant;

use crate::again::{self, Ended, Retries, Tries};
use crate::beside::{Beside, Chosen};
use crate::choose::{Turns, check_targets, choose_instance, choose_other, choose_variant};
use crate::error::{InvokeError, StreamError};
use crate::explain::explain;
use crate::sessions::{self, Sessions};

/// How long a call is held while its endpoint has no instance, before it is refused.
const HOLD: Duration = Duration::from_secs(30);

/// SageMaker's name for the only container.
pub(crate) const PRIMARY: &str = "primary";

/// What names the target of a call.
#[derive(Debug, Clone)]
pub struct Target {
    pub region: Region,
    pub endpoint: ResourceName,
    /// `X-Amzn-SageMaker-Target-Variant`.
    pub variant: Option<String>,
    /// The call comes from a backlog: endpoints take either such calls or all others.
    pub is_asynchronous: bool,
}

/// A reply with where it came from and what it took.
#[derive(Debug)]
pub struct Invoked {
    pub variant: VariantId,
    /// Of the instance.
    pub instance: Arc<Instance>,
    pub outcome: Result<Reply, InvokeError>,
    /// The worker ended with the call, perhaps because of it.
    pub worker_died: bool,
    /// Another one did before.
    pub was_retried: bool,
    /// From the admission to the worker's free slot.
    pub queued: Duration,
    /// From there to the start of its batch.
    pub gathered: Duration,
    /// The calls that the worker answered together.
    pub batch: Batch,
    /// How long the worker took; SageMaker's `ModelLatency`.
    pub model_latency: Duration,
    /// The spans of its batch, where several are traced.
    pub traced: Option<Arc<[SpanContext]>>,
}

/// A reply in parts, as [`Invoked`].
pub struct Streamed {
    pub variant: VariantId,
    /// Of the instance.
    pub instance: Arc<Instance>,
    pub outcome: Result<PartedReply, InvokeError>,
    /// A worker ended with the call before.
    pub was_retried: bool,
    /// From the admission to the worker's free slot.
    pub queued: Duration,
    /// How long the worker took over the first part.
    pub model_latency: Duration,
}

/// What a worker says in parts, its errors in the words that SageMaker's users look for.
pub struct PartedReply {
    pub content_type: Option<String>,
    pub custom_attributes: Option<String>,
    pub parts: BoxStream<'static, Result<Bytes, StreamError>>,
}

impl PartedReply {
    fn of(
        reply: StreamedReply,
        explain: impl Fn(WorkerError) -> InvokeError + Send + 'static,
    ) -> Self {
        let StreamedReply { content_type, custom_attributes, parts, session: _ } = reply;
        let parts = parts.map(move |part| part.map_err(|error| StreamError::of(error, &explain)));
        Self { content_type, custom_attributes, parts: parts.boxed() }
    }
}

/// Brings calls to workers.
#[derive(Clone)]
pub struct Invoker {
    pub routes: Routes,
    pub account: AccountId,
    /// A number in `0.0..1.0` for all choices but that of a variant.
    pub chance: fn() -> f32,
    /// For that one.
    pub turns: Arc<Turns>,
    pub sessions: Sessions,
    pub retries: Retries,
    pub beside: Beside,
}

impl Invoker {
    /// Answers one call; `call.deadline` bounds all of it.
    ///
    /// # Errors
    /// When the call reached no worker; what a worker says is in `Invoked::outcome`.
    pub async fn invoke(&self, target: &Target, call: Call) -> Result<Invoked, InvokeError> {
        let mut routes = None;
        let mut tries = Tries::default();
        let mut counted = Counted::default();
        loop {
            let place = self.place(&mut routes, target, &call, &mut counted, &tries).await?;
            let Place { admitted, variant, max_payload, may_repeat, chosen } = place;
            let answered = match tries.is_second() {
                false => admitted.answer(call.clone()).await,
                true => Box::pin(admitted.answer_alone(call.clone())).await,
            };
            let Answered { outcome, queued, gathered, took, batch, traced } = answered
                .map_err(|NoTurn { retry_after }| overloaded(target, &variant, retry_after))?;
            let instance = admitted.leave();
            let worker_died = outcome.as_ref().is_err_and(again::has_ended);
            if let Err(error) = &outcome
                && worker_died
            {
                let (call, variant, instance) = (&call, &variant, &instance);
                let ended = Ended { target, call, variant, instance, may_repeat, error };
                let routes = routes.get_or_insert_with(|| self.routes.clone());
                if Box::pin(self.retries.again(&mut tries, routes, ended)).await {
                    continue;
                }
            }
            let outcome = outcome.and_then(|reply| fitting(reply, max_payload));
            if let Ok(reply) = &outcome {
                if let Some(said) = &reply.session {
                    self.sessions.note(target, &call, said, &instance);
                }
                self.beside.answered(chosen, (target, &variant.name), call, reply, took);
            }
            let outcome =
                outcome.map_err(|error| explain(&self.account, &target.endpoint, PRIMARY, error));
            return Ok(Invoked {
                variant,
                instance,
                outcome,
                worker_died,
                was_retried: tries.is_second(),
                queued,
                gathered,
                batch,
                model_latency: took,
                traced,
            });
        }
    }

    /// As [`Self::invoke`], for a reply in parts, of which the first is there.
    ///
    /// # Errors
    /// When the call reached no worker; what a worker says is in `Streamed::outcome`.
    pub async fn stream(&self, target: &Target, call: Call) -> Result<Streamed, InvokeError> {
        if sessions::is_new(&call) {
            let why = "A session is created by InvokeEndpoint, not by a reply in parts.";
            return Err(InvokeError::Invalid(why.to_owned()));
        }
        let mut routes = None;
        let mut tries = Tries::default();
        let mut counted = Counted::default();
        loop {
            let place = self.place(&mut routes, target, &call, &mut counted, &tries).await?;
            let Place { admitted, variant, max_payload: _, may_repeat, chosen } = place;
            let instance = admitted.instance().clone();
            let streamed = admitted.stream(call.clone()).await;
            let instance::Streamed { outcome, queued, took } = streamed
                .map_err(|NoTurn { retry_after }| overloaded(target, &variant, retry_after))?;
            if let Err(error) = &outcome
                && again::has_ended(error)
            {
                let (call, variant, instance) = (&call, &variant, &instance);
                let ended = Ended { target, call, variant, instance, may_repeat, error };
                let routes = routes.get_or_insert_with(|| self.routes.clone());
                if Box::pin(self.retries.again(&mut tries, routes, ended)).await {
                    continue;
                }
            }
            let (account, endpoint) = (self.account.clone(), target.endpoint.clone());
            let explain = move |error| explain(&account, &endpoint, PRIMARY, error);
            let outcome = match outcome {
                // The call counts until its last part.
                Ok(reply) => {
                    if let Some(said) = &reply.session {
                        self.sessions.note(target, &call, said, &instance);
                    }
                    let reply = PartedReply::of(reply.holding(counted), explain);
                    Ok(self.beside.streamed(chosen, (target, &variant.name), &call, reply))
                }
                Err(error) => Err(explain(error)),
            };
            return Ok(Streamed {
                variant,
                instance,
                outcome,
                was_retried: tries.is_second(),
                queued,
                model_latency: took,
            });
        }
    }

    /// The configuration of the asynchronous endpoint that is named.
    ///
    /// # Errors
    /// When it takes no asynchronous calls, or none at all.
    pub fn asynchronous(&self, target: &Target) -> Result<Arc<AsyncConfig>, InvokeError> {
        let table = self.routes.look();
        let route = self.route(&table, target)?;
        let endpoint = || target.endpoint.to_string();
        let config = route.asynchronous.clone();
        config.ok_or_else(|| InvokeError::NotAsynchronous { endpoint: endpoint() })
    }

    /// A place on an instance of the newest route; held until there is one. `routes` is made when
    /// it has to be waited for.
    async fn place(
        &self,
        routes: &mut Option<Routes>,
        target: &Target,
        call: &Call,
        counted: &mut Counted,
        tries: &Tries,
    ) -> Result<Place, InvokeError> {
        let mut hold_until = None;
        loop {
            if let Some(routes) = &mut *routes {
                routes.mark_seen(); // Before the look: no change is missed.
            }
            let (until, why_none) = match self.look_for_place(target, call, counted, tries)? {
                Found::Place(place) => return Ok(place),
                Found::None { until, why } => (until, why),
            };
            let Some(routes) = routes else {
                *routes = Some(self.routes.clone());
                continue;
            };
            let hold_until = *hold_until.get_or_insert_with(|| Instant::now() + HOLD);
            let until = until.unwrap_or(hold_until).min(call.deadline);
            let newer = tokio::time::timeout_at(until, routes.changed()).await;
            if !matches!(newer, Ok(Ok(()))) {
                return Err(why_none);
            }
        }
    }

    /// A place on an instance, if one has room now.
    fn look_for_place(
        &self,
        target: &Target,
        call: &Call,
        counted: &mut Counted,
        tries: &Tries,
    ) -> Result<Found, InvokeError> {
        let table = self.routes.look();
        let route = self.route(&table, target)?;
        let named = target.variant.as_deref();
        let holder = self.sessions.holder(target, call)?;
        let variant = match &holder {
            None => choose_variant(route, named, self.turn(route))?,
            Some(holder) => sessions::variant_of(route, holder, named)
                .ok_or_else(|| sessions::gone(target, call))?,
        };
        check_targets(variant, &target.endpoint, call)?;
        let max_payload = counted.count(variant, target, call)?;
        let admitted = match &holder {
            None => admit(variant, call, (self.chance)(), tries.left()),
            Some(holder) => Some(holder.admit(call.payload.body.len(), call.deadline)),
        };
        match admitted {
            Some(Ok(admitted)) => {
                let chosen = Chosen::of(variant, call, self.chance);
                // What a session was is lost with its worker; a backlog has tries of its own.
                let may_repeat =
                    variant.retries_after_death && holder.is_none() && !target.is_asynchronous;
                let variant = variant.id();
                let place = Place { admitted, variant, max_payload, may_repeat, chosen };
                return Ok(Found::Place(place));
            }
            Some(Err(Refused::Full { retry_after })) => {
                return Err(overloaded(target, &variant.id(), retry_after));
            }
            Some(Err(Refused::Closed)) if holder.is_some() => {
                return Err(sessions::gone(target, call));
            }
            // The route is stale or has no instance yet: a newer one comes.
            Some(Err(Refused::Closed)) => {}
            None if variant.is_resting => return Err(no_capacity(target, variant)),
            None => {
                if let Some(reason) = variant.demand.as_ref().and_then(|it| it.trouble()) {
                    let (status, message) = (503, reason.to_string());
                    let error = WorkerError::Model { status, message, content_type: None };
                    return Err(explain(&self.account, &target.endpoint, PRIMARY, error));
                }
            }
        }
        // With demand an instance is on its way.
        let is_awaited = counted.0.is_some() || tries.is_second();
        let until = is_awaited.then_some(call.deadline);
        Ok(Found::None { until, why: no_capacity(target, variant) })
    }

    /// A number in `0.0..1.0` for the choice among the variants of `route`.
    fn turn(&self, route: &EndpointRoute) -> f32 {
        if route.variants.len() > 1 { self.turns.next() } else { 0.0 }
    }

    fn route<'a>(
        &self,
        table: &'a sagebrush_core::route::RouteTable,
        target: &Target,
    ) -> Result<&'a Arc<EndpointRoute>, InvokeError> {
        let endpoint = || target.endpoint.to_string();
        let found = table.find(&target.region, &target.endpoint);
        let route = found.ok_or_else(|| InvokeError::NoEndpoint {
            endpoint: endpoint(),
            account: self.account.to_string(),
        })?;
        match route.closed {
            None if route.asynchronous.is_some() && !target.is_asynchronous => {
                Err(InvokeError::OnlyAsynchronous { endpoint: endpoint() })
            }
            None => Ok(route),
            Some(status) => Err(InvokeError::NotInService { endpoint: endpoint(), status }),
        }
    }
}

/// What came of a look for a place.
enum Found {
    Place(Place),
    /// None has room yet; one is waited for `until` then, or for as long as calls are held.
    None {
        until: Option<Instant>,
        why: InvokeError,
    },
}

/// Where a call is answered.
struct Place {
    admitted: Admitted,
    variant: VariantId,
    /// The bytes that the answer may have.
    max_payload: Option<usize>,
    /// Whether the model's code may get the call twice.
    may_repeat: bool,
    /// Who is told of it.
    chosen: Chosen,
}

/// A call is counted, on its way to a variant that scales with its calls.
#[derive(Default)]
struct Counted(Option<Wanted>);

impl Counted {
    /// Counts the call where `variant` wants it counted, if it is not yet. Returns the bytes that
    /// a payload may have there.
    fn count(
        &mut self,
        variant: &VariantRoute,
        target: &Target,
        call: &Call,
    ) -> Result<Option<usize>, InvokeError> {
        let Some(demand) = &variant.demand else {
            self.0 = None;
            return Ok(None);
        };
        let terms = demand.terms();
        if let Some(limit) = terms.max_payload.filter(|limit| call.payload.body.len() > *limit) {
            return Err(InvokeError::Invalid(too_long(limit)));
        }
        if !self.0.as_ref().is_some_and(|wanted| wanted.is_of(demand)) {
            self.0 = None;
            let wanted = demand.call().ok_or_else(|| InvokeError::Throttled {
                endpoint: target.endpoint.to_string(),
                variant: variant.id(),
                most: terms.max_calls.unwrap_or_default(),
            })?;
            self.0 = Some(wanted);
        }
        Ok(terms.max_payload)
    }
}

/// SageMaker's words for a body that is too long.
pub(crate) fn too_long(limit: usize) -> String {
    format!(
        "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must \
         have length less than or equal to {limit}"
    )
}

/// A reply that may be sent.
fn fitting(reply: Reply, max_payload: Option<usize>) -> Result<Reply, WorkerError> {
    let n = reply.payload.body.len();
    match max_payload.filter(|limit| n > *limit) {
        None => Ok(reply),
        Some(limit) => Err(WorkerError::Model {
            status: 500,
            message: format!(
                "The response has {n} bytes; that of a serverless endpoint may have {limit}. Have \
                 the model store what is larger as an object, and answer with a presigned URL."
            ),
            content_type: None,
        }),
    }
}

/// A place on the instance that is chosen for the call, or on any that has room; rather on another
/// than the one that was `left` for its worker had ended.
fn admit(
    variant: &VariantRoute,
    call: &Call,
    chance: f32,
    left: Option<&Arc<Instance>>,
) -> Option<Result<Admitted, Refused>> {
    let model = call.target_model.as_deref();
    let other = left.and_then(|left| choose_other(variant, model, left));
    let chosen = other.or_else(|| choose_instance(variant, model, chance))?;
    let bytes = call.payload.body.len();
    let refused = match chosen.admit(bytes, call.deadline) {
        Err(full @ Refused::Full { .. }) => full,
        admitted @ (Ok(_) | Err(Refused::Closed)) => return Some(admitted),
    };
    let others = variant.instances.iter().filter(|other| !Arc::ptr_eq(other, chosen));
    let usable = others.filter(|other| !other.breaker.is_open());
    let found = usable.map(|other| other.admit(bytes, call.deadline)).find(Result::is_ok);
    Some(found.unwrap_or(Err(refused)))
}

fn no_capacity(target: &Target, variant: &VariantRoute) -> InvokeError {
    let endpoint = target.endpoint.to_string();
    InvokeError::NoCapacity { endpoint, variant: Some(variant.id()) }
}

fn overloaded(target: &Target, variant: &VariantId, retry_after: Duration) -> InvokeError {
    let (endpoint, variant) = (target.endpoint.to_string(), variant.clone());
    InvokeError::Overloaded { endpoint, variant, retry_after }
}
