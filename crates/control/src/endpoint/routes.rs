//! Makes the data plane's table from the endpoints and the fleet. Pure.

use std::sync::Arc;

use sagebrush_core::fleet::{FleetView, InstanceState};
use sagebrush_core::instance::Instance;
use sagebrush_core::resource::Stored;
use sagebrush_core::route::{EndpointRoute, RouteTable, VariantRoute};

use super::probe::{Probed, Verdict};
use super::replay::Samples;
use super::scaler::Scaler;
use super::{DeployedVariant, Deployment, Endpoint, EndpointState, Share, shadow};

/// What a table is made from, beside the endpoints.
pub(super) struct Ground<'a> {
    pub(super) seen: &'a FleetView,
    pub(super) probed: &'a Probed,
    pub(super) scaler: &'a Scaler,
    pub(super) samples: &'a Samples,
}

pub(super) fn route_table(endpoints: &[Stored<Endpoint>], ground: &Ground<'_>) -> RouteTable {
    let mut table = RouteTable::default();
    for route in endpoints.iter().filter_map(|endpoint| route(endpoint, ground)) {
        table.insert(Arc::new(route));
    }
    table
}

pub(super) fn route(endpoint: &Stored<Endpoint>, ground: &Ground<'_>) -> Option<EndpointRoute> {
    let fleets = fleets(endpoint);
    let variants = fleets.iter().flat_map(|fleet| fleet.routes(endpoint, ground)).collect();
    // The first has what the endpoint had before, until it has no calls any more.
    let first = fleets.first().map(|fleet| fleet.deployment);
    Some(EndpointRoute {
        region: endpoint.region.clone(),
        name: endpoint.name.parse().ok()?,
        asynchronous: first.and_then(|first| first.asynchronous.clone()).map(Arc::from),
        closed: first.is_none().then(|| endpoint.status.word()),
        variants,
    })
}

/// A deployment that takes a part of the calls.
struct Fleet<'a> {
    deployment: &'a Deployment,
    share: f32,
    /// It served before the update that is under way, or that is undone.
    is_old: bool,
    /// Only instances that passed their probes take calls.
    is_on_trial: bool,
    is_alone: bool,
}

/// The old one first.
fn fleets(endpoint: &Stored<Endpoint>) -> Vec<Fleet<'_>> {
    let (status, new) = (&endpoint.status, &endpoint.spec.wanted);
    let Some(old) = status.serving() else { return Vec::new() };
    let share = status.share_of(new);
    let is_alone = share == Share::NONE || share == Share::ALL;
    let old = Fleet {
        deployment: old,
        share: 1.0 - share.as_f32(),
        is_old: true,
        is_on_trial: false,
        is_alone,
    };
    let new = Fleet {
        deployment: new,
        share: share.as_f32(),
        is_old: false,
        is_on_trial: matches!(status, EndpointState::Updating { .. }),
        is_alone,
    };
    [old, new].into_iter().filter(|fleet| fleet.share > 0.0).collect()
}

impl Fleet<'_> {
    fn routes(&self, endpoint: &Stored<Endpoint>, ground: &Ground<'_>) -> Vec<VariantRoute> {
        let config: Arc<str> = self.deployment.config.as_str().into();
        // Fleets side by side may weigh their variants by other measures.
        let total: f32 = self.deployment.variants.iter().map(|variant| variant.weight).sum();
        let unit = if self.is_alone || total <= 0.0 { 1.0 } else { total };
        let capture = self.deployment.capture.clone().filter(|it| it.captures()).map(Arc::from);
        let route = |variant: &DeployedVariant| {
            let key = self.deployment.key(&endpoint.region, &endpoint.name, &variant.name);
            let instances = ground.seen.get(&key).into_iter().flatten();
            let usable = instances
                .filter_map(InstanceState::ready)
                .filter(|instance| self.may_call(instance, ground.probed));
            let usable: Vec<_> = usable.cloned().collect();
            VariantRoute {
                weight: variant.weight / unit,
                share: self.share,
                targets: variant.targets(),
                routing: variant.routing,
                retries_after_death: variant.retries_after_death(),
                demand: ground.scaler.demand(&key),
                capture: capture.clone(),
                sample: self.is_old.then(|| ground.samples.of(endpoint, variant)).flatten(),
                is_resting: usable.is_empty() && self.is_to_rest(variant, endpoint),
                metrics: self.deployment.metrics,
                ..VariantRoute::new(&variant.name, config.clone(), usable)
            }
        };
        let shadow = |variant: &DeployedVariant| {
            let shadow = self.deployment.shadows.first()?;
            // By the weights as they are given: both are of one deployment.
            Some(shadow::route(variant, VariantRoute { weight: shadow.weight, ..route(shadow) }))
        };
        let shadowed =
            |variant: &DeployedVariant| VariantRoute { shadow: shadow(variant), ..route(variant) };
        self.deployment.variants.iter().map(shadowed).collect()
    }

    /// Whether a variant is to have no instance, and none is on its way that takes its calls.
    fn is_to_rest(&self, variant: &DeployedVariant, endpoint: &Stored<Endpoint>) -> bool {
        let is_growing = matches!(endpoint.status, EndpointState::Updating { .. })
            && self.is_alone
            && has_instances(&endpoint.spec.wanted, &variant.name);
        variant.first_count() == 0 && !is_growing
    }

    fn may_call(&self, instance: &Instance, probed: &Probed) -> bool {
        !self.is_on_trial || probed.verdict(&instance.id) == Verdict::Good
    }
}

/// Whether calls of the variant `name` find instances in `wanted`, or others do where it is gone.
fn has_instances(wanted: &Deployment, name: &str) -> bool {
    match wanted.variants.iter().find(|variant| variant.name == name) {
        Some(variant) => variant.first_count() > 0,
        None => wanted.variants.iter().any(|variant| variant.first_count() > 0),
    }
}
