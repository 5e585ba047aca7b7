//! The control plane: the SageMaker rooms, each with its API, its planner and its reconciler.
//!
//! A handler writes what is wanted, wakes the reconciler and returns. The reconciler reads what is
//! wanted and what is seen, asks a pure planner for the next step, and takes it. All of it may be
//! killed between any two steps: the rows say where to go on.
//!
//! Rooms: [`model`], [`endpoint_config`], [`endpoint`], [`transform_job`], [`instance`];
//! [`autoscaling`] changes how many instances a variant has, [`inference_experiment`] what variants
//! an endpoint has for a while.

mod instance_type;
mod list;
mod operations;
mod resources;
mod tags;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod autoscaling;
pub mod endpoint;
pub mod endpoint_config;
pub mod inference_experiment;
pub mod instance;
pub mod model;
pub mod transform_job;

use std::sync::Arc;

use sagebrush_core::access::Authorizer;
use sagebrush_core::alarms::Alarms;
use sagebrush_core::cloudwatch::{MetricMath, Metrics};
use sagebrush_core::events::EventSink;
use sagebrush_core::fleet::Fleet;
use sagebrush_core::resource::Table;
use sagebrush_core::route::{self, RouteTable, Routes};
use sagebrush_core::store::MetaStore;
use sagebrush_core::{AccountId, Clock};
use tokio::sync::{Notify, watch};

use endpoint::{Endpoint, Reconciler};
use endpoint_config::EndpointConfig;
use inference_experiment::InferenceExperiment;
use model::Model;
use transform_job::{TransformJob, WrittenOutput};

pub use operations::operations;

/// What control stands on.
pub struct Parts {
    /// For the ARNs of what is told without being asked.
    pub account: AccountId,
    pub store: Arc<dyn MetaStore>,
    pub fleet: Arc<dyn Fleet>,
    pub clock: Arc<dyn Clock>,
    /// What roles may read and write.
    pub authorizer: Arc<dyn Authorizer>,
    pub watched: Watched,
}

/// What control watches, and whom it tells.
#[derive(Clone)]
pub struct Watched {
    pub metrics: Arc<dyn Metrics>,
    pub math: Arc<dyn MetricMath>,
    pub alarms: Arc<dyn Alarms>,
    pub events: Arc<dyn EventSink>,
}

/// The state that the handlers share.
pub struct Control {
    pub watched: Watched,
    pub(crate) account: AccountId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) models: Table<Model>,
    pub(crate) endpoint_configs: Table<EndpointConfig>,
    pub(crate) endpoints: Table<Endpoint>,
    pub(crate) fleet: Arc<dyn Fleet>,
    wake: Arc<Notify>,
    settled: watch::Receiver<u64>,
    pub(crate) transform_jobs: Table<TransformJob>,
    pub(crate) written_outputs: Table<WrittenOutput>,
    pub(crate) autoscaling: autoscaling::Tables,
    pub(crate) inference_experiments: Table<InferenceExperiment>,
    pub(crate) experiment_wake: Arc<Notify>,
    pub(crate) transform_wake: Arc<Notify>,
    /// Counts the states of transform jobs that were written.
    pub(crate) transform_settled: Arc<watch::Sender<u64>>,
}

impl Control {
    /// The handlers' state, the reconciler to run, and the table that the data plane reads.
    #[must_use]
    pub fn new(parts: Parts) -> (Arc<Self>, Reconciler, Routes) {
        let Parts { account, store, fleet, clock, authorizer, watched } = parts;
        let endpoints = Table::new(store.clone(), clock.clone());
        let wake = Arc::new(Notify::new());
        let (settled_tx, settled) = watch::channel(0);
        let (routes_tx, routes) = route::channel(RouteTable::default());
        let control = Self {
            watched,
            account,
            authorizer,
            models: Table::new(store.clone(), clock.clone()),
            endpoint_configs: Table::new(store.clone(), clock.clone()),
            transform_jobs: Table::new(store.clone(), clock.clone()),
            autoscaling: autoscaling::Tables::new(&store, &clock),
            inference_experiments: Table::new(store.clone(), clock.clone()),
            experiment_wake: Arc::default(),
            written_outputs: Table::new(store, clock.clone()),
            transform_wake: Arc::default(),
            transform_settled: Arc::default(),
            endpoints,
            fleet,
            clock,
            wake,
            settled,
        };
        let reconciler = Reconciler::new(&control, routes_tx, settled_tx);
        (Arc::new(control), reconciler, routes)
    }

    /// Has the reconciler look at the endpoints now.
    pub(crate) fn wake_reconciler(&self) {
        self.wake.notify_one();
    }

    /// Follows the count of states that the reconciler wrote.
    pub(crate) fn settled(&self) -> watch::Receiver<u64> {
        self.settled.clone()
    }
}
