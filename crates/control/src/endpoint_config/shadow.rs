//! `ShadowProductionVariants`: read, and checked as SageMaker does.

use sagebrush_aws::ApiError;
use sagebrush_wire::sagemaker as wire;

use super::{ProductionVariant, Scaling};

/// The shadow variants of a configuration: one beside one production variant, or none.
///
/// # Errors
/// Says what does not go together.
pub(super) fn shadows(
    input: &wire::CreateEndpointConfigInput,
) -> Result<Vec<ProductionVariant>, ApiError> {
    let given = input.shadow_production_variants.as_deref().unwrap_or_default();
    let Some(first) = given.first() else { return Ok(Vec::new()) };
    if given.len() > 1 || input.production_variants.len() > 1 {
        return Err(ApiError::validation(
            "ShadowProductionVariants must have exactly one variant, and ProductionVariants \
             exactly one as well.",
        ));
    }
    let shadow = ProductionVariant::try_from(first.clone())?;
    let beside = match shadow.scaling {
        Scaling::Serverless(_) => Some("a ServerlessConfig"),
        Scaling::Managed { .. } => Some("ManagedInstanceScaling"),
        Scaling::Fixed => input.async_inference_config.as_ref().map(|_| "AsyncInferenceConfig"),
    };
    match beside {
        None => Ok(vec![shadow]),
        Some(beside) => Err(ApiError::validation(format!(
            "Shadow variant {} cannot be combined with {beside}.",
            shadow.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_wire::sagemaker as wire;
    use serde_json::{Value, json};

    use crate::endpoint_config::EndpointConfigSpec;

    fn variant(name: &str) -> Value {
        json!({
            "VariantName": name, "ModelName": "m", "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1, "InitialVariantWeight": 0.5,
        })
    }

    #[track_caller]
    fn check(production: Value, shadow: Value, more: Value, refused: Option<&str>) {
        let mut request = json!({
            "EndpointConfigName": "c", "ProductionVariants": production,
            "ShadowProductionVariants": shadow,
        });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let input: wire::CreateEndpointConfigInput = serde_json::from_value(request).unwrap();
        match (EndpointConfigSpec::try_from(input), refused) {
            (Ok(spec), None) => {
                assert_eq!((spec.shadows.len(), spec.unserved.len()), (1, 0));
                assert_eq!((spec.shadows[0].name.as_str(), spec.shadows[0].weight), ("s", 0.5));
            }
            (Err(error), Some(words)) => {
                assert!(error.message.contains(words), "{}", error.message);
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn one_shadow_beside_one_production_variant() {
        let [p, q, s] = ["p", "q", "s"].map(variant);
        let none = || json!({});
        check(json!([p]), json!([s]), none(), None);
        check(json!([p, q]), json!([s]), none(), Some("exactly one"));
        check(json!([p]), json!([s, q]), none(), Some("exactly one"));
        check(json!([p]), json!([p]), none(), Some("must be unique"));
        let output = json!({"OutputConfig": {"S3OutputPath": "s3://b"}});
        let asynchronous = json!({"AsyncInferenceConfig": output});
        check(json!([p]), json!([s]), asynchronous, Some("AsyncInferenceConfig"));
        let mut managed = s;
        managed["ManagedInstanceScaling"] = json!({"Status": "ENABLED", "MaxInstanceCount": 2});
        check(json!([p]), json!([managed]), none(), Some("ManagedInstanceScaling"));
        let serverless = json!({"MemorySizeInMB": 1024, "MaxConcurrency": 1});
        let serverless =
            json!({"VariantName": "s", "ModelName": "m", "ServerlessConfig": serverless});
        check(json!([p]), json!([serverless]), none(), Some("a ServerlessConfig"));
    }
}
