//! `PutScheduledAction`, `DescribeScheduledActions`, `DeleteScheduledAction`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::{Resource as _, Stored};
use sagebrush_core::store::StoreError;
use sagebrush_core::{Arn, Timestamp};
use sagebrush_wire::application_autoscaling as wire;
use uuid::Uuid;

use super::super::schedule::{self, Schedule};
use super::super::target_id::{self, key};
use super::super::{ActionSpec, ActionStatus, ScheduledAction};
use super::{
    MAX_ATTEMPTS, Order, Refusal, Wanted, count, described_target, done, find_target, missing,
    of_region, resource, to_wire,
};
use crate::Control;
use crate::list;

/// AWS: scheduled actions of one target.
const MAX_ACTIONS: usize = 200;

pub(crate) async fn put(
    control: Arc<Control>,
    ctx: Context,
    input: wire::PutScheduledActionRequest,
) -> Result<wire::PutScheduledActionResponse, ApiError> {
    done(try_put(&control, &ctx, input).await)?;
    control.autoscaling.wake.notify_one();
    Ok(wire::PutScheduledActionResponse {})
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeScheduledActionsRequest,
) -> Result<wire::DescribeScheduledActionsResponse, ApiError> {
    let wanted = Wanted {
        namespace: input.service_namespace,
        resource_ids: input.resource_id.as_ref().map(std::slice::from_ref),
        dimension: input.scalable_dimension,
        names: input.scheduled_action_names.as_deref(),
        max_results: input.max_results,
        next_token: input.next_token.as_deref(),
    };
    done(wanted.check())?;
    let (mut actions, _) = control.autoscaling.actions.list(&of_region(&ctx)).await?;
    actions.retain(|action| wanted.has(&action.spec.target, &action.spec.action_name));
    let kind = (ScheduledAction::KIND, &ctx.region);
    let (page, next_token) =
        done(wanted.page(kind, actions, Order::Ascending, |action| &action.name))?;
    let described = page.iter().map(described).collect();
    Ok(wire::DescribeScheduledActionsResponse { scheduled_actions: Some(described), next_token })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteScheduledActionRequest,
) -> Result<wire::DeleteScheduledActionResponse, ApiError> {
    let (namespace, dimension) = (input.service_namespace, input.scalable_dimension);
    let id = done(resource(namespace, &input.resource_id, dimension))?;
    let (actions, name) = (&control.autoscaling.actions, input.scheduled_action_name);
    for _ in 0..MAX_ATTEMPTS {
        let action = actions.get(&ctx.region, &format!("{id}:{name}")).await?;
        let more = format!(", scheduled action name: {name}");
        let action = done(action.ok_or_else(|| missing("scheduled action", &id, &more)))?;
        match actions.remove(&action).await {
            Err(StoreError::Conflict { .. }) => {} // It has just been run: look again.
            outcome => {
                done(outcome.map_err(Refusal::from))?;
                return Ok(wire::DeleteScheduledActionResponse {});
            }
        }
    }
    Err(Refusal::Busy.into())
}

async fn try_put(
    control: &Control,
    ctx: &Context,
    input: wire::PutScheduledActionRequest,
) -> Result<(), Refusal> {
    let id = resource(input.service_namespace, &input.resource_id, input.scalable_dimension)?;
    let target = find_target(control, ctx, &id).await?.name;
    check_name(&input.scheduled_action_name)?;
    let name = format!("{target}:{}", input.scheduled_action_name);
    let actions = &control.autoscaling.actions;
    for _ in 0..MAX_ATTEMPTS {
        let known = actions.get(&ctx.region, &name).await?;
        let before = known.as_ref().map(|action| &action.spec);
        let spec = spec(ctx, &input, before, (&target, control.clock.now()))?;
        let written = match known {
            Some(action) => {
                let status = ActionStatus::default();
                actions.update(Stored { spec, status, ..action }).await
            }
            None => {
                check_limit(control, ctx, &target).await?;
                actions.create(&ctx.region, &name, spec, BTreeMap::new()).await
            }
        };
        match written {
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            outcome => {
                outcome?;
                return Ok(());
            }
        }
    }
    Err(Refusal::Busy)
}

