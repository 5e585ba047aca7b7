//! `PutDashboard`, `GetDashboard`, `ListDashboards`, `DeleteDashboards`. A dashboard is a text that
//! is kept and given back; it belongs to no region.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Region;
use sagebrush_core::resource::{Resource, Stored};
use sagebrush_core::store::Query;
use sagebrush_wire::cloudwatch as wire;
use serde::{Deserialize, Serialize};

use super::super::CloudWatch;
use super::error::{invalid, invalid_dashboard, no_dashboard};

/// CloudWatch's own page.
const PAGE: usize = 1000;

pub(in super::super) struct Dashboard;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct Spec {
    body: String,
}

impl Resource for Dashboard {
    const KIND: &'static str = "dashboard";
    type Spec = Spec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

fn everywhere() -> Region {
    Region::new("")
}

pub(super) async fn put_dashboard(
    state: Arc<CloudWatch>,
    _: Context,
    input: wire::PutDashboardInput,
) -> Result<wire::PutDashboardOutput, ApiError> {
    let name = input.dashboard_name;
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
    if name.is_empty() || name.len() > 255 || !name.chars().all(is_part) {
        return Err(invalid_dashboard(
            "The field DashboardName must have 1 to 255 of a-zA-Z0-9_-.",
        ));
    }
    check_body(&input.dashboard_body)?;
    let spec = Spec { body: input.dashboard_body };
    match state.dashboards.get(&everywhere(), &name).await? {
        Some(stored) => state.dashboards.update(Stored { spec, ..stored }).await?,
        None => {
            let tags = input.tags.unwrap_or_default().into_iter();
            let tags: BTreeMap<_, _> = tags.map(|tag| (tag.key, tag.value)).collect();
            state.dashboards.create(&everywhere(), &name, spec, tags).await?
        }
    };
    Ok(wire::PutDashboardOutput { dashboard_validation_messages: Some(Vec::new()) })
}

fn check_body(body: &str) -> Result<(), ApiError> {
    let body: serde_json::Value = serde_json::from_str(body).map_err(|error| {
        invalid_dashboard(format!("The field DashboardBody must be a valid JSON object: {error}"))
    })?;
    if !body.is_object() {
        return Err(invalid_dashboard("The field DashboardBody must be a valid JSON object"));
    }
    if !body["widgets"].is_array() {
        return Err(invalid_dashboard(
            "The dashboard body is invalid, there is 1 validation error: \"/widgets\" Should be \
             an array",
        ));
    }
    Ok(())
}

pub(super) async fn get_dashboard(
    state: Arc<CloudWatch>,
    ctx: Context,
    input: wire::GetDashboardInput,
) -> Result<wire::GetDashboardOutput, ApiError> {
    let name = input.dashboard_name;
    let found = state.dashboards.get(&everywhere(), &name).await?;
    let found = found.ok_or_else(|| no_dashboard(&name))?;
    Ok(wire::GetDashboardOutput {
        dashboard_arn: Some(arn(&ctx, &name)),
        dashboard_body: Some(found.spec.body),
        dashboard_name: Some(name),
    })
}

pub(super) async fn list_dashboards(
    state: Arc<CloudWatch>,
    ctx: Context,
    input: wire::ListDashboardsInput,
) -> Result<wire::ListDashboardsOutput, ApiError> {
    let prefix = input.dashboard_name_prefix.unwrap_or_default();
    let after = input.next_token.as_deref().map(read_token).transpose()?.unwrap_or_default();
    let (mut all, _) = state.dashboards.list(&Query::default()).await?;
    all.retain(|one| one.name.starts_with(&prefix) && one.name > after);
    all.sort_by(|one, other| one.name.cmp(&other.name));
    let has_more = all.len() > PAGE;
    all.truncate(PAGE);
    let next_token = all.last().filter(|_| has_more).map(|last| hex::encode(&last.name));
    let entry = |one: Stored<Dashboard>| wire::DashboardEntry {
        dashboard_arn: Some(arn(&ctx, &one.name)),
        dashboard_name: Some(one.name),
        last_modified: Some(sagebrush_wire::Timestamp(one.modified_at.as_seconds())),
        size: Some(i64::try_from(one.spec.body.len()).unwrap_or(i64::MAX)),
    };
    let entries = all.into_iter().map(entry).collect();
    Ok(wire::ListDashboardsOutput { dashboard_entries: Some(entries), next_token })
}

fn read_token(token: &str) -> Result<String, ApiError> {
    let name = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| invalid(token, "NextToken"))
}

/// Deletes all, or none if one is not there.
pub(super) async fn delete_dashboards(
    state: Arc<CloudWatch>,
    _: Context,
    input: wire::DeleteDashboardsInput,
) -> Result<wire::DeleteDashboardsOutput, ApiError> {
    let mut all = BTreeMap::new();
    for name in &input.dashboard_names {
        let found = state.dashboards.get(&everywhere(), name).await?;
        all.insert(name, found.ok_or_else(|| no_dashboard(name))?);
    }
    for found in all.values() {
        state.dashboards.remove(found).await?;
    }
    Ok(wire::DeleteDashboardsOutput {})
}

fn arn(ctx: &Context, name: &str) -> String {
    format!("arn:aws:cloudwatch::{}:dashboard/{name}", ctx.account)
}
