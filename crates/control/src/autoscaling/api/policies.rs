//! `PutScalingPolicy`, `DescribeScalingPolicies`, `DeleteScalingPolicy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Arn;
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_core::store::StoreError;
use sagebrush_wire::application_autoscaling as wire;
use uuid::Uuid;

use super::super::dimension::Dimension;
use super::super::target_id::{self, key};
use super::super::{PolicySpec, Rule, ScalingPolicy};
use super::{
    MAX_ATTEMPTS, Order, Refusal, Wanted, configuration, described_target, done, find_target,
    missing, of_region, resource,
};
use crate::Control;
use crate::list;
use crate::resources::{self, stored_request};

/// AWS: policies of one target.
const MAX_POLICIES: usize = 50;

pub(crate) async fn put(
    control: Arc<Control>,
    ctx: Context,
    input: wire::PutScalingPolicyRequest,
) -> Result<wire::PutScalingPolicyResponse, ApiError> {
    let policy_arn = done(try_put(&control, &ctx, input).await)?;
    control.autoscaling.wake.notify_one();
    Ok(wire::PutScalingPolicyResponse { policy_arn, alarms: Some(Vec::new()) })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeScalingPoliciesRequest,
) -> Result<wire::DescribeScalingPoliciesResponse, ApiError> {
    let wanted = Wanted {
        namespace: input.service_namespace,
        resource_ids: input.resource_id.as_ref().map(std::slice::from_ref),
        dimension: input.scalable_dimension,
        names: input.policy_names.as_deref(),
        max_results: input.max_results,
        next_token: input.next_token.as_deref(),
    };
    done(wanted.check())?;
    let (mut policies, _) = control.autoscaling.policies.list(&of_region(&ctx)).await?;
    policies.retain(|policy| wanted.has(&policy.spec.target, &policy.spec.policy_name));
    let kind = (ScalingPolicy::KIND, &ctx.region);
    let (page, next_token) =
        done(wanted.page(kind, policies, Order::Ascending, |policy| &policy.name))?;
    let described = page.iter().map(described).collect::<Result<_, _>>()?;
    Ok(wire::DescribeScalingPoliciesResponse { scaling_policies: Some(described), next_token })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteScalingPolicyRequest,
) -> Result<wire::DeleteScalingPolicyResponse, ApiError> {
    let (namespace, dimension) = (input.service_namespace, input.scalable_dimension);
    let id = done(resource(namespace, &input.resource_id, dimension))?;
    let policies = &control.autoscaling.policies;
    let name = format!("{id}:{}", input.policy_name);
    let policy = policies.get(&ctx.region, &name).await?;
    let more = format!(", policy name: {}", input.policy_name);
    let policy = done(policy.ok_or_else(|| missing("scaling policy", &id, &more)))?;
    done(policies.remove(&policy).await.map_err(Refusal::from))?;
    Ok(wire::DeleteScalingPolicyResponse {})
}

/// Returns the policy's ARN.
async fn try_put(
    control: &Control,
    ctx: &Context,
    input: wire::PutScalingPolicyRequest,
) -> Result<String, Refusal> {
    let id = resource(input.service_namespace, &input.resource_id, input.scalable_dimension)?;
    let target = find_target(control, ctx, &id).await?.name;
    let (rule, request) = rule_of(control, &input, id.dimension)?;
    let name = format!("{target}:{}", input.policy_name);
    let policies = &control.autoscaling.policies;
    for _ in 0..MAX_ATTEMPTS {
        let (mut others, _) = policies.list(&of_region(ctx)).await?;
        others.retain(|policy| key(&policy.spec.target) == key(&target));
        let known = others.iter().position(|policy| policy.name == name);
        let known = known.map(|place| others.remove(place));
        check_others(&rule, &others)?;
        let written = match known {
            Some(mut policy) => {
                (policy.spec.rule, policy.spec.request) = (rule.clone(), request.clone());
                policies.update(policy).await
            }
            None => {
                let spec = PolicySpec {
                    arn: arn(ctx, &target, &input.policy_name),
                    policy_name: input.policy_name.clone(),
                    target: target.clone(),
                    rule: rule.clone(),
                    request: request.clone(),
                };
                policies.create(&ctx.region, &name, spec, BTreeMap::new()).await
            }
        };
        match written {
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            outcome => return Ok(outcome?.spec.arn),
        }
    }
    Err(Refusal::Busy)
}

