//! `RegisterScalableTarget`, `DescribeScalableTargets`, `DeregisterScalableTarget`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Arn;
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_core::store::StoreError;
use sagebrush_wire::application_autoscaling as wire;
use uuid::Uuid;

use super::super::dimension::{Dimension, Scalable};
use super::super::settle::forget;
use super::super::target_id::TargetId;
use super::super::{Bounds, ScalableTarget, Suspended, TargetSpec};
use super::{
    MAX_ATTEMPTS, Order, Refusal, Wanted, count, described_target, done, find_target, of_region,
    resource, to_wire,
};
use crate::Control;
use crate::list;
use crate::resources::MAX_TAGS;

/// AWS: targets of one account in one region.
const MAX_TARGETS: usize = 5000;

pub(crate) async fn register(
    control: Arc<Control>,
    ctx: Context,
    input: wire::RegisterScalableTargetRequest,
) -> Result<wire::RegisterScalableTargetResponse, ApiError> {
    let target = done(try_register(&control, &ctx, input).await)?;
    control.autoscaling.wake.notify_one();
    Ok(wire::RegisterScalableTargetResponse {
        scalable_target_arn: Some(arn(&ctx, &target.spec.id)),
    })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeScalableTargetsRequest,
) -> Result<wire::DescribeScalableTargetsResponse, ApiError> {
    let wanted = Wanted {
        namespace: input.service_namespace,
        resource_ids: input.resource_ids.as_deref(),
        dimension: input.scalable_dimension,
        names: None,
        max_results: input.max_results,
        next_token: input.next_token.as_deref(),
    };
    done(wanted.check())?;
    let (mut targets, _) = control.autoscaling.targets.list(&of_region(&ctx)).await?;
    targets.retain(|target| wanted.has(&target.name, ""));
    let kind = (ScalableTarget::KIND, &ctx.region);
    let (page, next_token) =
        done(wanted.page(kind, targets, Order::Ascending, |target| &target.name))?;
    let described = page.iter().map(|target| described(&ctx, target)).collect();
    Ok(wire::DescribeScalableTargetsResponse { scalable_targets: Some(described), next_token })
}

pub(crate) async fn deregister(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeregisterScalableTargetRequest,
) -> Result<wire::DeregisterScalableTargetResponse, ApiError> {
    let (namespace, dimension) = (input.service_namespace, input.scalable_dimension);
    let id = done(resource(namespace, &input.resource_id, dimension))?;
    for _ in 0..MAX_ATTEMPTS {
        let target = done(find_target(&control, &ctx, &id).await)?;
        match forget(&control, target).await {
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            outcome => {
                done(outcome.map_err(Refusal::from))?;
                return Ok(wire::DeregisterScalableTargetResponse {});
            }
        }
    }
    Err(Refusal::Busy.into())
}

/// The ARN of a target.
pub(super) fn arn(ctx: &Context, id: &str) -> String {
    let arn = Arn {
        service: "application-autoscaling".to_owned(),
        region: ctx.region.to_string(),
        account: ctx.account.to_string(),
        resource: format!("scalable-target/{id}"),
    };
    arn.to_string()
}

async fn try_register(
    control: &Control,
    ctx: &Context,
    input: wire::RegisterScalableTargetRequest,
) -> Result<Stored<ScalableTarget>, Refusal> {
    let id = resource(input.service_namespace, &input.resource_id, input.scalable_dimension)?;
    let (id, scalable) = checked(control, ctx, id).await?;
    let name = id.to_string();
    let min = count("MinCapacity", input.min_capacity)?;
    let max = count("MaxCapacity", input.max_capacity)?;
    let targets = &control.autoscaling.targets;
    for _ in 0..MAX_ATTEMPTS {
        let known = targets.get(&ctx.region, &name).await?;
        let written = match known {
            Some(mut target) => {
                if input.tags.is_some() {
                    let words = "Tags can only be given to a new scalable target; TagResource \
                                 changes those of a registered one.";
                    return Err(Refusal::Invalid(words.to_owned()));
                }
                change(&mut target, (min, max), &input, scalable)?;
                targets.update(target).await
            }
            None => {
                check_limit(control, ctx).await?;
                check_new(&id, scalable)?;
                let spec = TargetSpec {
                    id: Uuid::new_v4().simple().to_string(),
                    bounds: new_bounds(min, max, scalable)?,
                    role_arn: input.role_arn.clone(),
                    suspended: suspended(Suspended::default(), input.suspended_state.as_ref()),
                };
                let tags = checked_tags(input.tags.clone().unwrap_or_default())?;
                targets.create(&ctx.region, &name, spec, tags).await
            }
        };
        match written {
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            outcome => return Ok(outcome?),
        }
    }
    Err(Refusal::Busy)
}

/// What is not named stays.
fn change(
    target: &mut Stored<ScalableTarget>,
    (min, max): (Option<u32>, Option<u32>),
    input: &wire::RegisterScalableTargetRequest,
    scalable: Scalable,
) -> Result<(), Refusal> {
    let Stored { spec, status, .. } = target;
    let before = spec.bounds(status);
    let bounds = Bounds { min: min.unwrap_or(before.min), max: max.unwrap_or(before.max) };
    // What was not named now may have been lawful once.
    check_bounds(bounds, if max.is_some() { scalable.most } else { u32::MAX })?;
    spec.bounds = bounds;
    spec.role_arn = input.role_arn.clone().or_else(|| spec.role_arn.take());
    spec.suspended = suspended(spec.suspended, input.suspended_state.as_ref());
    status.scheduled = None;
    if min.is_some() || max.is_some() {
        status.kept = None;
        status.failed = None;
    }
    Ok(())
}

