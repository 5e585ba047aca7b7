//! What is told to a collector: traces of calls, and the metrics of the server.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::trace::Tracer;
use sagebrush_telemetry::otlp::{MetricExporter, Parts};
use sagebrush_telemetry::traces::Traces;

use super::ground::Ground;
use crate::config::Config;

/// Those who tell.
pub(super) struct Tellers {
    pub(super) traces: Option<Arc<Traces>>,
    pub(super) metrics: Option<Arc<MetricExporter>>,
}

/// Without a collector nothing is traced.
pub(super) fn traces(config: &Config, ground: &Ground) -> (Tracer, Option<Arc<Traces>>) {
    let Some(config) = &config.otlp.traces else { return (Tracer::default(), None) };
    let traces = Traces::start(config.destination.clone(), config.delay, &ground.metrics);
    let random = rand::random::<u64>;
    let tracer = Tracer::new(config.ratio, random, ground.clock.clone(), traces.clone());
    (tracer, Some(traces))
}

/// Has the metrics told, if somebody wants to know; `look` has gauges set to how things are now.
pub(super) fn metrics(
    config: &Config,
    ground: &Ground,
    look: impl Fn() + Send + Sync + 'static,
) -> Option<Arc<MetricExporter>> {
    let config = config.otlp.metrics.as_ref()?;
    Some(MetricExporter::start(Parts {
        destination: config.destination.clone(),
        every: config.every,
        registry: ground.metrics.clone(),
        clock: ground.clock.clone(),
        look: Box::new(look),
    }))
}

impl Tellers {
    /// Tells the rest, in this time at most.
    pub(super) async fn stop(&self, within: Duration) {
        let traces = async {
            if let Some(traces) = &self.traces {
                traces.stop(within).await;
            }
        };
        let metrics = async {
            if let Some(metrics) = &self.metrics {
                metrics.stop(within).await;
            }
        };
        tokio::join!(traces, metrics);
    }
}
