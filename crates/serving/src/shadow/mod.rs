//! Shadow variants: copies of calls go to a variant whose answers nobody gets, and are compared
//! with the production variant's. SageMaker API: `ShadowProductionVariants`.
//!
//! A call is copied when its own reply is certain and good, by a task of its own: whatever the
//! shadow variant does, the call is neither later nor another. Copies are bounded, together and of
//! each shadow variant; what is above is dropped and counted ([`meter`]). What two answers have in
//! common says [`mod@compare`].

mod compare;
mod meter;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::cloudwatch::Metrics;
use sagebrush_core::instance::{Admitted, Answered, NoTurn, Refused};
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{ShadowRoute, VariantRoute};
use sagebrush_core::worker::{Call, Payload};
use sagebrush_core::{AccountId, Clock, task};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::capture::{self, Capture};
use crate::choose::choose_instance;
use crate::explain::explain;
use crate::invoke::{PRIMARY, Target};
use crate::reply::Spent;
use crate::room::{Room, Taken};
use compare::{Comparison, compare};
use meter::{Asked, Copied, Pair, ShadowMeters, Why};

/// Copies that are under way: of one variant, and of all.
const MOST_OF_ONE: usize = 64;
const MOST: usize = 256;
/// What their payloads and the answers that they are compared with may have together.
const MEMORY: usize = 64 << 20;
/// How long a copy may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often CloudWatch is told.
const TICK: Duration = Duration::from_secs(1);
/// Answers of more bytes are compared where that may take its time.
const LARGE: usize = 64 << 10;

/// What shadow variants need.
pub struct Parts {
    /// For the answers of shadow variants.
    pub capture: Option<Capture>,
    /// A number in `0.0..1.0`, as the invoker has it.
    pub chance: fn() -> f32,
    pub account: AccountId,
    pub clock: Arc<dyn Clock>,
    /// In Prometheus' form.
    pub registry: Registry,
    /// CloudWatch's.
    pub metrics: Arc<dyn Metrics>,
}

/// Sends copies of calls to shadow variants.
#[derive(Clone)]
pub struct Shadows(Arc<Core>);

struct Core {
    capture: Option<Capture>,
    chance: fn() -> f32,
    account: AccountId,
    places: Arc<Semaphore>,
    room: Room,
    meters: ShadowMeters,
}

/// A call with the answer that its client gets.
pub(crate) struct Original<'a> {
    pub(crate) target: &'a Target,
    pub(crate) variant: &'a str,
    pub(crate) call: Call,
    pub(crate) answer: &'a Payload,
    /// How long the model took.
    pub(crate) took: Duration,
}

/// A call on its way to a shadow variant.
struct Shadowed {
    pair: Pair,
    target: Target,
    route: Arc<ShadowRoute>,
    admitted: Admitted,
    call: Call,
    answer: Payload,
    took: Duration,
    _taken: Taken,
}

/// The shadow variant that gets a copy of a call of `variant`, if it is copied; `chance` gives a
/// number in `0.0..1.0`.
pub(crate) fn chosen(variant: &VariantRoute, chance: fn() -> f32) -> Option<&Arc<ShadowRoute>> {
    let shadow = variant.shadow.as_ref()?;
    (chance() < shadow.share).then_some(shadow)
}

impl Shadows {
    /// Begins to count what comes of copies.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Parts { capture, chance, account, clock, registry, metrics } = parts;
        let meters = ShadowMeters::new(registry, metrics, clock);
        let places = Arc::new(Semaphore::new(MOST));
        let room = Room::new(MEMORY);
        let core = Arc::new(Core { capture, chance, account, places, room, meters });
        let reporter = Arc::downgrade(&core);
        drop(task::spawn("shadow-report", async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while let Some(core) = reporter.upgrade() {
                core.meters.report();
                drop(core);
                ticks.tick().await;
            }
        }));
        Self(core)
    }

    /// Has the call copied, unless too many are under way.
    pub(crate) fn copy(&self, route: Arc<ShadowRoute>, original: Original<'_>) {
        let Original { target, variant, call, answer, took } = original;
        let pair = Pair {
            region: target.region.clone(),
            endpoint: target.endpoint.clone(),
            variant: variant.to_owned(),
            shadow: route.variant.name.to_string(),
        };
        let call = Call { deadline: Instant::now() + TIMEOUT, ..call };
        let admitted = match self.0.admit(&route.variant, &call) {
            Ok(admitted) => admitted,
            Err(why) => return self.0.meters.count(pair, &Copied::Dropped(why)),
        };
        let taken = self.0.room.take(call.payload.body.len() + answer.body.len());
        let place = self.0.places.clone().try_acquire_owned().ok();
        let (Some(taken), Some(place)) = (taken, place) else {
            return self.0.meters.count(pair, &Copied::Dropped(Why::Full));
        };
        let (target, answer) = (target.clone(), answer.clone());
        let shadowed =
            Shadowed { pair, target, route, admitted, call, answer, took, _taken: taken };
        let core = self.0.clone();
        drop(task::spawn("shadow-call", async move {
            core.see_to(shadowed).await;
            drop(place);
        }));
    }
}

impl Core {
    /// A place on an instance, if the shadow variant has not too many copies.
    fn admit(&self, variant: &VariantRoute, call: &Call) -> Result<Admitted, Why> {
        let instance = choose_instance(variant, None, (self.chance)()).ok_or(Why::NoInstance)?;
        let under_way: usize = variant.instances.iter().map(|one| one.outstanding()).sum();
        let admitted = instance.admit(call.payload.body.len(), call.deadline);
        match admitted {
            Ok(admitted) if under_way < MOST_OF_ONE => Ok(admitted),
            Err(Refused::Closed) => Err(Why::NoInstance),
            Ok(_) | Err(Refused::Full { .. }) => Err(Why::Full),
        }
    }

    async fn see_to(&self, shadowed: Shadowed) {
        let copied = self.ask(&shadowed).await;
        self.meters.count(shadowed.pair, &copied);
    }

    async fn ask(&self, shadowed: &Shadowed) -> Copied {
        let Shadowed { target, route, admitted, call, answer, took, .. } = shadowed;
        let (variant, began) = (&route.variant, Instant::now());
        let record = self.capture.as_ref().and_then(|capture| {
            let config = capture::sampled(variant, self.chance)?;
            Some((capture, capture.record(config, target, &variant.name, call)?))
        });
        let Answered { outcome, took: model_latency, .. } =
            match admitted.answer(call.clone()).await {
                Ok(answered) => answered,
                Err(NoTurn { .. }) => return Copied::Dropped(Why::Full),
            };
        let spent = Spent { total: began.elapsed(), model_latency, ..Spent::default() };
        let asked = Asked { spent, n_instances: variant.instances.len() };
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                let error = explain(&self.account, &target.endpoint, PRIMARY, error);
                return Copied::Failed { error, asked };
            }
        };
        if let Some((capture, record)) = record {
            capture.answered(record, &reply.payload);
        }
        let comparison = compared(answer, reply.payload).await;
        Copied::Answered { comparison, production: *took, asked }
    }
}

async fn compared(production: &Payload, shadow: Payload) -> Comparison {
    if production.body.len().max(shadow.body.len()) <= LARGE {
        return compare(production, &shadow);
    }
    let production = production.clone();
    let comparison = task::blocking(move || compare(&production, &shadow)).await;
    // Only a server that ends does not compare.
    comparison.unwrap_or(Comparison { agrees: false, distance: None })
}
