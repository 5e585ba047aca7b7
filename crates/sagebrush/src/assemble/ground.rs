//! What every part of the server stands on.

use std::path::PathBuf;
use std::sync::Arc;

use sagebrush_core::logs::LogSink;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::{Bucket, IndexError, ObjectIndex, Versioning};
use sagebrush_core::route::Routes;
use sagebrush_core::{AccountId, Clock, SystemClock};
use sagebrush_objects::Objects;
use sagebrush_store::SqliteStore;
use sagebrush_telemetry::audit::{self, AuditLog};
use sagebrush_telemetry::logs::{self, LogStore};
use sagebrush_telemetry::metrics::{self, MetricStore};

use super::unusable;
use crate::access_log::{AccessLog, Books};
use crate::config::Config;
use crate::failure::Failure;

pub(super) struct Ground {
    pub(super) data: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) account: AccountId,
    pub(super) store: Arc<SqliteStore>,
    pub(super) objects: Objects,
    pub(super) logs: Arc<LogStore>,
    /// As CloudWatch has them.
    pub(super) measured: Arc<MetricStore>,
    pub(super) audit: Arc<AuditLog>,
    /// In Prometheus' form.
    pub(super) metrics: Registry,
}

impl Ground {
    /// Opens the data directory.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(super) async fn lay(config: &Config) -> Result<Self, Failure> {
        let data = config.data_dir.clone();
        std::fs::create_dir_all(&data).map_err(|error| unusable(&data, &error))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = SqliteStore::open(&data.join("sagebrush.db")).await;
        let store = Arc::new(store.map_err(|error| unusable(&data, &error))?);
        let logs = LogStore::open(&data.join("logs"), clock.clone(), logs::Limits::default());
        let logs = Arc::new(logs.map_err(|error| unusable(&data, &error))?);
        let metrics = Registry::default();
        store.measure(&metrics);
        let limits = metrics::Limits::default();
        let measured = MetricStore::open(&data.join("metrics"), clock.clone(), limits, &metrics);
        let measured = measured.map_err(|error| unusable(&data, &error))?;
        measured.start().map_err(|error| unusable(&data, &error))?;
        let kept = audit::Limits { data_events: config.audit_data_events, ..Default::default() };
        let audit = AuditLog::open(&data.join("audit"), clock.clone(), &kept, &metrics);
        let audit = Arc::new(audit.map_err(|error| unusable(&data, &error))?);
        let index: Arc<dyn ObjectIndex> = store.clone();
        make_default_bucket(&*index, config, &*clock).await?;
        let objects = Objects::open(&data, index, clock.clone());
        let objects = objects.map_err(|error| unusable(&data, &error))?;
        let account = AccountId(config.account_id.as_str().into());
        Ok(Self { data, clock, account, store, objects, logs, measured, audit, metrics })
    }

    /// Who writes down the calls of endpoints, if anybody wants to know of them.
    pub(super) fn access_log(&self, config: &Config, routes: &Routes) -> Option<AccessLog> {
        let help = "Calls that are missing in access logs.";
        let dropped =
            self.metrics.counter("sagebrush_access_lines_dropped_total", help, Vec::new());
        let log = config.access_logs.then(|| self.logs.clone() as Arc<dyn LogSink>);
        let (audit, routes, account) = (self.audit.clone(), routes.clone(), self.account.clone());
        let is_wanted = log.is_some() || config.audit_data_events;
        let books = Books { log, audit, routes, account };
        is_wanted.then(|| AccessLog::start(books, self.clock.clone(), dropped))
    }
}

/// The bucket that SageMaker's SDKs expect to have.
async fn make_default_bucket(
    index: &dyn ObjectIndex,
    config: &Config,
    clock: &dyn Clock,
) -> Result<(), Failure> {
    let bucket = Bucket {
        name: config.default_bucket(),
        region: config.region.clone(),
        created_at: clock.now(),
        versioning: Versioning::Off,
        documents: std::collections::BTreeMap::new(),
    };
    match index.create_bucket(bucket).await {
        Ok(()) | Err(IndexError::BucketExists(_)) => Ok(()),
        Err(error) => Err(unusable(&config.data_dir, &error)),
    }
}
