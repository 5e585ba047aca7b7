//! `CreateEndpointConfig`, `DescribeEndpointConfig`, `ListEndpointConfigs`,
//! `DeleteEndpointConfig`.

mod scaling;

use std::collections::BTreeSet;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::route::Routing;
use sagebrush_core::store::SortBy;
use sagebrush_wire::Empty;
use sagebrush_wire::sagemaker as wire;

use super::asynchronous::asynchronous;
use super::capture::capture;
use super::metrics::{is_detailed, metrics};
use super::shadow::shadows;
use super::{EndpointConfig, EndpointConfigSpec, ProductionVariant};
use crate::list::{self, to_wire};
use crate::resources::{arn, create_error, described, found, stored_request, tag_map};
use crate::{Control, model};

const WHAT: &str = "endpoint configuration";

pub(crate) async fn create(
    control: Arc<Control>,
    ctx: Context,
    input: wire::CreateEndpointConfigInput,
) -> Result<wire::CreateEndpointConfigOutput, ApiError> {
    let name = input.endpoint_config_name.clone();
    let tags = tag_map(input.tags.as_deref())?;
    let spec = EndpointConfigSpec::try_from(input)?;
    let variants = spec.variants.iter().chain(&spec.shadows);
    for model in variants.filter_map(|variant| variant.model.as_deref()) {
        scaling::check_model(&spec, &model::api::find(&control, &ctx, model).await?)?;
    }
    let endpoint_config_arn = arn::<EndpointConfig>(&ctx, &name);
    let created = control.endpoint_configs.create(&ctx.region, &name, spec, tags).await;
    created.map_err(|error| create_error(error, WHAT, &endpoint_config_arn))?;
    Ok(wire::CreateEndpointConfigOutput { endpoint_config_arn })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeEndpointConfigInput,
) -> Result<wire::DescribeEndpointConfigOutput, ApiError> {
    let config = find(&control, &ctx, &input.endpoint_config_name).await?;
    let request: wire::CreateEndpointConfigInput = described(&config.spec.request)?;
    Ok(wire::DescribeEndpointConfigOutput {
        endpoint_config_arn: arn::<EndpointConfig>(&ctx, &config.name),
        endpoint_config_name: config.name,
        production_variants: request.production_variants,
        data_capture_config: request.data_capture_config,
        kms_key_id: request.kms_key_id,
        creation_time: to_wire(config.created_at),
        async_inference_config: request.async_inference_config,
        explainer_config: request.explainer_config,
        shadow_production_variants: request.shadow_production_variants,
        execution_role_arn: request.execution_role_arn,
        vpc_config: request.vpc_config,
        enable_network_isolation: request.enable_network_isolation,
        metrics_config: request.metrics_config,
        cross_region_traffic_config: request.cross_region_traffic_config,
    })
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListEndpointConfigsInput,
) -> Result<wire::ListEndpointConfigsOutput, ApiError> {
    let token = input.next_token;
    let wanted = list::Wanted {
        sort_by: match input.sort_by {
            Some(wire::EndpointConfigSortKey::Name) => SortBy::Name,
            Some(wire::EndpointConfigSortKey::CreationTime) | None => SortBy::CreationTime,
        },
        order: input.sort_order,
        max_results: input.max_results,
        name_contains: input.name_contains,
        created_before: input.creation_time_before,
        created_after: input.creation_time_after,
    };
    let query = list::after::<EndpointConfig>(wanted.query(&ctx.region), token.as_deref())?;
    let (configs, next) = control.endpoint_configs.list(&query).await?;
    let summary = |config: Stored<EndpointConfig>| wire::EndpointConfigSummary {
        endpoint_config_arn: arn::<EndpointConfig>(&ctx, &config.name),
        endpoint_config_name: config.name,
        creation_time: to_wire(config.created_at),
    };
    Ok(wire::ListEndpointConfigsOutput {
        endpoint_configs: configs.into_iter().map(summary).collect(),
        next_token: list::next_token::<EndpointConfig>(&query, next),
    })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteEndpointConfigInput,
) -> Result<Empty, ApiError> {
    let config = find(&control, &ctx, &input.endpoint_config_name).await?;
    control.endpoint_configs.remove(&config).await?;
    Ok(Empty {})
}

