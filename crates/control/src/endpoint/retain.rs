//! `RetainAllVariantProperties`: what an update keeps of the variants that serve now.

use sagebrush_wire::sagemaker::VariantProperty;
use sagebrush_wire::sagemaker::VariantPropertyType;

use super::Deployment;

impl Deployment {
    /// Takes weights, instance counts and data capture over from `serving`, but for those excluded.
    pub(super) fn retain_properties(&mut self, serving: &Self, excluded: &[VariantProperty]) {
        let keeps = |property: VariantPropertyType| {
            !excluded.iter().any(|excluded| excluded.variant_property_type == property)
        };
        if keeps(VariantPropertyType::DataCaptureConfig) {
            self.capture.clone_from(&serving.capture);
        }
        for variant in self.all_variants_mut() {
            let before = serving.all_variants().find(|before| before.name == variant.name);
            let Some(before) = before else { continue };
            if keeps(VariantPropertyType::DesiredInstanceCount) {
                variant.instance_count = before.instance_count;
            }
            if keeps(VariantPropertyType::DesiredWeight) {
                variant.weight = before.weight;
            }
        }
    }
}
