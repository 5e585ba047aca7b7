//! `AddTags`, `ListTags`, `DeleteTags`.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Arn;
use sagebrush_core::Region;
use sagebrush_core::resource::{Resource, Stored, Table};
use sagebrush_core::store::StoreError;
use sagebrush_wire::sagemaker as wire;

use crate::Control;
use crate::endpoint::Endpoint;
use crate::endpoint_config::EndpointConfig;
use crate::inference_experiment::InferenceExperiment;
use crate::model::Model;
use crate::resources::{MAX_TAGS, tag_map};
use crate::transform_job::TransformJob;

/// How often a write is tried again when others write the same resource.
const MAX_ATTEMPTS: usize = 16;

type Tags = BTreeMap<String, String>;

pub(crate) async fn add(
    control: Arc<Control>,
    ctx: Context,
    input: wire::AddTagsInput,
) -> Result<wire::AddTagsOutput, ApiError> {
    let new = tag_map(Some(&input.tags))?;
    let tags = change(&control, &ctx, &input.resource_arn, |tags| tags.extend(new.clone())).await?;
    Ok(wire::AddTagsOutput { tags: Some(to_wire(tags)) })
}

pub(crate) async fn list(
    control: Arc<Control>,
    ctx: Context,
    input: wire::ListTagsInput,
) -> Result<wire::ListTagsOutput, ApiError> {
    let tags = change(&control, &ctx, &input.resource_arn, |_| {}).await?;
    Ok(wire::ListTagsOutput { tags: Some(to_wire(tags)), next_token: None })
}

pub(crate) async fn delete(
    control: Arc<Control>,
    ctx: Context,
    input: wire::DeleteTagsInput,
) -> Result<wire::DeleteTagsOutput, ApiError> {
    let remove = |tags: &mut Tags| tags.retain(|key, _| !input.tag_keys.contains(key));
    change(&control, &ctx, &input.resource_arn, remove).await?;
    Ok(wire::DeleteTagsOutput {})
}

/// Changes the tags of the resource `arn` and returns them as they are then.
async fn change(
    control: &Control,
    ctx: &Context,
    arn: &str,
    change: impl Fn(&mut Tags),
) -> Result<Tags, ApiError> {
    let parsed: Arn = arn.parse().map_err(|_| invalid(arn))?;
    let is_ours = parsed.service == "sagemaker"
        && parsed.account == ctx.account.to_string()
        && parsed.region == ctx.region.as_str();
    let Some((kind, name)) = parsed.kind_and_name().filter(|_| is_ours) else {
        return Err(invalid(arn));
    };
    match kind {
        Model::KIND => change_in(&control.models, &ctx.region, name, arn, change).await,
        EndpointConfig::KIND => {
            change_in(&control.endpoint_configs, &ctx.region, name, arn, change).await
        }
        Endpoint::KIND => change_in(&control.endpoints, &ctx.region, name, arn, change).await,
        TransformJob::KIND => {
            change_in(&control.transform_jobs, &ctx.region, name, arn, change).await
        }
        InferenceExperiment::KIND => {
            change_in(&control.inference_experiments, &ctx.region, name, arn, change).await
        }
        _ => Err(invalid(arn)),
    }
}

async fn change_in<R: Resource>(
    table: &Table<R>,
    region: &Region,
    name: &str,
    arn: &str,
    change: impl Fn(&mut Tags),
) -> Result<Tags, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let mut stored = find(table, region, name).await?.ok_or_else(|| not_found(arn))?;
        let before = stored.tags.clone();
        change(&mut stored.tags);
        if stored.tags == before {
            return Ok(before);
        }
        if stored.tags.len() > MAX_TAGS {
            return Err(ApiError::validation(format!(
                "The number of tags exceeds the limit of {MAX_TAGS} for resource {arn}."
            )));
        }
        match table.retag(stored).await {
            Ok(stored) => return Ok(stored.tags),
            Err(StoreError::Conflict { .. }) => {} // Somebody else wrote it: look again.
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::resource_in_use(format!("Resource {arn} is being changed. Try again.")))
}

/// An ARN has the name in lower case: a name with capitals is looked for without its case.
async fn find<R: Resource>(
    table: &Table<R>,
    region: &Region,
    name: &str,
) -> Result<Option<Stored<R>>, StoreError> {
    if let Some(stored) = table.get(region, name).await? {
        return Ok(Some(stored));
    }
    table.get_ignoring_case(region, name).await
}

fn to_wire(tags: Tags) -> Vec<wire::Tag> {
    tags.into_iter().map(|(key, value)| wire::Tag { key, value }).collect()
}

fn invalid(arn: &str) -> ApiError {
    ApiError::validation(format!("Invalid ARN: {arn}"))
}

fn not_found(arn: &str) -> ApiError {
    ApiError::validation(format!("Could not find resource \"{arn}\"."))
}
