//! The list of all operations of the control plane, one line each.

use sagebrush_aws::Dispatch;
use sagebrush_wire::{application_autoscaling, sagemaker};

use crate::autoscaling::api as autoscaling;
use crate::{Control, endpoint, endpoint_config, inference_experiment, model, tags, transform_job};

/// What is not here answers `UnknownOperationException`; `unimplemented-operations.txt` names it.
#[must_use]
pub fn operations() -> Dispatch<Control> {
    Dispatch::new()
        .on::<sagemaker::CreateModel, _, _>(model::api::create)
        .on::<sagemaker::DescribeModel, _, _>(model::api::describe)
        .on::<sagemaker::ListModels, _, _>(model::api::list)
        .on::<sagemaker::DeleteModel, _, _>(model::api::delete)
        .on::<sagemaker::CreateEndpointConfig, _, _>(endpoint_config::api::create)
        .on::<sagemaker::DescribeEndpointConfig, _, _>(endpoint_config::api::describe)
        .on::<sagemaker::ListEndpointConfigs, _, _>(endpoint_config::api::list)
        .on::<sagemaker::DeleteEndpointConfig, _, _>(endpoint_config::api::delete)
        .on::<sagemaker::CreateEndpoint, _, _>(endpoint::api::create)
        .on::<sagemaker::UpdateEndpoint, _, _>(endpoint::api::update)
        .on::<sagemaker::UpdateEndpointWeightsAndCapacities, _, _>(endpoint::api::update_capacities)
        .on::<sagemaker::DescribeEndpoint, _, _>(endpoint::api::describe)
        .on::<sagemaker::ListEndpoints, _, _>(endpoint::api::list)
        .on::<sagemaker::DeleteEndpoint, _, _>(endpoint::api::delete)
        .on::<sagemaker::CreateTransformJob, _, _>(transform_job::api::create)
        .on::<sagemaker::DescribeTransformJob, _, _>(transform_job::api::describe)
        .on::<sagemaker::ListTransformJobs, _, _>(transform_job::api::list)
        .on::<sagemaker::StopTransformJob, _, _>(transform_job::api::stop)
        .on::<sagemaker::CreateInferenceExperiment, _, _>(inference_experiment::api::create)
        .on::<sagemaker::DescribeInferenceExperiment, _, _>(inference_experiment::api::describe)
        .on::<sagemaker::ListInferenceExperiments, _, _>(inference_experiment::api::list)
        .on::<sagemaker::UpdateInferenceExperiment, _, _>(inference_experiment::api::update)
        .on::<sagemaker::StartInferenceExperiment, _, _>(inference_experiment::api::start)
        .on::<sagemaker::StopInferenceExperiment, _, _>(inference_experiment::api::stop)
        .on::<sagemaker::DeleteInferenceExperiment, _, _>(inference_experiment::api::delete)
        .on::<sagemaker::AddTags, _, _>(tags::api::add)
        .on::<sagemaker::ListTags, _, _>(tags::api::list)
        .on::<sagemaker::DeleteTags, _, _>(tags::api::delete)
        .on::<application_autoscaling::RegisterScalableTarget, _, _>(autoscaling::targets::register)
        .on::<application_autoscaling::DescribeScalableTargets, _, _>(
            autoscaling::targets::describe,
        )
        .on::<application_autoscaling::DeregisterScalableTarget, _, _>(
            autoscaling::targets::deregister,
        )
        .on::<application_autoscaling::PutScalingPolicy, _, _>(autoscaling::policies::put)
        .on::<application_autoscaling::DescribeScalingPolicies, _, _>(
            autoscaling::policies::describe,
        )
        .on::<application_autoscaling::DeleteScalingPolicy, _, _>(autoscaling::policies::delete)
        .on::<application_autoscaling::PutScheduledAction, _, _>(autoscaling::actions::put)
        .on::<application_autoscaling::DescribeScheduledActions, _, _>(
            autoscaling::actions::describe,
        )
        .on::<application_autoscaling::DeleteScheduledAction, _, _>(autoscaling::actions::delete)
        .on::<application_autoscaling::DescribeScalingActivities, _, _>(
            autoscaling::activities::describe,
        )
        .on::<application_autoscaling::TagResource, _, _>(autoscaling::tags::tag)
        .on::<application_autoscaling::UntagResource, _, _>(autoscaling::tags::untag)
        .on::<application_autoscaling::ListTagsForResource, _, _>(autoscaling::tags::list)
}
