//! An endpoint under update with a fleet and a clock of its own, for tables over time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::alarms::{AlarmState, SetAlarms};
use sagebrush_core::fleet::{FleetView, GroupSpec, InstanceState};
use sagebrush_core::instance::Instance;
use sagebrush_core::resource::Stored;
use sagebrush_core::route::EndpointRoute;
use sagebrush_core::{Region, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::endpoint::plan::{Sight, Step, Wanted, plan};
use crate::endpoint::probe::Probed;
use crate::endpoint::replay::Samples;
use crate::endpoint::rollout::{Policy, Rollout};
use crate::endpoint::routes::{Ground, route};
use crate::endpoint::scaler::Scaler;
use crate::endpoint::{Deployment, Endpoint, EndpointSpec, EndpointState, Share};
use crate::testing::{EchoWorker, LIMITS};

/// Some day.
const BEGIN: i64 = 1_700_000_000_000;
pub(super) const ALARM: &str = "errors";

pub(super) struct Simulation {
    pub(super) endpoint: Stored<Endpoint>,
    pub(super) fleet: FleetView,
    pub(super) probed: Probed,
    pub(super) alarms: SetAlarms,
    pub(super) now: Timestamp,
    watched_since: Timestamp,
    /// Whether instances are ready, and their probes good, as soon as they are there.
    pub(super) is_quick: bool,
    n_instances: u32,
    /// What was seen after each change of the state.
    pub(super) trace: Vec<String>,
}

impl Simulation {
    /// `old` serves, and an update to `new` was just asked for.
    pub(super) fn new(old: Deployment, new: Deployment, policy: Policy) -> Self {
        let now = Timestamp(BEGIN);
        let rollout = Box::new(Rollout::begin(policy, now));
        let alarms = SetAlarms::default();
        alarms.set(&Region::new("r"), ALARM, AlarmState::Ok);
        let mut simulation = Self {
            endpoint: Stored {
                region: Region::new("r"),
                name: "e".to_owned(),
                version: 1,
                created_at: now,
                modified_at: now,
                spec: EndpointSpec { wanted: new, deployment_config: None },
                status: EndpointState::InService { serving: old.clone(), note: None },
                tags: BTreeMap::new(),
            },
            fleet: FleetView::new(),
            probed: Probed::default(),
            alarms,
            now,
            watched_since: now,
            is_quick: true,
            n_instances: 0,
            trace: Vec::new(),
        };
        simulation.settle();
        simulation.endpoint.status = EndpointState::Updating { serving: old, rollout };
        simulation.settle();
        simulation.note();
        simulation
    }

    pub(super) fn set_alarm(&self, state: AlarmState) {
        self.alarms.set(&self.endpoint.region, ALARM, state);
    }

    /// The server is killed and started again: only the record is left.
    pub(super) fn restart(&mut self) {
        let record = serde_json::to_string(&self.endpoint.status).unwrap();
        self.endpoint.status = serde_json::from_str(&record).unwrap();
        let spec = serde_json::to_string(&self.endpoint.spec).unwrap();
        self.endpoint.spec = serde_json::from_str(&spec).unwrap();
        self.fleet.clear();
        self.watched_since = self.now;
        self.settle();
    }

    /// Lets time go by until so many seconds after the beginning.
    pub(super) fn run_until(&mut self, seconds: i64) {
        let end = Timestamp(BEGIN + seconds * 1000);
        loop {
            match self.step() {
                Step::Become(_) | Step::Remove => {}
                Step::StayUntil(at) if at < end => {
                    assert!(at > self.now, "it looks at nothing");
                    self.now = at;
                }
                Step::Stay | Step::StayUntil(_) => break,
            }
        }
        self.now = self.now.max(end);
    }

    /// Plans and takes one step.
    pub(super) fn step(&mut self) -> Step {
        let sight = Sight {
            fleet: &self.fleet,
            probed: &self.probed,
            alarms: &self.alarms,
            now: self.now,
            watched_since: self.watched_since,
        };
        let step = plan(&wanted(&self.endpoint), &sight);
        if let Step::Become(state) = &step {
            self.endpoint.status = state.clone();
            self.settle();
            self.note();
        }
        step
    }

    pub(super) fn groups(&self) -> Vec<GroupSpec> {
        wanted(&self.endpoint).groups()
    }

    pub(super) fn route(&self) -> EndpointRoute {
        let scaler = Scaler::new(Arc::new(Notify::new()));
        let mut samples = Samples::default();
        samples.look(std::slice::from_ref(&self.endpoint), Instant::now());
        let (seen, probed) = (&self.fleet, &self.probed);
        let ground = Ground { seen, probed, scaler: &scaler, samples: &samples };
        route(&self.endpoint, &ground).unwrap()
    }

    pub(super) fn share(&self) -> Share {
        self.endpoint.status.share_of(&self.endpoint.spec.wanted)
    }

    /// The instances of a revision.
    pub(super) fn instances(&mut self, revision: &str) -> Vec<&mut InstanceState> {
        let groups = self.fleet.iter_mut().filter(|(key, _)| key.revision == revision);
        groups.flat_map(|(_, instances)| instances).collect()
    }

    /// Instances that were lost come back.
    pub(super) fn heal(&mut self) {
        for instances in self.fleet.values_mut() {
            for state in instances.iter_mut().filter(|state| state.ready().is_none()) {
                *state = started(&mut self.n_instances, &mut self.probed, true);
            }
        }
    }

    /// Does what a fleet does.
    pub(super) fn settle(&mut self) {
        let groups = self.groups();
        self.fleet.retain(|key, _| groups.iter().any(|group| group.key == *key));
        for group in groups {
            let instances = self.fleet.entry(group.key).or_default();
            instances.truncate(group.instance_count as usize);
            while instances.len() < group.instance_count as usize {
                instances.push(started(&mut self.n_instances, &mut self.probed, self.is_quick));
            }
        }
    }

    fn note(&mut self) {
        let seconds = (self.now.0 - BEGIN) / 1000;
        let mut state =
            format!("{} {}%", self.endpoint.status.word(), (self.share().as_f32() * 100.0).round());
        if let EndpointState::InService { serving, note } = &self.endpoint.status {
            let note = note.as_deref().map(|note| format!(", {note}")).unwrap_or_default();
            state = format!("{} serves{note}", serving.revision);
        }
        let n = |revision: &str| {
            let groups = self.fleet.iter().filter(|(key, _)| key.revision == revision);
            groups.map(|(_, instances)| instances.len()).sum::<usize>()
        };
        self.trace.push(format!("{seconds}s {}+{} {state}", n("old"), n("new")));
    }
}

fn wanted(endpoint: &Stored<Endpoint>) -> Wanted<'_> {
    Wanted::of(endpoint)
}

fn started(n: &mut u32, probed: &mut Probed, is_quick: bool) -> InstanceState {
    if !is_quick {
        return InstanceState::Starting;
    }
    *n += 1;
    let id = format!("i-{n}");
    probed.note(&id, Ok(()));
    InstanceState::Ready(Instance::new(id, Arc::new(EchoWorker::default()), LIMITS))
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