/// The configuration of that name; AWS's own not-found error otherwise.
pub(crate) async fn find(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<EndpointConfig>, ApiError> {
    let stored = control.endpoint_configs.get(&ctx.region, name).await?;
    found(stored, WHAT, &arn::<EndpointConfig>(ctx, name))
}

impl TryFrom<wire::CreateEndpointConfigInput> for EndpointConfigSpec {
    type Error = ApiError;

    fn try_from(input: wire::CreateEndpointConfigInput) -> Result<Self, ApiError> {
        let request = stored_request(&input)?;
        let unserved = unserved(&input);
        check_alone(&input)?;
        let variants = input.production_variants.iter().cloned().map(ProductionVariant::try_from);
        let variants = variants.collect::<Result<Vec<_>, _>>()?;
        let shadows = shadows(&input)?;
        check_names(variants.iter().chain(&shadows))?;
        check_weights(&variants)?;
        let network_isolation = input.enable_network_isolation.unwrap_or(false);
        let asynchronous = input.async_inference_config.clone().map(asynchronous).transpose()?;
        let capture = input.data_capture_config.clone().map(capture).transpose()?;
        let spec = Self {
            variants,
            shadows,
            network_isolation,
            asynchronous,
            capture,
            metrics: metrics(input.metrics_config.as_ref())?,
            unserved,
            request,
        };
        scaling::check_beside_serverless(&spec, &input)?;
        Ok(spec)
    }
}

impl TryFrom<wire::ProductionVariant> for ProductionVariant {
    type Error = ApiError;

    fn try_from(variant: wire::ProductionVariant) -> Result<Self, ApiError> {
        let scaling = scaling::scaling(&variant)?;
        let seconds = |value: Option<i32>| value.and_then(|value| u64::try_from(value).ok());
        let count = variant.initial_instance_count.unwrap_or(1);
        let routing = match strategy(&variant) {
            Some(wire::RoutingStrategy::Random) => Routing::Random,
            Some(
                wire::RoutingStrategy::LeastOutstandingRequests
                | wire::RoutingStrategy::PrefixAware
                | wire::RoutingStrategy::KvAware,
            )
            | None => Routing::LeastOutstandingRequests,
        };
        Ok(Self {
            name: variant.variant_name,
            scaling,
            model: variant.model_name,
            instance_count: u32::try_from(count).unwrap_or(1),
            instance_type: variant.instance_type.map(|it| it.as_str().to_owned()),
            weight: variant.initial_variant_weight.unwrap_or(1.0),
            routing,
            startup_timeout_s: seconds(variant.container_startup_health_check_timeout_in_seconds),
            download_timeout_s: seconds(variant.model_data_download_timeout_in_seconds),
        })
    }
}

fn strategy(variant: &wire::ProductionVariant) -> Option<wire::RoutingStrategy> {
    variant.routing_config.as_ref().map(|routing| routing.routing_strategy)
}

/// SageMaker has no serverless endpoints that are asynchronous.
fn check_alone(input: &wire::CreateEndpointConfigInput) -> Result<(), ApiError> {
    let is_serverless =
        input.production_variants.iter().any(|variant| variant.serverless_config.is_some());
    if is_serverless && input.async_inference_config.is_some() {
        return Err(ApiError::validation(
            "One or more endpoint features are not supported using this configuration: \
             AsyncInferenceConfig is not for variants with a ServerlessConfig.",
        ));
    }
    Ok(())
}

fn check_names<'v>(
    mut variants: impl Iterator<Item = &'v ProductionVariant>,
) -> Result<(), ApiError> {
    let mut names = BTreeSet::new();
    let twice = variants.find(|variant| !names.insert(variant.name.as_str()));
    twice.map_or(Ok(()), |variant| {
        Err(ApiError::validation(format!(
            "ProductionVariant names must be unique within an endpoint configuration: {}",
            variant.name
        )))
    })
}

fn check_weights(variants: &[ProductionVariant]) -> Result<(), ApiError> {
    if variants.iter().map(|variant| variant.weight).sum::<f32>() > 0.0 {
        return Ok(());
    }
    Err(ApiError::validation(
        "At least one ProductionVariant must have an InitialVariantWeight greater than 0.",
    ))
}

/// The members that an endpoint here cannot act on and must not pretend to.
fn unserved(input: &wire::CreateEndpointConfigInput) -> Vec<String> {
    let routed_by = |wanted: wire::RoutingStrategy| {
        input.production_variants.iter().any(|variant| strategy(variant) == Some(wanted))
    };
    let is_there = [
        ("ExplainerConfig", input.explainer_config.is_some()),
        ("EnableDetailedObservability", is_detailed(input.metrics_config.as_ref())),
        ("RoutingStrategy PREFIX_AWARE", routed_by(wire::RoutingStrategy::PrefixAware)),
        ("RoutingStrategy KV_AWARE", routed_by(wire::RoutingStrategy::KvAware)),
    ];
    is_there.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| (*name).to_owned()).collect()
}