/// What is not named stays, but for the times of beginning and end.
fn spec(
    ctx: &Context,
    input: &wire::PutScheduledActionRequest,
    before: Option<&ActionSpec>,
    (target, now): (&str, Timestamp),
) -> Result<ActionSpec, Refusal> {
    let schedule = input.schedule.clone().or_else(|| Some(before?.schedule.clone()));
    let schedule = schedule.ok_or_else(|| invalid("Schedule must be specified."))?;
    let action = input.scalable_target_action.as_ref();
    let min = count("MinCapacity", action.and_then(|action| action.min_capacity))?;
    let max = count("MaxCapacity", action.and_then(|action| action.max_capacity))?;
    let (min, max) = match (action, before) {
        (None, Some(before)) => (before.min, before.max),
        (_, _) => (min, max),
    };
    if min.is_none() && max.is_none() {
        return Err(invalid(
            "MinCapacity or MaxCapacity of ScalableTargetAction must be specified.",
        ));
    }
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        return Err(invalid("Maximum capacity cannot be less than minimum capacity."));
    }
    let spec = ActionSpec {
        arn: before.map_or_else(|| arn(ctx, target, input), |before| before.arn.clone()),
        action_name: input.scheduled_action_name.clone(),
        target: target.to_owned(),
        schedule,
        timezone: input.timezone.clone().or_else(|| before?.timezone.clone()),
        start: input.start_time.map(list::from_wire),
        end: input.end_time.map(list::from_wire),
        min,
        max,
        put_at: now,
    };
    check(&spec, now)?;
    Ok(spec)
}

fn check(spec: &ActionSpec, now: Timestamp) -> Result<(), Refusal> {
    let _schedule: Schedule = spec.schedule.parse().map_err(Refusal::invalid)?;
    let _zone = schedule::zone(spec.timezone.as_deref()).map_err(Refusal::invalid)?;
    if spec.start.zip(spec.end).is_some_and(|(start, end)| start >= end) {
        return Err(invalid("StartTime must be before EndTime."));
    }
    if spec.next(now).is_none() {
        return Err(invalid("The schedule is never due: it must lie in the future."));
    }
    Ok(())
}

/// The pattern of the model looks ahead, which the checks of requests do not.
fn check_name(name: &str) -> Result<(), Refusal> {
    let is_bad = |letter: char| matches!(letter, ':' | '/' | '|') || letter.is_control();
    if name.contains(is_bad) || name.starts_with(' ') || name.ends_with(' ') {
        return Err(invalid(
            "ScheduledActionName must not contain : / | or control characters, nor begin or end \
             with a space.",
        ));
    }
    Ok(())
}

async fn check_limit(control: &Control, ctx: &Context, target: &str) -> Result<(), Refusal> {
    let (actions, _) = control.autoscaling.actions.list(&of_region(ctx)).await?;
    let of_target = actions.iter().filter(|action| key(&action.spec.target) == key(target));
    if of_target.count() < MAX_ACTIONS {
        return Ok(());
    }
    Err(Refusal::LimitExceeded(format!(
        "The scalable target has {MAX_ACTIONS} scheduled actions, the most."
    )))
}

fn arn(ctx: &Context, target: &str, input: &wire::PutScheduledActionRequest) -> String {
    let (id, name) = (Uuid::new_v4().hyphenated(), &input.scheduled_action_name);
    let (resource, _) = target_id::parts(target);
    let arn = Arn {
        service: "autoscaling".to_owned(),
        region: ctx.region.to_string(),
        account: ctx.account.to_string(),
        resource: format!(
            "scheduledAction:{id}:resource/sagemaker/{resource}:scheduledActionName/{name}"
        ),
    };
    arn.to_string()
}

fn invalid(words: &str) -> Refusal {
    Refusal::Invalid(words.to_owned())
}

fn described(action: &Stored<ScheduledAction>) -> wire::ScheduledAction {
    let spec = &action.spec;
    let (resource_id, dimension) = described_target(&spec.target);
    wire::ScheduledAction {
        scheduled_action_name: spec.action_name.clone(),
        scheduled_action_arn: spec.arn.clone(),
        service_namespace: wire::ServiceNamespace::Sagemaker,
        schedule: spec.schedule.clone(),
        timezone: spec.timezone.clone(),
        resource_id,
        scalable_dimension: Some(dimension),
        start_time: spec.start.map(list::to_wire),
        end_time: spec.end.map(list::to_wire),
        scalable_target_action: Some(wire::ScalableTargetAction {
            min_capacity: spec.min.map(to_wire),
            max_capacity: spec.max.map(to_wire),
        }),
        creation_time: list::to_wire(action.created_at),
    }
}
