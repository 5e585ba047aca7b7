//! Resolves an endpoint configuration into a deployment: all that its fleet needs.

use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use uuid::Uuid;

use super::{DeployedVariant, Deployment, shadow};
use crate::endpoint_config::{EndpointConfigSpec, ProductionVariant, Scaling};
use crate::{Control, endpoint_config, model};

/// SageMaker: a container must pass its health check within 4 minutes unless told otherwise.
const STARTUP_TIMEOUT: u64 = 240;
/// SageMaker: within 3 minutes, where it is serverless.
const SERVERLESS_STARTUP_TIMEOUT: u64 = 180;
/// SageMaker API: `ModelDataDownloadTimeoutInSeconds` is 60 to 3600; without it, the longest.
const DOWNLOAD_TIMEOUT: u64 = 3600;

/// A new deployment of the configuration `name` as it and its models are now.
pub(super) async fn resolve(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Deployment, ApiError> {
    let config = endpoint_config::api::find(control, ctx, name).await?;
    check_served(&config.spec)?;
    let mut variants = Vec::with_capacity(config.spec.variants.len());
    for variant in &config.spec.variants {
        variants.push(resolve_variant(control, ctx, &config.spec, variant).await?);
    }
    let mut shadows = Vec::with_capacity(config.spec.shadows.len());
    for variant in &config.spec.shadows {
        shadows.push(resolve_variant(control, ctx, &config.spec, variant).await?);
    }
    check_asynchronous(&config.spec, &variants)?;
    let asynchronous = config.spec.asynchronous.map(|mut asynchronous| {
        // Their models answer the same calls; the first one's role reads and writes for all.
        let first = variants.first().and_then(|variant| variant.containers.first());
        asynchronous.role_arn = first.and_then(|container| container.role_arn.clone());
        asynchronous
    });
    let revision = Uuid::now_v7().simple().to_string();
    let deployment = Deployment {
        revision,
        config: config.name,
        asynchronous,
        capture: config.spec.capture,
        metrics: config.spec.metrics,
        variants,
        shadows,
    };
    shadow::check(&deployment)?;
    Ok(deployment)
}

async fn resolve_variant(
    control: &Control,
    ctx: &Context,
    config: &EndpointConfigSpec,
    variant: &ProductionVariant,
) -> Result<DeployedVariant, ApiError> {
    let Some(model) = &variant.model else {
        return Err(ApiError::validation(format!(
            "ProductionVariant {} has no ModelName: inference components are not served here.",
            variant.name
        )));
    };
    let model = model::api::find(control, ctx, model).await?;
    let seconds = |given: Option<u64>, default| Duration::from_secs(given.unwrap_or(default));
    Ok(DeployedVariant {
        name: variant.name.clone(),
        weight: variant.weight,
        instance_count: variant.instance_count,
        scaling: variant.scaling,
        instance_type: variant.instance_type.clone(),
        execution: model.spec.execution,
        routing: variant.routing,
        containers: model.spec.container_specs(),
        network_isolation: config.network_isolation || model.spec.network_isolation,
        startup_timeout: seconds(variant.startup_timeout_s, startup_timeout(variant.scaling)),
        download_timeout: seconds(variant.download_timeout_s, DOWNLOAD_TIMEOUT),
        resolved_at: control.clock.now(),
    })
}

fn startup_timeout(scaling: Scaling) -> u64 {
    match scaling {
        Scaling::Serverless(_) => SERVERLESS_STARTUP_TIMEOUT,
        Scaling::Fixed | Scaling::Managed { .. } => STARTUP_TIMEOUT,
    }
}

/// Asynchronous calls name neither a model nor a container.
fn check_asynchronous(
    config: &EndpointConfigSpec,
    variants: &[DeployedVariant],
) -> Result<(), ApiError> {
    let targets = |variant: &&DeployedVariant| {
        let targets = variant.targets();
        targets.model || targets.container
    };
    match variants.iter().find(targets).filter(|_| config.asynchronous.is_some()) {
        None => Ok(()),
        Some(variant) => Err(ApiError::validation(format!(
            "AsyncInferenceConfig is not served with multi-model containers, or with containers \
             that are called directly, as ProductionVariant {} has them.",
            variant.name
        ))),
    }
}

fn check_served(config: &EndpointConfigSpec) -> Result<(), ApiError> {
    config.unserved.first().map_or(Ok(()), |member| {
        Err(ApiError::validation(format!(
            "{member} is not served here: the endpoint configuration can be stored and described, \
             but no endpoint can be made of it."
        )))
    })
}
