//! The metrics of a multi-model container, beside SageMaker's own names for them.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::fleet::GroupKey;
use sagebrush_core::metrics::{Counter, Gauge, Histogram, Labels, Registry};

/// The metrics of one variant; its instances share them.
pub(crate) struct Meter {
    /// `ModelCacheHit`, where it is 1.
    pub(super) hits: Arc<Counter>,
    /// `ModelCacheHit`, where it is 0.
    pub(super) misses: Arc<Counter>,
    /// `ModelLoadingTime`.
    pub(super) loading: Arc<Histogram>,
    /// `ModelLoadingWaitTime`.
    pub(super) loading_wait: Arc<Histogram>,
    /// `ModelDownloadingTime`.
    pub(super) downloading: Arc<Histogram>,
    /// `ModelUnloadingTime`.
    pub(super) unloading: Arc<Histogram>,
    /// `LoadedModelCount`.
    pub(super) loaded: Arc<Gauge>,
}

impl Meter {
    pub(crate) fn new(registry: &Registry, group: &GroupKey) -> Self {
        let labels = || -> Labels {
            vec![
                ("region", group.region.to_string()),
                ("endpoint", group.name.clone()),
                ("variant", group.variant.clone()),
            ]
        };
        let counter = |name, help| registry.counter(name, help, labels());
        let histogram =
            |name, help| registry.recorded((name, help), labels(), Duration::from_micros(1));
        Self {
            hits: counter(
                "sagebrush_model_cache_hits_total",
                "Calls that found their model loaded (SageMaker's ModelCacheHit).",
            ),
            misses: counter(
                "sagebrush_model_cache_misses_total",
                "Calls that did not find their model loaded (SageMaker's ModelCacheHit).",
            ),
            loading: histogram(
                "sagebrush_model_loading_seconds",
                "How long a container took to load a model (SageMaker's ModelLoadingTime).",
            ),
            loading_wait: histogram(
                "sagebrush_model_loading_wait_seconds",
                "How long a call waited for its model (SageMaker's ModelLoadingWaitTime).",
            ),
            downloading: histogram(
                "sagebrush_model_downloading_seconds",
                "How long a model's files took to arrive (SageMaker's ModelDownloadingTime).",
            ),
            unloading: histogram(
                "sagebrush_model_unloading_seconds",
                "How long a container took to unload a model (SageMaker's ModelUnloadingTime).",
            ),
            loaded: registry.gauge(
                "sagebrush_loaded_models",
                "Models in memory (SageMaker's LoadedModelCount).",
                labels(),
            ),
        }
    }
}
