//! `CreateEndpoint`, `UpdateEndpoint`, `UpdateEndpointWeightsAndCapacities`, `DescribeEndpoint`,
//! `ListEndpoints`, `DeleteEndpoint`.

mod guardrails;

use std::sync::Arc;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{SortBy, StoreError};
use sagebrush_wire::Empty;
use sagebrush_wire::sagemaker as wire;

use super::capacity::{self, Change, ChangeError};
use super::deploy::resolve;
use super::rollout::Rollout;
use super::{Endpoint, EndpointSpec, EndpointState, describe};
use crate::Control;
use crate::list;
use crate::resources::{
    already_existing, arn, create_error, described, found, stored_request, tag_map,
};

const WHAT: &str = "endpoint";

/// How long a Describe waits for an endpoint that is about to settle.
///
/// boto3's waiters sleep for 30 s after a first look that is not final: most endpoints settle
/// within this time, so that the first look is.
const SETTLE_WAIT: Duration = Duration::from_secs(3);

pub(crate) async fn create(
    control: Arc<Control>,
    ctx: Context,
    input: wire::CreateEndpointInput,
) -> Result<wire::CreateEndpointOutput, ApiError> {
    let policy = guardrails::policy(input.deployment_config.as_ref())?;
    let deployment_config = input.deployment_config.as_ref().map(stored_request).transpose()?;
    let name = input.endpoint_name;
    let tags = tag_map(input.tags.as_deref())?;
    let endpoint_arn = arn::<Endpoint>(&ctx, &name);
    if control.endpoints.get(&ctx.region, &name).await?.is_some() {
        return Err(already_existing(WHAT, &endpoint_arn));
    }
    let wanted = resolve(&control, &ctx, &input.endpoint_config_name).await?;
    guardrails::check(&policy, None, &wanted)?;
    let spec = EndpointSpec { wanted, deployment_config };
    let created = control.endpoints.create(&ctx.region, &name, spec, tags).await;
    created.map_err(|error| create_error(error, WHAT, &endpoint_arn))?;
    control.wake_reconciler();
    hint_at_sdk_2(&ctx);
    Ok(wire::CreateEndpointOutput { endpoint_arn })
}

pub(crate) async fn update(
    control: Arc<Control>,
    ctx: Context,
    input: wire::UpdateEndpointInput,
) -> Result<wire::UpdateEndpointOutput, ApiError> {
    let mut endpoint = find(&control, &ctx, &input.endpoint_name).await?;
    let endpoint_arn = arn::<Endpoint>(&ctx, &endpoint.name);
    let EndpointState::InService { serving, .. } = endpoint.status else {
        return Err(in_progress("update", &endpoint_arn));
    };
    let mut wanted = resolve(&control, &ctx, &input.endpoint_config_name).await?;
    if input.retain_all_variant_properties == Some(true) {
        let excluded = input.exclude_retained_variant_properties.unwrap_or_default();
        wanted.retain_properties(&serving, &excluded);
    }
    let given = input.deployment_config;
    let config = match (input.retain_deployment_config, given) {
        (Some(true), Some(_)) => {
            return Err(ApiError::validation(
                "RetainDeploymentConfig cannot be true where a DeploymentConfig is given.",
            ));
        }
        (Some(true), None) => {
            endpoint.spec.deployment_config.as_ref().map(described).transpose()?
        }
        (Some(false) | None, given) => given,
    };
    let policy = guardrails::policy(config.as_ref())?;
    guardrails::check(&policy, Some(&serving), &wanted)?;
    guardrails::check_alarms(&policy, &*control.watched.alarms, &ctx.region)?;
    if let Some(config) = &config {
        endpoint.spec.deployment_config = Some(stored_request(config)?);
    }
    let rollout = Box::new(Rollout::begin(policy, control.clock.now()));
    endpoint.status = EndpointState::Updating { serving, rollout };
    endpoint.spec.wanted = wanted;
    write(&control, endpoint, "update", &endpoint_arn).await?;
    Ok(wire::UpdateEndpointOutput { endpoint_arn })
}

pub(crate) async fn update_capacities(
    control: Arc<Control>,
    ctx: Context,
    input: wire::UpdateEndpointWeightsAndCapacitiesInput,
) -> Result<wire::UpdateEndpointWeightsAndCapacitiesOutput, ApiError> {
    let endpoint = find(&control, &ctx, &input.endpoint_name).await?;
    let endpoint_arn = arn::<Endpoint>(&ctx, &endpoint.name);
    let changes: Vec<_> = input.desired_weights_and_capacities.into_iter().map(change).collect();
    let changed = capacity::change(&control.endpoints, &ctx.region, &endpoint.name, &changes).await;
    changed.map_err(|error| match error {
        ChangeError::NoVariant(variant) => ApiError::validation(format!(
            "Could not find variant \"{variant}\" of endpoint \"{endpoint_arn}\"."
        )),
        ChangeError::Invalid(message) => ApiError::validation(message),
        error @ ChangeError::TooMany { .. } => {
            ApiError::resource_limit_exceeded(format!("{error}."))
        }
        ChangeError::Store(error) if !matches!(error, StoreError::Conflict { .. }) => error.into(),
        ChangeError::NoEndpoint(_) | ChangeError::InProgress(_) | ChangeError::Store(_) => {
            in_progress("update", &endpoint_arn)
        }
    })?;
    control.wake_reconciler();
    Ok(wire::UpdateEndpointWeightsAndCapacitiesOutput { endpoint_arn })
}

