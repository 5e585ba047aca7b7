//! `CreateModel`, `DescribeModel`, `ListModels`, `DeleteModel`.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::SortBy;
use sagebrush_wire::Empty;
use sagebrush_wire::sagemaker as wire;

use super::{Model, ModelSpec};
use crate::Control;
use crate::list::{self, to_wire};
use crate::resources::{arn, create_error, described, found, tag_map};

pub(crate) async fn create(
    control: Arc<Control>,
    ctx: Context,
    input: wire::CreateModelInput,
) -> Result<wire::CreateModelOutput, ApiError> {
    let name = input.model_name.clone();
    let tags = tag_map(input.tags.as_deref())?;
    let spec = ModelSpec::try_from(input)?;
    let model_arn = arn::<Model>(&ctx, &name);
    let created = control.models.create(&ctx.region, &name, spec, tags).await;
    created.map_err(|error| create_error(error, "model", &model_arn))?;
    Ok(wire::CreateModelOutput { model_arn })
}

pub(crate) async fn describe(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DescribeModelInput,
) -> Result<wire::DescribeModelOutput, ApiError> {
    let model = find(&control, &ctx, &input.model_name).await?;
    let request: wire::CreateModelInput = described(&model.spec.request)?;
    Ok(wire::DescribeModelOutput {
        model_arn: arn::<Model>(&ctx, &model.name),
        model_name: model.name,
        primary_container: request.primary_container,
        containers: request.containers,
        inference_execution_config: request.inference_execution_config,
        execution_role_arn: request.execution_role_arn,
        vpc_config: request.vpc_config,
        creation_time: to_wire(model.created_at),
        enable_network_isolation: Some(model.spec.network_isolation),
        deployment_recommendation: None,
    })
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListModelsInput,
) -> Result<wire::ListModelsOutput, ApiError> {
    let token = input.next_token;
    let wanted = list::Wanted {
        sort_by: match input.sort_by {
            Some(wire::ModelSortKey::Name) => SortBy::Name,
            Some(wire::ModelSortKey::CreationTime) | None => SortBy::CreationTime,
        },
        order: input.sort_order,
        max_results: input.max_results,
        name_contains: input.name_contains,
        created_before: input.creation_time_before,
        created_after: input.creation_time_after,
    };
    let query = list::after::<Model>(wanted.query(&ctx.region), token.as_deref())?;
    let (models, next) = control.models.list(&query).await?;
    let summary = |model: Stored<Model>| wire::ModelSummary {
        model_arn: arn::<Model>(&ctx, &model.name),
        model_name: model.name,
        creation_time: to_wire(model.created_at),
    };
    Ok(wire::ListModelsOutput {
        models: models.into_iter().map(summary).collect(),
        next_token: list::next_token::<Model>(&query, next),
    })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteModelInput,
) -> Result<Empty, ApiError> {
    let model = find(&control, &ctx, &input.model_name).await?;
    control.models.remove(&model).await?;
    Ok(Empty {})
}

/// The model of that name; AWS's own not-found error otherwise.
pub(crate) async fn find(
    control: &Control,
    ctx: &Context,
    name: &str,
) -> Result<Stored<Model>, ApiError> {
    found(control.models.get(&ctx.region, name).await?, "model", &arn::<Model>(ctx, name))
}
