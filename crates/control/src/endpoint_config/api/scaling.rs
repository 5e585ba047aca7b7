//! `ServerlessConfig` and `ManagedInstanceScaling`: read, and checked as SageMaker does.

use sagebrush_aws::ApiError;
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use crate::endpoint_config::{EndpointConfigSpec, Scaling, Serverless};
use crate::model::Model;

/// How `variant` scales.
///
/// # Errors
/// For members that do not go together.
pub(super) fn scaling(variant: &wire::ProductionVariant) -> Result<Scaling, ApiError> {
    match (&variant.serverless_config, managed(variant)?) {
        (None, managed) => Ok(managed.unwrap_or_default()),
        (Some(config), managed) => {
            let beside = [
                ("InstanceType", variant.instance_type.is_some()),
                ("InitialInstanceCount", variant.initial_instance_count.is_some()),
                ("ManagedInstanceScaling", managed.is_some()),
                ("AcceleratorType", variant.accelerator_type.is_some()),
                ("VolumeSizeInGB", variant.volume_size_in_gb.is_some()),
            ];
            refuse(&variant.variant_name, &beside)?;
            serverless(&variant.variant_name, config).map(Scaling::Serverless)
        }
    }
}

fn serverless(
    name: &str,
    config: &wire::ProductionVariantServerlessConfig,
) -> Result<Serverless, ApiError> {
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    let read = Serverless {
        memory_mb: number(config.memory_size_in_mb),
        max_concurrency: number(config.max_concurrency),
        provisioned: config.provisioned_concurrency.map_or(0, number),
    };
    let reason = if !(1024..=6144).contains(&read.memory_mb) || !read.memory_mb.is_multiple_of(1024)
    {
        format!(
            "MemorySizeInMB is {}; it must be one of 1024, 2048, 3072, 4096, 5120 and 6144",
            read.memory_mb
        )
    } else if !(1..=200).contains(&read.max_concurrency) {
        format!("MaxConcurrency is {}; it must be from 1 to 200", read.max_concurrency)
    } else if read.provisioned > read.max_concurrency {
        format!(
            "ProvisionedConcurrency is {}; it must not be greater than MaxConcurrency, which is {}",
            read.provisioned, read.max_concurrency
        )
    } else {
        return Ok(read);
    };
    Err(ApiError::validation(format!("ServerlessConfig of ProductionVariant {name}: {reason}.")))
}

/// `None` unless it is enabled.
fn managed(variant: &wire::ProductionVariant) -> Result<Option<Scaling>, ApiError> {
    let Some(given) = &variant.managed_instance_scaling else { return Ok(None) };
    match given.status {
        Some(wire::ManagedInstanceScalingStatus::Enabled) => {}
        Some(wire::ManagedInstanceScalingStatus::Disabled) | None => return Ok(None),
    }
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let initial = number(variant.initial_instance_count);
    let min = number(given.min_instance_count).unwrap_or(1);
    let max = number(given.max_instance_count);
    let max = max.unwrap_or_else(|| min.max(initial.unwrap_or(1)).max(1));
    if min > max {
        return Err(ApiError::validation(format!(
            "ManagedInstanceScaling of ProductionVariant {}: MinInstanceCount is {min}; it must \
             not be greater than MaxInstanceCount, which is {max}.",
            variant.variant_name
        )));
    }
    Ok(Some(Scaling::Managed { min, max }))
}

/// What SageMaker does not combine with a serverless variant, but data capture: here the calls of
/// all kinds of variants go the same way.
///
/// # Errors
/// Says which member it is.
pub(super) fn check_beside_serverless(
    spec: &EndpointConfigSpec,
    input: &wire::CreateEndpointConfigInput,
) -> Result<(), ApiError> {
    let serverless = spec.variants.iter().find(|variant| is_serverless(variant.scaling));
    let Some(serverless) = serverless else { return Ok(()) };
    refuse(
        &serverless.name,
        &[
            ("other ProductionVariants", spec.variants.len() > 1),
            ("ShadowProductionVariants", input.shadow_production_variants.is_some()),
            ("AsyncInferenceConfig", input.async_inference_config.is_some()),
            ("ExplainerConfig", input.explainer_config.is_some()),
            ("VpcConfig", input.vpc_config.is_some()),
            ("EnableNetworkIsolation", spec.network_isolation),
        ],
    )
}

/// The same for its model.
///
/// # Errors
/// Says what it has.
pub(super) fn check_model(
    spec: &EndpointConfigSpec,
    model: &Stored<Model>,
) -> Result<(), ApiError> {
    let serverless = spec.variants.iter().find(|variant| is_serverless(variant.scaling));
    let Some(serverless) = serverless else { return Ok(()) };
    let Stored { spec: model, .. } = model;
    refuse(
        &serverless.name,
        &[
            ("a model of several containers", model.containers.len() > 1),
            ("Mode MultiModel", model.containers.iter().any(|container| container.multi_model)),
            ("a model with EnableNetworkIsolation", model.network_isolation),
            ("a model with a VpcConfig", model.request.get("VpcConfig").is_some()),
        ],
    )
}

fn is_serverless(scaling: Scaling) -> bool {
    matches!(scaling, Scaling::Serverless(_))
}

fn refuse(variant: &str, beside: &[(&str, bool)]) -> Result<(), ApiError> {
    let found = beside.iter().find(|(_, is_there)| *is_there);
    found.map_or(Ok(()), |(what, _)| {
        Err(ApiError::validation(format!(
            "ProductionVariant {variant} has a ServerlessConfig, which cannot be combined with \
             {what}."
        )))
    })
}
