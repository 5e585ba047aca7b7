//! `CreateInferenceExperiment`, `DescribeInferenceExperiment`, `ListInferenceExperiments`,
//! `UpdateInferenceExperiment`, `StartInferenceExperiment`, `StopInferenceExperiment`,
//! `DeleteInferenceExperiment`.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::{SortBy, StoreError};
use sagebrush_wire::sagemaker as wire;
use uuid::Uuid;

use super::stop::{self, Action};
use super::update::update as updated;
use super::{InferenceExperiment, InferenceExperimentSpec, Outcome, State, Stop, describe};
use super::{reconcile, request};
use crate::Control;
use crate::endpoint::{Endpoint, shortened};
use crate::list;
use crate::resources::{arn, tag_map};

pub(crate) async fn create(
    control: Arc<Control>,
    ctx: Context,
    input: wire::CreateInferenceExperimentRequest,
) -> Result<wire::CreateInferenceExperimentResponse, ApiError> {
    let name = input.name.clone();
    let tags = tag_map(input.tags.as_deref())?;
    let inference_experiment_arn = arn::<InferenceExperiment>(&ctx, &name);
    let taken = || {
        let arn = &inference_experiment_arn;
        ApiError::resource_in_use(format!("Inference experiment \"{arn}\" already exists."))
    };
    if control.inference_experiments.get(&ctx.region, &name).await?.is_some() {
        return Err(taken());
    }
    let schedule = request::schedule(input.schedule.as_ref(), control.clock.now())?;
    let id = Uuid::now_v7().simple().to_string();
    let spec = request::spec(&control, &ctx, id, &input, schedule).await?;
    check_alone(&control, &ctx, &name, &spec).await?;
    let created = control.inference_experiments.create(&ctx.region, &name, spec, tags).await;
    match created {
        Ok(_) => {}
        Err(StoreError::Conflict { .. }) => return Err(taken()),
        Err(error) => return Err(error.into()),
    }
    control.experiment_wake.notify_one();
    Ok(wire::CreateInferenceExperimentResponse { inference_experiment_arn })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeInferenceExperimentRequest,
) -> Result<wire::DescribeInferenceExperimentResponse, ApiError> {
    let experiment = find(&control, &ctx, &input.name).await?;
    let endpoint = control.endpoints.get(&ctx.region, &experiment.spec.endpoint).await?;
    describe::output(&ctx, &experiment, endpoint.as_ref())
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListInferenceExperimentsRequest,
) -> Result<wire::ListInferenceExperimentsResponse, ApiError> {
    let token = input.next_token;
    let order = |order| match order {
        wire::SortOrder::Ascending => wire::OrderKey::Ascending,
        wire::SortOrder::Descending => wire::OrderKey::Descending,
    };
    let wanted = list::Wanted {
        sort_by: match input.sort_by {
            Some(wire::SortInferenceExperimentsBy::Name) => SortBy::Name,
            Some(wire::SortInferenceExperimentsBy::Status) => SortBy::Status,
            Some(wire::SortInferenceExperimentsBy::CreationTime) | None => SortBy::CreationTime,
        },
        order: input.sort_order.map(order),
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
    // There is one Type only, which all of them have.
    let query = list::after::<InferenceExperiment>(query, token.as_deref())?;
    let (experiments, next) = control.inference_experiments.list(&query).await?;
    let summaries = experiments.iter().map(describe::summary).collect::<Result<_, _>>()?;
    Ok(wire::ListInferenceExperimentsResponse {
        inference_experiments: Some(summaries),
        next_token: list::next_token::<InferenceExperiment>(&query, next),
    })
}

pub(crate) async fn update(
    control: Arc<Control>,
    ctx: Context,
    input: wire::UpdateInferenceExperimentRequest,
) -> Result<wire::UpdateInferenceExperimentResponse, ApiError> {
    let experiment = find(&control, &ctx, &input.name).await?;
    let experiment = updated(&control, &ctx, experiment, input).await?;
    if experiment.status.state == State::Created {
        check_alone(&control, &ctx, &experiment.name, &experiment.spec).await?;
    }
    let inference_experiment_arn = write(&control, &ctx, experiment).await?;
    Ok(wire::UpdateInferenceExperimentResponse { inference_experiment_arn })
}

pub(crate) async fn start(
    control: Arc<Control>,
    ctx: Context,
    input: wire::StartInferenceExperimentRequest,
) -> Result<wire::StartInferenceExperimentResponse, ApiError> {
    let mut experiment = find(&control, &ctx, &input.name).await?;
    if experiment.status.state != State::Created {
        return Err(not_now("started", &experiment.status.state));
    }
    let started = experiment.spec.schedule.started(control.clock.now());
    experiment.spec.schedule = started.map_err(request::refused_schedule)?;
    check_alone(&control, &ctx, &experiment.name, &experiment.spec).await?;
    let inference_experiment_arn = write(&control, &ctx, experiment).await?;
    Ok(wire::StartInferenceExperimentResponse { inference_experiment_arn })
}

pub(crate) async fn stop(
    control: Arc<Control>,
    ctx: Context,
    input: wire::StopInferenceExperimentRequest,
) -> Result<wire::StopInferenceExperimentResponse, ApiError> {
    let mut experiment = find(&control, &ctx, &input.name).await?;
    let actions = input.model_variant_actions.into_iter();
    let actions = actions.map(|(variant, given)| (variant, action(given))).collect();
    let desired = request::variants(&input.desired_model_variants.unwrap_or_default())?;
    let outcome = match input.desired_state {
        Some(wire::InferenceExperimentStopDesiredState::Completed) => Outcome::Completed,
        // SageMaker: an experiment that is concluded early "shows as cancelled".
        Some(wire::InferenceExperimentStopDesiredState::Cancelled) | None => Outcome::Cancelled,
    };
    let before = experiment.status.before.as_deref();
    let goal = stop::goal(&experiment.spec.layout, before, &actions, &desired);
    let goal = goal.map_err(|why| {
        ApiError::validation(format!("The experiment cannot be stopped this way: {why}."))
    })?;
    let promotes = actions.values().any(|action| *action == Action::Promote);
    match experiment.status.state {
        State::Running => {
            experiment.status.state = State::Stopping(Box::new(Stop { goal, outcome }));
        }
        // Nothing was done yet that would have to be undone.
        State::Created if !promotes => {
            experiment.status.state = outcome.into();
            experiment.status.ended_at = Some(control.clock.now());
        }
        ref state @ (State::Created
        | State::Creating
        | State::Starting
        | State::Updating
        | State::Stopping(_)
        | State::Completed
        | State::Cancelled) => return Err(not_now("stopped", state)),
    }
    experiment.status.reason = input.reason.as_deref().map(shortened);
    let inference_experiment_arn = write(&control, &ctx, experiment).await?;
    Ok(wire::StopInferenceExperimentResponse { inference_experiment_arn })
}

fn action(action: wire::ModelVariantAction) -> Action {
    match action {
        wire::ModelVariantAction::Retain => Action::Retain,
        wire::ModelVariantAction::Remove => Action::Remove,
        wire::ModelVariantAction::Promote => Action::Promote,
    }
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteInferenceExperimentRequest,
) -> Result<wire::DeleteInferenceExperimentResponse, ApiError> {
    let experiment = find(&control, &ctx, &input.name).await?;
    match &experiment.status.state {
        State::Created | State::Completed | State::Cancelled => {}
        state @ (State::Creating
        | State::Starting
        | State::Running
        | State::Updating
        | State::Stopping(_)) => return Err(not_now("deleted", state)),
    }
    let inference_experiment_arn = arn::<InferenceExperiment>(&ctx, &experiment.name);
    match control.inference_experiments.remove(&experiment).await {
        Ok(()) => {}
        Err(StoreError::Conflict { .. }) => return Err(changed(&inference_experiment_arn)),
        Err(error) => return Err(error.into()),
    }
    control.experiment_wake.notify_one(); // Its configurations may go.
    Ok(wire::DeleteInferenceExperimentResponse { inference_experiment_arn })
}

async fn find(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<InferenceExperiment>, ApiError> {
    let stored = control.inference_experiments.get(&ctx.region, name).await?;
    stored.ok_or_else(|| {
        let arn = arn::<InferenceExperiment>(ctx, name);
        ApiError::resource_not_found(format!("Could not find inference experiment \"{arn}\"."))
    })
}

/// An endpoint has one experiment at a time.
async fn check_alone(
    control: &Control,
    ctx: &Context,
    name: &str,
    spec: &InferenceExperimentSpec,
) -> Result<(), ApiError> {
    let others = reconcile::unfinished(control, Some(&ctx.region)).await?;
    let is_in_the_way = |other: &&Stored<InferenceExperiment>| {
        other.name != name
            && other.spec.is_on_endpoint_of(spec)
            && other.spec.schedule.overlaps(spec.schedule)
    };
    let Some(other) = others.iter().find(is_in_the_way) else { return Ok(()) };
    let arn = arn::<Endpoint>(ctx, &spec.endpoint);
    Err(ApiError::resource_in_use(format!(
        "Endpoint \"{arn}\" has inference experiment {} at that time.",
        other.name
    )))
}

/// Stores what was changed, and has it looked at. Returns the ARN.
async fn write(
    control: &Control,
    ctx: &Context,
    experiment: Stored<InferenceExperiment>,
) -> Result<String, ApiError> {
    let arn = arn::<InferenceExperiment>(ctx, &experiment.name);
    match control.inference_experiments.update(experiment).await {
        Ok(_) => {
            control.experiment_wake.notify_one();
            Ok(arn)
        }
        Err(StoreError::Conflict { .. }) => Err(changed(&arn)),
        Err(error) => Err(error.into()),
    }
}

fn changed(arn: &str) -> ApiError {
    ApiError::conflict(format!("Inference experiment \"{arn}\" is being changed. Try again."))
}

pub(super) fn not_now(verb: &str, state: &State) -> ApiError {
    let word = state.word();
    ApiError::conflict(format!("An inference experiment in status {word} cannot be {verb}."))
}
