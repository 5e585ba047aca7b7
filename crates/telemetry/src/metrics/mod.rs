//! Metrics, kept in files and queried as CloudWatch.
//!
//! [`store`] keeps them; [`math`] computes expressions over them; [`api`] speaks CloudWatch.

mod api;
mod math;
mod store;

use std::sync::Arc;

use sagebrush_core::Clock;
use sagebrush_core::resource::Table;
use sagebrush_core::store::MetaStore;

pub use api::operations;
pub use store::{Limits, MetricStore};

use self::api::Dashboard;

/// What the operations of CloudWatch work on.
pub struct CloudWatch {
    store: Arc<MetricStore>,
    dashboards: Table<Dashboard>,
    clock: Arc<dyn Clock>,
}

impl CloudWatch {
    /// Metrics are in `metrics`, dashboards in `store`.
    #[must_use]
    pub fn new(
        metrics: Arc<MetricStore>,
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let dashboards = Table::new(store, clock.clone());
        Arc::new(Self { store: metrics, dashboards, clock })
    }
}
