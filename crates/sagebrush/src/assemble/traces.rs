//! What traces calls, and where it is told.

use std::sync::Arc;

use sagebrush_core::trace::Tracer;
use sagebrush_telemetry::traces::Traces;

use super::ground::Ground;
use crate::config::Config;

/// Without a collector nothing is traced.
pub(super) fn open(config: &Config, ground: &Ground) -> (Tracer, Option<Arc<Traces>>) {
    let Some(config) = &config.traces else { return (Tracer::default(), None) };
    let traces = Traces::start(config.destination.clone(), &ground.metrics);
    let random = rand::random::<u64>;
    let tracer = Tracer::new(config.ratio, random, ground.clock.clone(), traces.clone());
    (tracer, Some(traces))
}
