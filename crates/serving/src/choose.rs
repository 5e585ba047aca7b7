//! Which variant and which instance takes a call. Pure, but for the turns that variants take.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sagebrush_core::ResourceName;
use sagebrush_core::instance::Instance;
use sagebrush_core::route::{EndpointRoute, Routing, VariantRoute};
use sagebrush_core::worker::Call;

use crate::error::InvokeError;

/// The variant that the call names, or one by weight; `chance` is in `0.0..1.0`. One that rests is
/// only chosen where all do.
///
/// # Errors
/// When the endpoint has no variant of the name that the call gives.
pub fn choose_variant<'a>(
    route: &'a EndpointRoute,
    named: Option<&str>,
    chance: f32,
) -> Result<&'a VariantRoute, InvokeError> {
    let variants = route.variants.iter();
    if let Some(name) = named {
        let fleets = variants.filter(|variant| *variant.name == *name);
        let chosen = awake(fleets, |fleet| fleet.share, chance);
        return chosen.ok_or_else(|| InvokeError::NoVariant {
            endpoint: route.name.to_string(),
            variant: name.to_owned(),
        });
    }
    awake(variants, VariantRoute::traffic, chance)
        .ok_or_else(|| InvokeError::NoCapacity { endpoint: route.name.to_string(), variant: None })
}

/// Numbers in `0.0..1.0` that fall everywhere alike, as those of chance do, but after few calls
/// already: of a hundred calls a variant with a tenth of the weight gets ten, give or take one.
///
/// Each number is the one before and the golden ratio, without what is whole: no other step stays
/// so far from all that it met before, and every n-th number has the same property, so that it
/// does not matter whose calls come in between.
#[derive(Debug, Default)]
pub struct Turns(AtomicU32);

impl Turns {
    /// The golden ratio's fraction, of 2^32.
    const STEP: u32 = 0x9E37_79B9;

    pub fn next(&self) -> f32 {
        let at = self.0.fetch_add(Self::STEP, Ordering::Relaxed);
        // As many bits as a float holds, so that it is never rounded up to 1.
        f32::from_bits((at >> 9) | 1.0_f32.to_bits()) - 1.0
    }
}

/// As [`weighed`], among those that do not rest, if there are any.
fn awake<'a>(
    variants: impl Iterator<Item = &'a VariantRoute> + Clone,
    weight: impl Fn(&VariantRoute) -> f32,
    chance: f32,
) -> Option<&'a VariantRoute> {
    let awake = variants.clone().filter(|variant| !variant.is_resting);
    weighed(awake, &weight, chance).or_else(|| weighed(variants, &weight, chance))
}

/// The variant that `chance` falls on, each as likely as it weighs.
fn weighed<'a>(
    variants: impl Iterator<Item = &'a VariantRoute> + Clone,
    weight: impl Fn(&VariantRoute) -> f32,
    chance: f32,
) -> Option<&'a VariantRoute> {
    let total: f32 = variants.clone().map(&weight).sum();
    let mut left = chance * total;
    let mut chosen = None;
    for variant in variants.filter(|variant| weight(variant) > 0.0) {
        chosen = Some(variant);
        left -= weight(variant);
        if left < 0.0 {
            break;
        }
    }
    chosen
}

/// An instance with so many calls under way hands calls of its models to the next one.
const BUSY: usize = 8;

/// The instance that takes the call: the one that most likely has its model, if it names one,
/// else as the variant's routing says; `chance` is in `0.0..1.0`.
///
/// Instances whose breakers are open are passed over while others are closed, but for a call now
/// and then that shows whether they answer again.
#[must_use]
pub fn choose_instance<'a>(
    variant: &'a VariantRoute,
    target_model: Option<&str>,
    chance: f32,
) -> Option<&'a Arc<Instance>> {
    let all = variant.instances.as_slice();
    if let [] | [_] = all {
        return all.first();
    }
    let n_open = all.iter().filter(|instance| instance.breaker.is_open()).count();
    if n_open > 0
        && let Some(tried) = all.iter().find(|instance| instance.breaker.try_probation())
    {
        return Some(tried);
    }
    // If none is closed, all are as good as each other.
    let mut usable =
        all.iter().filter(|instance| n_open == all.len() || !instance.breaker.is_open());
    match (target_model, variant.routing) {
        (Some(model), _) if variant.targets.model => at_home(usable, model),
        (_, Routing::LeastOutstandingRequests) => least_busy(usable),
        (_, Routing::Random) => {
            let n_usable = if n_open == all.len() { n_open } else { all.len() - n_open };
            usable.nth(place(n_usable, chance))
        }
    }
}

/// Another instance than `left`, if one is well.
#[must_use]
pub fn choose_other<'a>(
    variant: &'a VariantRoute,
    target_model: Option<&str>,
    left: &Arc<Instance>,
) -> Option<&'a Arc<Instance>> {
    let is_well = |one: &&Arc<Instance>| !Arc::ptr_eq(one, left) && !one.breaker.is_open();
    let others = variant.instances.iter().filter(is_well);
    match target_model {
        Some(model) if variant.targets.model => at_home(others, model),
        Some(_) | None => least_busy(others),
    }
}

/// The place of `n` that `chance` falls on.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
#[expect(clippy::cast_precision_loss, reason = "few instances")]
fn place(n: usize, chance: f32) -> usize {
    ((n as f32 * chance) as usize).min(n.saturating_sub(1))
}

/// The first instance that is not busy, in an order that is each model's own: its calls meet on
/// the same instances, and few models move when instances come and go.
fn at_home<'a>(
    usable: impl Iterator<Item = &'a Arc<Instance>> + Clone,
    model: &str,
) -> Option<&'a Arc<Instance>> {
    let rank = |instance: &&Arc<Instance>| {
        let mut hash = DefaultHasher::new();
        (instance.id.as_str(), model).hash(&mut hash);
        hash.finish()
    };
    let idle = usable.clone().filter(|instance| instance.outstanding() < BUSY);
    idle.max_by_key(rank).or_else(|| least_busy(usable))
}

/// Refuses a call that names what its variant does not have, or does not name what it must.
///
/// # Errors
/// In SageMaker's words.
pub fn check_targets(
    variant: &VariantRoute,
    endpoint: &ResourceName,
    call: &Call,
) -> Result<(), InvokeError> {
    let refuse = |message| Err(InvokeError::Invalid(message));
    match (variant.targets.model, &call.target_model) {
        (true, None) => {
            return refuse(format!(
                "Request {} is missing a target model header: TargetModel names the model of the \
                 multi-model endpoint {endpoint} that is to answer.",
                call.request_id
            ));
        }
        (false, Some(_)) => {
            return refuse(format!(
                "Endpoint {endpoint} is not a multi-model endpoint and does not support target \
                 model header."
            ));
        }
        (true, Some(_)) | (false, None) => {}
    }
    match (variant.targets.container, &call.target_container) {
        (true, None) => refuse(format!(
            "Request {} is missing a target container hostname header: \
             TargetContainerHostname names the container of the endpoint {endpoint} that is to \
             answer.",
            call.request_id
        )),
        (false, Some(_)) => refuse(format!(
            "Endpoint {endpoint} is not a multi-container endpoint with direct invocation and \
             does not support target container hostname header."
        )),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// The instance with the fewest calls under way.
fn least_busy<'a>(usable: impl Iterator<Item = &'a Arc<Instance>>) -> Option<&'a Arc<Instance>> {
    usable.min_by_key(|instance| instance.outstanding())
}
