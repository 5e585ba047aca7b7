//! `UpdateInferenceExperiment`: what may change, and when.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;

use super::api::not_now;
use super::{InferenceExperiment, Layout, State, request};
use crate::Control;
use crate::list::from_wire;
use crate::resources::{described, stored_request};

/// The experiment as it is to be stored.
pub(super) async fn update(
    control: &Control,
    ctx: &Context,
    mut experiment: Stored<InferenceExperiment>,
    input: wire::UpdateInferenceExperimentRequest,
) -> Result<Stored<InferenceExperiment>, ApiError> {
    let mut request: wire::CreateInferenceExperimentRequest = described(&experiment.spec.request)?;
    if input.description.is_some() {
        request.description.clone_from(&input.description);
    }
    match &experiment.status.state {
        State::Created => {
            change(&mut request, input);
            let schedule = request::schedule(request.schedule.as_ref(), control.clock.now())?;
            let id = experiment.spec.id.clone();
            experiment.spec = request::spec(control, ctx, id, &request, schedule).await?;
        }
        State::Running => {
            let now = control.clock.now();
            let percentage = check_running(&experiment.spec.layout, &request, &input)?;
            if let Some(schedule) = input.schedule {
                let end = schedule.end_time.map(from_wire);
                let changed = experiment.spec.schedule.ending(end, now);
                experiment.spec.schedule = changed.map_err(request::refused_schedule)?;
                request.schedule.get_or_insert_default().end_time = schedule.end_time;
            }
            let shadow = experiment.spec.layout.shadow.as_mut();
            if let (Some(percentage), Some(shadow)) = (percentage, shadow)
                && shadow.percentage != percentage
            {
                shadow.percentage = percentage;
                experiment.status.state = State::Updating;
            }
            if let Some(mode) = input.shadow_mode_config {
                request.shadow_mode_config = mode;
            }
            experiment.spec.request = stored_request(&request)?;
        }
        state @ (State::Creating
        | State::Starting
        | State::Updating
        | State::Stopping(_)
        | State::Completed
        | State::Cancelled) => return Err(not_now("updated", state)),
    }
    Ok(experiment)
}

/// What is given takes the place of what was; variants by their names.
fn change(
    request: &mut wire::CreateInferenceExperimentRequest,
    input: wire::UpdateInferenceExperimentRequest,
) {
    for given in input.model_variants.into_iter().flatten() {
        let variants = &mut request.model_variants;
        match variants.iter_mut().find(|variant| variant.variant_name == given.variant_name) {
            Some(variant) => *variant = given,
            None => variants.push(given),
        }
    }
    if let Some(mode) = input.shadow_mode_config {
        let shadows = &mode.shadow_model_variants;
        request.model_variants.retain(|variant| {
            let name = &variant.variant_name;
            *name == mode.source_model_variant_name
                || shadows.iter().any(|shadow| shadow.shadow_model_variant_name == *name)
        });
        request.shadow_mode_config = mode;
    }
    if input.data_storage_config.is_some() {
        request.data_storage_config = input.data_storage_config;
    }
    if let Some(given) = input.schedule {
        let schedule = request.schedule.get_or_insert_default();
        schedule.start_time = given.start_time.or(schedule.start_time);
        schedule.end_time = given.end_time.or(schedule.end_time);
    }
}

/// SageMaker: of an experiment that runs, the description, the end and the part of the calls that
/// is copied can be changed. Returns that part, if it is given.
fn check_running(
    layout: &Layout,
    request: &wire::CreateInferenceExperimentRequest,
    input: &wire::UpdateInferenceExperimentRequest,
) -> Result<Option<u8>, ApiError> {
    let refuse = |member: &str| {
        Err(ApiError::validation(format!("{member} cannot be changed while an experiment runs.")))
    };
    if let Some(schedule) = &input.schedule {
        if schedule.start_time.is_some() {
            return refuse("StartTime");
        }
        if schedule.end_time.is_none() {
            return Err(ApiError::validation("The Schedule of an update needs an EndTime."));
        }
    }
    if input.data_storage_config.is_some()
        && input.data_storage_config != request.data_storage_config
    {
        return refuse("DataStorageConfig");
    }
    let given = request::variants(input.model_variants.as_deref().unwrap_or_default())?;
    if given.iter().any(|given| !layout.variants().any(|variant| variant == given)) {
        return refuse("A variant of ModelVariants");
    }
    let Some(mode) = &input.shadow_mode_config else { return Ok(None) };
    let [shadow] = &mode.shadow_model_variants[..] else {
        return refuse("The number of ShadowModelVariants");
    };
    let is_same = mode.source_model_variant_name == layout.production.name
        && layout
            .shadow
            .as_ref()
            .is_some_and(|is| is.variant.name == shadow.shadow_model_variant_name);
    if !is_same {
        return refuse("A variant of the ShadowModeConfig");
    }
    request::percentage(shadow.sampling_percentage).map(Some)
}
