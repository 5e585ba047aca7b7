//! Under which dimensions a value is put.

use std::sync::Arc;

use sagebrush_core::Region;
use sagebrush_core::cloudwatch::MetricId;
use sagebrush_core::metrics::Labels;

use super::table::Row;

/// SageMaker's word for all variants of an endpoint.
const ALL_TRAFFIC: &str = "AllTraffic";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimensions {
    /// By variant and by all variants, each also with the configuration, so that an alarm can
    /// watch the new fleet of a deployment alone.
    Calls,
    /// `EndpointName` and `VariantName`.
    Variant,
    /// These and `InstanceId`.
    Instance,
    /// `EndpointName`.
    Endpoint,
}

/// The metrics of `row` that the values of a series with these labels belong to.
pub(super) fn dimension_sets(row: &Row, labels: &Labels) -> Vec<(Region, MetricId)> {
    let label = |wanted: &str| {
        let found = labels.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    };
    let (Some(region), Some(endpoint)) = (label("region"), label("endpoint")) else {
        return Vec::new();
    };
    let metric = |variant: Option<&str>, more: Option<(&str, &str)>| {
        let dimensions =
            [Some(("EndpointName", endpoint)), variant.map(|it| ("VariantName", it)), more];
        let dimensions = dimensions.into_iter().flatten();
        let dimensions = dimensions.map(|(name, value)| (Arc::from(name), Arc::from(value)));
        (Region::new(region), MetricId::new(row.namespace, row.name, dimensions))
    };
    let (variant, config) = (label("variant"), label("config"));
    let config = config.map(|config| ("EndpointConfigName", config));
    let mut sets = match row.dimensions {
        Dimensions::Endpoint => vec![metric(None, None)],
        Dimensions::Variant => vec![metric(variant, None)],
        Dimensions::Instance => {
            vec![metric(variant, label("instance").map(|id| ("InstanceId", id)))]
        }
        Dimensions::Calls => {
            let configs = [None, config];
            let variants = [Some(ALL_TRAFFIC), variant];
            let of = |config| variants.into_iter().flatten().map(move |it| (it, config));
            let all = configs.into_iter().flat_map(of);
            all.map(|(variant, config)| metric(Some(variant), config)).collect()
        }
    };
    // A call without a configuration, and a variant that is called AllTraffic.
    sets.sort();
    sets.dedup();
    sets
}
