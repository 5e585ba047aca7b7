//! Shadow variants of a deployment: how they are routed.

use std::sync::Arc;

use sagebrush_aws::ApiError;
use sagebrush_core::route::{ShadowRoute, VariantRoute};

use super::{DeployedVariant, Deployment};

impl Deployment {
    /// All variants that have instances.
    pub(crate) fn all_variants(&self) -> impl Iterator<Item = &DeployedVariant> {
        self.variants.iter().chain(&self.shadows)
    }

    pub(super) fn all_variants_mut(&mut self) -> impl Iterator<Item = &mut DeployedVariant> {
        self.variants.iter_mut().chain(&mut self.shadows)
    }
}

/// What gets copies of the calls of `production`: its weight beside that of the production variant
/// says how many.
pub(super) fn route(production: &DeployedVariant, shadow: VariantRoute) -> Arc<ShadowRoute> {
    let share = if production.weight > 0.0 { shadow.weight / production.weight } else { 0.0 };
    Arc::new(ShadowRoute { share: share.clamp(0.0, 1.0), variant: shadow })
}

/// SageMaker shadows one model in one container; several in series are one here.
pub(super) fn check(deployment: &Deployment) -> Result<(), ApiError> {
    let targets = |variant: &&DeployedVariant| {
        let targets = variant.targets();
        targets.model || targets.container
    };
    let has_shadows = !deployment.shadows.is_empty();
    match deployment.all_variants().find(targets).filter(|_| has_shadows) {
        None => Ok(()),
        Some(variant) => Err(ApiError::validation(format!(
            "ShadowProductionVariants are not served with multi-model containers, or with \
             containers that are called directly, as variant {} has them.",
            variant.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Region;
    use sagebrush_core::route::VariantRoute;

    use super::super::tests::deployment;
    use super::{DeployedVariant, route};

    #[test]
    fn the_weights_say_how_much_is_copied() {
        let [production] = deployment("1", 1).variants.try_into().unwrap();
        for (weight, shadow, share) in
            [(1.0, 0.25, 0.25), (4.0, 1.0, 0.25), (1.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.0, 0.0, 0.0)]
        {
            let production = DeployedVariant { weight, ..production.clone() };
            let shadow =
                VariantRoute { weight: shadow, ..VariantRoute::new("s", "c".into(), Vec::new()) };
            assert_eq!(route(&production, shadow).share.to_bits(), f32::to_bits(share));
        }
    }

    #[test]
    fn a_shadow_variant_has_a_group_of_its_own() {
        let mut with = deployment("1", 1);
        with.shadows = vec![DeployedVariant { name: "s".to_owned(), ..with.variants[0].clone() }];
        let groups = with.groups(&Region::new("r"), "e");
        let names: Vec<_> = groups.iter().map(|group| group.key.variant.as_str()).collect();
        assert_eq!(names, ["v", "s"]);
    }
}