/// The rule of the policy, and its configuration as it came.
fn rule_of(
    control: &Control,
    input: &wire::PutScalingPolicyRequest,
    dimension: Dimension,
) -> Result<(Rule, serde_json::Value), Refusal> {
    let missing = |member: &str, policy: wire::PolicyType| {
        Refusal::Invalid(format!("{member} must be specified for policy type {policy}."))
    };
    let stored = |outcome: Result<serde_json::Value, ApiError>| outcome.map_err(Refusal::invalid);
    let policy_type = input.policy_type.unwrap_or(wire::PolicyType::StepScaling);
    let step = input.step_scaling_policy_configuration.as_ref();
    let tracking = input.target_tracking_scaling_policy_configuration.as_ref();
    let is_beside = |wanted: wire::PolicyType| {
        let step = step.is_some() && wanted != wire::PolicyType::StepScaling;
        let tracking = tracking.is_some() && wanted != wire::PolicyType::TargetTrackingScaling;
        step || tracking || input.predictive_scaling_policy_configuration.is_some()
    };
    match policy_type {
        wire::PolicyType::PredictiveScaling => Err(Refusal::Invalid(
            "The policy type PredictiveScaling is not served here.".to_owned(),
        )),
        other if is_beside(other) => Err(Refusal::Invalid(format!(
            "Only the configuration of policy type {other} may be specified."
        ))),
        wire::PolicyType::StepScaling => {
            let config =
                step.ok_or_else(|| missing("StepScalingPolicyConfiguration", policy_type))?;
            Ok((Rule::Step(configuration::step(config)?), stored(stored_request(config))?))
        }
        wire::PolicyType::TargetTrackingScaling => {
            let member = "TargetTrackingScalingPolicyConfiguration";
            let config = tracking.ok_or_else(|| missing(member, policy_type))?;
            let math = &*control.watched.math;
            let rule = configuration::target_tracking(config, dimension, math)?;
            Ok((Rule::TargetTracking(rule), stored(stored_request(config))?))
        }
    }
}

fn check_others(rule: &Rule, others: &[Stored<ScalingPolicy>]) -> Result<(), Refusal> {
    if others.len() >= MAX_POLICIES {
        return Err(Refusal::LimitExceeded(format!(
            "The scalable target has {MAX_POLICIES} scaling policies, the most."
        )));
    }
    let Rule::TargetTracking(rule) = rule else { return Ok(()) };
    let is_tracked = |other: &Stored<ScalingPolicy>| match &other.spec.rule {
        Rule::TargetTracking(other) => other.metric == rule.metric,
        Rule::Step(_) => false,
    };
    if others.iter().any(is_tracked) {
        let words =
            "Only one TargetTrackingScaling policy for a given metric specification is allowed.";
        return Err(Refusal::Invalid(words.to_owned()));
    }
    Ok(())
}

fn arn(ctx: &Context, target: &str, policy: &str) -> String {
    let (id, (resource, _)) = (Uuid::new_v4().hyphenated(), target_id::parts(target));
    let arn = Arn {
        service: "autoscaling".to_owned(),
        region: ctx.region.to_string(),
        account: ctx.account.to_string(),
        resource: format!("scalingPolicy:{id}:resource/sagemaker/{resource}:policyName/{policy}"),
    };
    arn.to_string()
}

fn described(policy: &Stored<ScalingPolicy>) -> Result<wire::ScalingPolicy, ApiError> {
    let spec = &policy.spec;
    let (resource_id, scalable_dimension) = described_target(&spec.target);
    let (policy_type, step, tracking) = match spec.rule {
        Rule::Step(_) => {
            let config = resources::described(&spec.request)?;
            (wire::PolicyType::StepScaling, Some(config), None)
        }
        Rule::TargetTracking(_) => {
            let config = resources::described(&spec.request)?;
            (wire::PolicyType::TargetTrackingScaling, None, Some(config))
        }
    };
    Ok(wire::ScalingPolicy {
        policy_arn: spec.arn.clone(),
        policy_name: spec.policy_name.clone(),
        service_namespace: wire::ServiceNamespace::Sagemaker,
        resource_id,
        scalable_dimension,
        policy_type,
        step_scaling_policy_configuration: step,
        target_tracking_scaling_policy_configuration: tracking,
        predictive_scaling_policy_configuration: None,
        alarms: Some(Vec::new()),
        creation_time: list::to_wire(policy.created_at),
    })
}
