//! What SageMaker tells of serverless variants.

use std::collections::BTreeMap;

use sagebrush_core::demand::{Demand, Terms};
use sagebrush_core::metrics::{Labels, Registry};
use sagebrush_core::route::{EndpointRoute, RouteTable, VariantRoute};

type Levels = BTreeMap<Labels, i64>;

/// Sets how many calls serverless variants have at once and may have, and counts those that found
/// provisioned concurrency. One at rest that has none is left out.
pub(super) fn look(registry: &Registry, table: &RouteTable) {
    let (mut calls, mut most, mut provisioned) = (Levels::new(), Levels::new(), Levels::new());
    for (labels, demand, terms) in table.iter().flat_map(|route| serverless(route)) {
        let peak = demand.recent_peak();
        let n_provisioned = level(terms.provisioned);
        if terms.provisioned > 0 {
            count(registry, &labels, demand);
            provisioned.insert(labels.clone(), n_provisioned);
        } else if peak == 0 {
            continue;
        }
        most.insert(labels.clone(), terms.max_calls.map_or(0, level));
        calls.insert(labels, level(peak));
    }
    registry.set_gauges(
        "sagebrush_serverless_concurrent_executions",
        "The most calls at once that a serverless variant had in the last ten seconds.",
        calls,
    );
    registry.set_gauges(
        "sagebrush_serverless_max_concurrency",
        "How many calls at once a serverless variant may have.",
        most,
    );
    registry.set_gauges(
        "sagebrush_serverless_provisioned_concurrency",
        "For how many calls at once all is ready.",
        provisioned,
    );
}

/// The serverless variants of an endpoint. All fleets of one count their calls together, so that
/// there is no configuration among the labels.
fn serverless(route: &EndpointRoute) -> impl Iterator<Item = (Labels, &Demand, Terms)> {
    let named = |variant: &VariantRoute| {
        vec![
            ("region", route.region.to_string()),
            ("endpoint", route.name.to_string()),
            ("variant", variant.name.to_string()),
        ]
    };
    route.variants.iter().filter_map(move |variant| {
        let demand = variant.demand.as_deref()?;
        let terms = demand.terms();
        terms.max_calls?;
        Some((named(variant), demand, terms))
    })
}

fn count(registry: &Registry, labels: &Labels, demand: &Demand) {
    let (provisioned, spilled) = demand.take_provisioned();
    for (name, help, n) in [
        (
            "sagebrush_serverless_provisioned_invocations_total",
            "Calls that found provisioned concurrency.",
            provisioned,
        ),
        (
            "sagebrush_serverless_spillover_invocations_total",
            "Calls that found all provisioned concurrency taken.",
            spilled,
        ),
    ] {
        registry.counter(name, help, labels.clone()).add(n);
    }
}

fn level(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
