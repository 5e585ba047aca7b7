//! Which variant and which instance takes a call. Pure.

use std::sync::Arc;

use sagebrush_core::route::{EndpointRoute, Instance, VariantRoute};

use crate::error::InvokeError;

/// The variant that the call names, or one by weight; `chance` is in `0.0..1.0`.
///
/// # Errors
/// When the endpoint has no variant of the name that the call gives.
pub fn choose_variant<'a>(
    route: &'a EndpointRoute,
    named: Option<&str>,
    chance: f32,
) -> Result<&'a VariantRoute, InvokeError> {
    if let Some(name) = named {
        let variant = route.variants.iter().find(|variant| variant.name == name);
        return variant.ok_or_else(|| InvokeError::NoVariant {
            endpoint: route.name.to_string(),
            variant: name.to_owned(),
        });
    }
    let total: f32 = route.variants.iter().map(|variant| variant.weight).sum();
    let mut left = chance * total;
    let weighed = route.variants.iter().filter(|variant| variant.weight > 0.0);
    let mut chosen = None;
    for variant in weighed {
        chosen = Some(variant);
        left -= variant.weight;
        if left < 0.0 {
            break;
        }
    }
    chosen.ok_or_else(|| InvokeError::NoCapacity { endpoint: route.name.to_string() })
}

/// The instance with the fewest calls under way.
#[must_use]
pub fn least_busy(variant: &VariantRoute) -> Option<&Arc<Instance>> {
    variant.instances.iter().min_by_key(|instance| instance.outstanding())
}
