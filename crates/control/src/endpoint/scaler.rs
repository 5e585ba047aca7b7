//! Follows the calls of the variants that scale with them: reads what is seen, asks `scaling`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::demand::Demand;
use sagebrush_core::fleet::{FleetView, GroupKey, InstanceState};
use sagebrush_core::instance::Instance;
use sagebrush_core::resource::Stored;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::plan::given_up;
use super::scaling::{Bounds, Course, Sight};
use super::{Deployment, Endpoint, EndpointState, Share};
use crate::endpoint_config::Scaling;

/// How long an instance stays that no call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleAfter {
    pub serverless: Duration,
    /// With `ManagedInstanceScaling`.
    pub managed: Duration,
}

impl Default for IdleAfter {
    fn default() -> Self {
        Self { serverless: Duration::from_secs(60), managed: Duration::from_secs(300) }
    }
}

/// The variants that scale. All of it may be lost: an endpoint begins anew with what it has.
pub(super) struct Scaler {
    pub(super) idle_after: IdleAfter,
    /// Told when calls want more than there is.
    wake: Arc<Notify>,
    courses: HashMap<GroupKey, Followed>,
}

/// A fleet of a variant that scales, and takes calls.
struct Followed {
    demand: Arc<Demand>,
    course: Course,
}

/// What follows from a look.
#[derive(Default)]
pub(super) struct Scaled {
    /// How many instances there are to be, of groups that scale.
    pub(super) counts: BTreeMap<GroupKey, u32>,
    /// When to look again, if nothing happens before.
    pub(super) look_at: Option<Instant>,
    /// Groups that scaled and are not to be any more, whether they have instances or not.
    pub(super) gone: Vec<GroupKey>,
}

impl Scaler {
    pub(super) fn new(wake: Arc<Notify>) -> Self {
        let idle_after = IdleAfter::default();
        Self { idle_after, wake, courses: HashMap::new() }
    }

    /// Where the calls of a group are counted, if it scales with them.
    pub(super) fn demand(&self, group: &GroupKey) -> Option<Arc<Demand>> {
        self.courses.get(group).map(|followed| followed.demand.clone())
    }

    /// Looks at all variants that scale and take calls. Those of others are as large as they are
    /// first.
    pub(super) fn look(
        &mut self,
        endpoints: &[Stored<Endpoint>],
        seen: &FleetView,
        now: Instant,
    ) -> Scaled {
        let mut scaled = Scaled::default();
        let mut kept = HashSet::new();
        for (endpoint, fleet) in endpoints.iter().flat_map(|it| fleets(it).map(move |f| (it, f))) {
            for variant in &fleet.deployment.variants {
                let Some(terms) = variant.scaling.terms() else { continue };
                let key = fleet.deployment.key(&endpoint.region, &endpoint.name, &variant.name);
                let instances = seen.get(&key).map_or(&[][..], Vec::as_slice);
                let bounds = self.bounds(variant.scaling);
                let Followed { demand, course } =
                    self.courses.entry(key.clone()).or_insert_with(|| Followed {
                        demand: Demand::telling(terms, self.wake.clone()),
                        course: Course::new(n_alive(instances), now),
                    });
                demand.set_terms(terms); // They may be changed in place.
                demand.set_trouble(trouble(instances));
                if fleet.keeps_all {
                    course.hold(now);
                }
                let next = course.next(&bounds, &sight(demand, instances, now));
                demand.cover(next.covers);
                scaled.look_at = scaled.look_at.into_iter().chain(next.look_at).min();
                scaled.counts.insert(key.clone(), next.count);
                kept.insert(key);
            }
        }
        let is_gone = |key: &GroupKey, _: &mut Followed| !kept.contains(key);
        scaled.gone = self.courses.extract_if(is_gone).map(|(key, _)| key).collect();
        scaled
    }

    fn bounds(&self, scaling: Scaling) -> Bounds {
        match scaling {
            Scaling::Serverless(serverless) => Bounds {
                least: 0,
                most: serverless.max_concurrency,
                warm_calls: serverless.provisioned as usize,
                idle_after: self.idle_after.serverless,
            },
            Scaling::Managed { min, max } => {
                let idle_after = self.idle_after.managed;
                Bounds { least: min, most: max, warm_calls: 0, idle_after }
            }
            Scaling::Fixed => {
                Bounds { least: 0, most: 0, warm_calls: 0, idle_after: Duration::ZERO }
            }
        }
    }
}

/// A deployment whose instances take calls, or may have to again.
struct Fleet<'a> {
    deployment: &'a Deployment,
    /// It gets no smaller: all calls may come back to it.
    keeps_all: bool,
}

/// The one that serves, and the one that an update brings once it has calls.
fn fleets(endpoint: &Stored<Endpoint>) -> impl Iterator<Item = Fleet<'_>> {
    let (status, new) = (&endpoint.status, &endpoint.spec.wanted);
    let has_new = status.share_of(new) > Share::NONE;
    let keeps_all = has_new || matches!(status, EndpointState::RollingBack { .. });
    let old = status.serving().map(|deployment| Fleet { deployment, keeps_all });
    let new = has_new.then_some(Fleet { deployment: new, keeps_all: false });
    old.into_iter().chain(new)
}

fn sight(demand: &Demand, instances: &[InstanceState], now: Instant) -> Sight {
    let ready = || instances.iter().filter_map(InstanceState::ready);
    Sight {
        now,
        calls: demand.calls(),
        peak: demand.take_peak(),
        idle_since: demand.idle_since(),
        n_ready: count(ready()),
        per_instance: ready().next().map(answers_at_once),
    }
}

fn answers_at_once(instance: &Arc<Instance>) -> usize {
    if instance.worker.is_enough() { usize::MAX } else { instance.worker.concurrency() }
}

/// Those that are there or come up.
fn n_alive(instances: &[InstanceState]) -> u32 {
    count(instances.iter().filter(|instance| !matches!(instance, InstanceState::Draining)))
}

fn count<T>(instances: impl Iterator<Item = T>) -> u32 {
    u32::try_from(instances.count()).unwrap_or(u32::MAX)
}

/// Why none comes up: one was given up, and none is ready.
fn trouble(instances: &[InstanceState]) -> Option<Arc<str>> {
    if instances.iter().any(|instance| instance.ready().is_some()) {
        return None;
    }
    instances.iter().find_map(given_up).map(Arc::from)
}
