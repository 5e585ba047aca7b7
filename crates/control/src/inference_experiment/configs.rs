//! The endpoint configurations that experiments make: their names, and what is in them. Pure.
//!
//! They are ordinary ones, which clients can describe and use. The tag tells them apart from what
//! a client made under such a name.

use sagebrush_aws::ApiError;
use sagebrush_wire::sagemaker as wire;
use serde_json::{Value, json};

use super::{InferenceExperimentSpec, Layout, Purpose, Shadow, Variant};
use crate::endpoint_config::EndpointConfigSpec;
use crate::resources::described;

/// The tag of each; its value is the name of the experiment.
pub(super) const TAG: &str = "sagebrush:inference-experiment";
/// What all their names begin with.
pub(super) const PREFIX: &str = "experiment-";

/// The name of an experiment's configuration.
pub(super) fn name(spec: &InferenceExperimentSpec, purpose: Purpose) -> String {
    let purpose = match purpose {
        Purpose::Wait => "wait",
        Purpose::Run => "run",
        Purpose::After => "after",
        Purpose::Revert => "revert",
    };
    format!("{PREFIX}{}-{purpose}", spec.id)
}

/// The `CreateEndpointConfig` of `layout`. What the endpoint's own configuration, `base`, says
/// beyond the layout holds as well: timeouts, routing, its network, its data capture.
pub(super) fn request(base: Option<&Value>, layout: &Layout, name: &str) -> Value {
    let of_base = |pointer: &str| base.and_then(|base| base.pointer(pointer)).cloned();
    let mut request = of_base("").unwrap_or_else(|| json!({}));
    let production = of_base("/ProductionVariants/0").unwrap_or_else(|| json!({}));
    request["EndpointConfigName"] = name.into();
    request["ProductionVariants"] = json!([variant(production, &layout.production, 1.0)]);
    if let Some(capture) = &layout.capture {
        request["DataCaptureConfig"] = capture.clone();
    }
    if let Some(members) = request.as_object_mut() {
        members.remove("Tags"); // They are of the configuration that it is made after.
        members.remove("ShadowProductionVariants");
    }
    if let Some(Shadow { variant: shadow, percentage }) = &layout.shadow {
        let weight = f64::from(*percentage) / 100.0;
        request["ShadowProductionVariants"] = json!([variant(json!({}), shadow, weight)]);
    }
    request
}

fn variant(mut base: Value, variant: &Variant, weight: f64) -> Value {
    base["VariantName"] = variant.name.as_str().into();
    base["ModelName"] = variant.model.as_str().into();
    base["InstanceType"] = variant.instance_type.as_str().into();
    base["InitialInstanceCount"] = variant.instance_count.into();
    base["InitialVariantWeight"] = weight.into();
    base
}

/// True for the names of the experiment's configurations.
pub(super) fn is_of(spec: &InferenceExperimentSpec, name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(spec.id.as_str()));
    rest.is_some_and(|rest| rest.starts_with('-'))
}

/// The configuration that is asked for.
///
/// # Errors
/// Says what an endpoint cannot be made of.
pub(super) fn spec(request: &Value) -> Result<EndpointConfigSpec, ApiError> {
    let input: wire::CreateEndpointConfigInput = described(request)?;
    EndpointConfigSpec::try_from(input)
}