fn change(desired: wire::DesiredWeightAndCapacity) -> Change {
    let number = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let serverless = desired.serverless_update_config.unwrap_or_default();
    Change {
        variant: desired.variant_name,
        weight: desired.desired_weight,
        instance_count: number(desired.desired_instance_count),
        max_concurrency: number(serverless.max_concurrency),
        provisioned_concurrency: number(serverless.provisioned_concurrency),
    }
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeEndpointInput,
) -> Result<wire::DescribeEndpointOutput, ApiError> {
    let endpoint = settled(&control, &ctx, &input.endpoint_name).await?;
    let deployed = endpoint.status.serving().unwrap_or(&endpoint.spec.wanted);
    let config = control.endpoint_configs.get(&ctx.region, &deployed.config).await?;
    let seen = control.fleet.watch().borrow().clone();
    describe::output(&ctx, &endpoint, config.as_ref(), &seen)
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListEndpointsInput,
) -> Result<wire::ListEndpointsOutput, ApiError> {
    let token = input.next_token;
    let wanted = list::Wanted {
        sort_by: match input.sort_by {
            Some(wire::EndpointSortKey::Name) => SortBy::Name,
            Some(wire::EndpointSortKey::Status) => SortBy::Status,
            Some(wire::EndpointSortKey::CreationTime) | None => SortBy::CreationTime,
        },
        order: input.sort_order,
        max_results: input.max_results,
        name_contains: input.name_contains,
        created_before: input.creation_time_before,
        created_after: input.creation_time_after,
    };
    let changed = list::Changed {
        before: input.last_modified_time_before,
        after: input.last_modified_time_after,
        status: input.status_equals.map(|status| status.as_str()),
    };
    let query = wanted.changed(&ctx.region, changed);
    let query = list::after::<Endpoint>(query, token.as_deref())?;
    let (endpoints, next) = control.endpoints.list(&query).await?;
    Ok(wire::ListEndpointsOutput {
        endpoints: endpoints
            .into_iter()
            .map(|endpoint| describe::summary(&ctx, &endpoint))
            .collect(),
        next_token: list::next_token::<Endpoint>(&query, next),
    })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteEndpointInput,
) -> Result<Empty, ApiError> {
    let mut endpoint = find(&control, &ctx, &input.endpoint_name).await?;
    let endpoint_arn = arn::<Endpoint>(&ctx, &endpoint.name);
    match endpoint.status {
        EndpointState::InService { .. }
        | EndpointState::Failed { .. }
        | EndpointState::UpdateRollbackFailed { .. } => {}
        EndpointState::Creating
        | EndpointState::Updating { .. }
        | EndpointState::RollingBack { .. }
        | EndpointState::Deleting => return Err(in_progress("delete", &endpoint_arn)),
    }
    endpoint.status = EndpointState::Deleting;
    write(&control, endpoint, "delete", &endpoint_arn).await?;
    Ok(Empty {})
}

/// SDK 2 waits in the client, where nothing but its user can help.
fn hint_at_sdk_2(ctx: &Context) {
    let agent = ctx.user_agent.as_deref().unwrap_or_default();
    if agent.contains("AWS-SageMaker-Python-SDK#2") || agent.contains("AWS-SageMaker-Python-SDK/2")
    {
        tracing::info!(
            "the SageMaker SDK 2 sleeps for 30 s before it first looks at an endpoint: \
             deploy(wait=False) returns at once"
        );
    }
}

async fn find(control: &Control, ctx: &Context, name: &str) -> Result<Stored<Endpoint>, ApiError> {
    found(control.endpoints.get(&ctx.region, name).await?, WHAT, &arn::<Endpoint>(ctx, name))
}

/// The endpoint once it has settled, or as it is when that takes long.
async fn settled(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<Endpoint>, ApiError> {
    let mut changes = control.settled();
    let deadline = tokio::time::Instant::now() + SETTLE_WAIT;
    loop {
        changes.borrow_and_update();
        let endpoint = find(control, ctx, name).await?;
        // What has been under way for long will not settle just now: nobody waits for it.
        let is_young = control.clock.now().since(endpoint.modified_at) < SETTLE_WAIT;
        if endpoint.status.is_settled() || !is_young {
            return Ok(endpoint);
        }
        if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
            return find(control, ctx, name).await;
        }
    }
}

async fn write(
    control: &Control,
    endpoint: Stored<Endpoint>,
    verb: &str,
    arn: &str,
) -> Result<(), ApiError> {
    match control.endpoints.update(endpoint).await {
        Ok(_) => {
            control.wake_reconciler();
            Ok(())
        }
        // Somebody else's change came in between: the endpoint is in progress now.
        Err(StoreError::Conflict { .. }) => Err(in_progress(verb, arn)),
        Err(error) => Err(error.into()),
    }
}

fn in_progress(verb: &str, arn: &str) -> ApiError {
    ApiError::validation(format!("Cannot {verb} in-progress endpoint \"{arn}\"."))
}
