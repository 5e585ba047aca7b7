//! What can be seen of a job while it runs: lines in its log, and counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sagebrush_core::fleet::GroupKey;
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::metrics::{Counter, Registry};

use super::calls::Parameters;

/// A line of progress is written when so many more records are answered.
const EACH: u64 = 100_000;

pub(super) struct Progress {
    log: Arc<dyn LogSink>,
    group: GroupKey,
    stream: LogStream,
    n_records: AtomicU64,
    records: Arc<Counter>,
    calls: Arc<Counter>,
    retries: Arc<Counter>,
    written: Arc<Counter>,
    failed: Arc<Counter>,
}

impl Progress {
    /// Of the job that `group` works for, in the log of its instance `id`.
    pub(super) fn new(
        log: Arc<dyn LogSink>,
        metrics: &Registry,
        group: &GroupKey,
        id: &str,
    ) -> Self {
        let labels =
            || vec![("region", group.region.to_string()), ("transform_job", group.name.clone())];
        let counter = |name, help| metrics.counter(name, help, labels());
        Self {
            log,
            stream: LogStream {
                region: group.region.0.clone(),
                group: group.log_group().into(),
                stream: group.log_stream(id).into(),
            },
            group: group.clone(),
            n_records: AtomicU64::new(0),
            records: counter("sagebrush_transform_records_total", "Records answered."),
            calls: counter("sagebrush_transform_calls_total", "Payloads answered."),
            retries: counter("sagebrush_transform_retries_total", "Payloads sent once more."),
            written: counter("sagebrush_transform_objects_total", "Outputs written."),
            failed: counter("sagebrush_transform_failed_objects_total", "Objects that failed."),
        }
    }

    /// As AWS writes it.
    pub(super) fn began(&self, parameters: &Parameters) {
        self.say(&format!(
            "[sagemaker logs]: MaxConcurrentTransforms={}, MaxPayloadInMB={}, BatchStrategy={}",
            parameters.max_concurrent,
            parameters.max_payload_mb,
            parameters.strategy_word(),
        ));
    }

    pub(super) fn answered(&self, input: &str, n_records: u64) {
        self.calls.add(1);
        self.records.add(n_records);
        let before = self.n_records.fetch_add(n_records, Ordering::Relaxed);
        let now = before + n_records;
        if before / EACH < now / EACH {
            self.say(&format!("[sagemaker logs]: {now} records so far, now of {input}"));
        }
    }

    pub(super) fn tries_again(&self, input: &str, reason: &str) {
        self.retries.add(1);
        self.say(&format!("[sagemaker logs]: {input}: trying again: {reason}"));
    }

    pub(super) fn wrote(&self, input: &str, output: &str) {
        self.written.add(1);
        self.say(&format!("[sagemaker logs]: {input}: written to {output}"));
    }

    pub(super) fn kept(&self, input: &str) {
        self.say(&format!("[sagemaker logs]: {input}: was written before"));
    }

    pub(super) fn failed(&self, reason: &str) {
        self.failed.add(1);
        self.say(&format!("[sagemaker logs]: ERROR {reason}"));
        tracing::warn!(job = self.group.name, reason, "an object could not be transformed");
    }

    fn say(&self, line: &str) {
        self.log.write(&self.stream, line);
    }
}
