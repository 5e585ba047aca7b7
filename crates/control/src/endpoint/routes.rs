//! Makes the data plane's table from the endpoints and the fleet. Pure.

use std::sync::Arc;

use sagebrush_core::fleet::{FleetView, InstanceState};
use sagebrush_core::resource::Stored;
use sagebrush_core::route::{EndpointRoute, RouteTable, VariantRoute};

use super::scaler::Scaler;
use super::{DeployedVariant, Deployment, Endpoint, shadow};

pub(super) fn route_table(
    endpoints: &[Stored<Endpoint>],
    seen: &FleetView,
    scaler: &Scaler,
) -> RouteTable {
    let mut table = RouteTable::default();
    for route in endpoints.iter().filter_map(|endpoint| route(endpoint, seen, scaler)) {
        table.insert(Arc::new(route));
    }
    table
}

fn route(endpoint: &Stored<Endpoint>, seen: &FleetView, scaler: &Scaler) -> Option<EndpointRoute> {
    let serving = endpoint.status.serving();
    let variants =
        serving.map_or_else(Vec::new, |serving| variants(endpoint, serving, seen, scaler));
    Some(EndpointRoute {
        region: endpoint.region.clone(),
        name: endpoint.name.parse().ok()?,
        asynchronous: serving.and_then(|serving| serving.asynchronous.clone()).map(Arc::from),
        closed: serving.is_none().then(|| endpoint.status.word()),
        variants,
    })
}

fn variants(
    endpoint: &Stored<Endpoint>,
    serving: &Deployment,
    seen: &FleetView,
    scaler: &Scaler,
) -> Vec<VariantRoute> {
    let config: Arc<str> = serving.config.as_str().into();
    let capture = serving.capture.clone().filter(|capture| capture.captures()).map(Arc::from);
    let route = |variant: &DeployedVariant| {
        let key = serving.key(&endpoint.region, &endpoint.name, &variant.name);
        let instances = seen.get(&key).into_iter().flatten().filter_map(InstanceState::ready);
        VariantRoute {
            weight: variant.weight,
            targets: variant.targets(),
            routing: variant.routing,
            demand: scaler.demand(endpoint, variant),
            capture: capture.clone(),
            ..VariantRoute::new(&variant.name, config.clone(), instances.cloned().collect())
        }
    };
    let shadow = |variant: &DeployedVariant| {
        serving.shadows.first().map(|shadow| shadow::route(variant, route(shadow)))
    };
    let shadowed =
        |variant: &DeployedVariant| VariantRoute { shadow: shadow(variant), ..route(variant) };
    serving.variants.iter().map(shadowed).collect()
}
