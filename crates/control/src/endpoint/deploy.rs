//! Resolves an endpoint configuration into a deployment: all that its fleet needs.

use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::StoreError;
use uuid::Uuid;

use super::rollout::{Policy, Rollout};
use super::{DeployedVariant, Deployment, Endpoint, EndpointState, shadow};
use crate::endpoint_config::{EndpointConfigSpec, ProductionVariant, Scaling};
use crate::{Control, endpoint_config, model};

/// SageMaker: a container must pass its health check within 4 minutes unless told otherwise.
const STARTUP_TIMEOUT: u64 = 240;
/// SageMaker: within 3 minutes, where it is serverless.
const SERVERLESS_STARTUP_TIMEOUT: u64 = 180;
/// SageMaker API: `ModelDataDownloadTimeoutInSeconds` is 60 to 3600; without it, the longest.
const DOWNLOAD_TIMEOUT: u64 = 3600;

/// A new deployment of the configuration `name` as it and its models are now.
pub(crate) async fn resolve(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Deployment, ApiError> {
    let config = endpoint_config::api::find(control, ctx, name).await?;
    resolve_spec(control, ctx, config.name, config.spec).await
}

/// The same of a configuration `name` that need not be stored.
pub(crate) async fn resolve_spec(
    control: &Control,
    ctx: &Context,
    name: String,
    config: EndpointConfigSpec,
) -> Result<Deployment, ApiError> {
    check_served(&config)?;
    let mut variants = Vec::with_capacity(config.variants.len());
    for variant in &config.variants {
        variants.push(resolve_variant(control, ctx, &config, variant).await?);
    }
    let mut shadows = Vec::with_capacity(config.shadows.len());
    for variant in &config.shadows {
        shadows.push(resolve_variant(control, ctx, &config, variant).await?);
    }
    check_asynchronous(&config, &variants)?;
    let asynchronous = config.asynchronous.map(|mut asynchronous| {
        // Their models answer the same calls; the first one's role reads and writes for all.
        let first = variants.first().and_then(|variant| variant.containers.first());
        asynchronous.role_arn = first.and_then(|container| container.role_arn.clone());
        asynchronous
    });
    let revision = Uuid::now_v7().simple().to_string();
    let deployment = Deployment {
        revision,
        config: name,
        asynchronous,
        capture: config.capture,
        metrics: config.metrics,
        variants,
        shadows,
    };
    shadow::check(&deployment)?;
    Ok(deployment)
}

/// Has an endpoint that serves brought to `wanted`, all at once; one that does not stays as it is.
/// The reconciler has to be woken.
///
/// # Errors
/// `Conflict` if it was changed meanwhile.
pub(crate) async fn redeploy(
    control: &Control,
    mut endpoint: Stored<Endpoint>,
    wanted: Deployment,
) -> Result<(), StoreError> {
    let EndpointState::InService { serving, .. } = endpoint.status else { return Ok(()) };
    let rollout = Box::new(Rollout::begin(Policy::default(), control.clock.now()));
    endpoint.status = EndpointState::Updating { serving, rollout };
    endpoint.spec.wanted = wanted;
    control.endpoints.update(endpoint).await?;
    Ok(())
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