/// The target, by the endpoint's own name, of a variant that has such a capacity.
async fn checked(
    control: &Control,
    ctx: &Context,
    id: TargetId,
) -> Result<(TargetId, Scalable), Refusal> {
    let endpoint = control.endpoints.get(&ctx.region, &id.endpoint).await?;
    let endpoint = endpoint
        .ok_or_else(|| Refusal::Invalid(format!("Could not find endpoint \"{}\".", id.endpoint)))?;
    let deployed = endpoint.status.serving().unwrap_or(&endpoint.spec.wanted);
    let variant = deployed.variants.iter().find(|variant| variant.name == id.variant);
    let variant = variant.ok_or_else(|| {
        Refusal::Invalid(format!("The endpoint {} has no variant {}.", id.endpoint, id.variant))
    })?;
    let scalable = id.dimension.of(variant).ok_or_else(|| not_scalable(&id))?;
    Ok((TargetId { endpoint: endpoint.name, ..id }, scalable))
}

fn not_scalable(id: &TargetId) -> Refusal {
    let TargetId { variant, dimension, .. } = id;
    let why = match dimension {
        Dimension::InstanceCount => {
            "scales by its ServerlessConfig or its ManagedInstanceScaling: it has no instance \
             count to set"
        }
        Dimension::ProvisionedConcurrency => "has no ServerlessConfig with ProvisionedConcurrency",
    };
    let word = dimension.word();
    Refusal::Invalid(format!(
        "The variant {variant} {why}, and cannot be a scalable target of dimension {word}."
    ))
}

/// A target may lead to no provisioned concurrency, but does not begin there.
fn check_new(id: &TargetId, scalable: Scalable) -> Result<(), Refusal> {
    match id.dimension {
        Dimension::ProvisionedConcurrency if scalable.capacity == 0 => Err(not_scalable(id)),
        Dimension::ProvisionedConcurrency | Dimension::InstanceCount => Ok(()),
    }
}

fn new_bounds(min: Option<u32>, max: Option<u32>, scalable: Scalable) -> Result<Bounds, Refusal> {
    let (Some(min), Some(max)) = (min, max) else {
        let words = "MinCapacity and MaxCapacity must be specified for a new scalable target.";
        return Err(Refusal::Invalid(words.to_owned()));
    };
    let bounds = Bounds { min, max };
    check_bounds(bounds, scalable.most)?;
    Ok(bounds)
}

fn check_bounds(bounds: Bounds, most: u32) -> Result<(), Refusal> {
    if bounds.min > bounds.max {
        let words = "Maximum capacity cannot be less than minimum capacity.";
        return Err(Refusal::Invalid(words.to_owned()));
    }
    if bounds.max > most {
        return Err(Refusal::Invalid(format!(
            "Maximum capacity cannot be greater than the variant's MaxConcurrency, {most}."
        )));
    }
    Ok(())
}

async fn check_limit(control: &Control, ctx: &Context) -> Result<(), Refusal> {
    let (targets, _) = control.autoscaling.targets.list(&of_region(ctx)).await?;
    if targets.len() < MAX_TARGETS {
        return Ok(());
    }
    Err(Refusal::LimitExceeded(format!("There are {MAX_TARGETS} scalable targets, the most.")))
}

pub(super) fn checked_tags(
    tags: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Refusal> {
    if tags.len() > MAX_TAGS {
        return Err(Refusal::TooManyTags(MAX_TAGS));
    }
    Ok(tags)
}

fn suspended(before: Suspended, state: Option<&wire::SuspendedState>) -> Suspended {
    let Some(state) = state else { return before };
    Suspended {
        scale_in: state.dynamic_scaling_in_suspended.unwrap_or(before.scale_in),
        scale_out: state.dynamic_scaling_out_suspended.unwrap_or(before.scale_out),
        scheduled: state.scheduled_scaling_suspended.unwrap_or(before.scheduled),
    }
}

fn described(ctx: &Context, target: &Stored<ScalableTarget>) -> wire::ScalableTarget {
    let (resource_id, scalable_dimension) = described_target(&target.name);
    let Bounds { min, max } = target.spec.bounds(&target.status);
    let Suspended { scale_in, scale_out, scheduled } = target.spec.suspended;
    let role = || {
        format!(
            "arn:aws:iam::{}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/\
             AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
            ctx.account
        )
    };
    wire::ScalableTarget {
        service_namespace: wire::ServiceNamespace::Sagemaker,
        resource_id,
        scalable_dimension,
        min_capacity: to_wire(min),
        max_capacity: to_wire(max),
        predicted_capacity: None,
        role_arn: target.spec.role_arn.clone().unwrap_or_else(role),
        creation_time: list::to_wire(target.created_at),
        suspended_state: Some(wire::SuspendedState {
            dynamic_scaling_in_suspended: Some(scale_in),
            dynamic_scaling_out_suspended: Some(scale_out),
            scheduled_scaling_suspended: Some(scheduled),
        }),
        scalable_target_arn: Some(arn(ctx, &target.spec.id)),
    }
}
