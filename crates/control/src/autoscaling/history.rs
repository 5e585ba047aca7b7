//! What was done to a target, and why: the activities of the last weeks.

use std::time::Duration;

use sagebrush_core::resource::{Resource, Stored, Table};
use sagebrush_core::store::{Query, SortBy, StoreError};
use sagebrush_core::{Region, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::target_id::key;

/// So many activities of one target are kept.
const KEPT: usize = 200;
/// AWS: activities of the last six weeks are told.
const KEPT_FOR: Duration = Duration::from_hours(24 * 42);
/// How many are removed at a time.
const SWEPT: usize = 500;

/// Application Auto Scaling API: `ScalingActivity`. Its name is that of its target, `#` and its
/// own id, which sorts by time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScalingActivity;

impl Resource for ScalingActivity {
    const KIND: &'static str = "scaling-activity";
    type Spec = ActivitySpec;
    type Status = ActivityStatus;

    fn key(name: &str) -> String {
        key(name)
    }

    fn status_word(status: &ActivityStatus) -> &'static str {
        match status.code {
            Code::Pending => "Pending",
            Code::InProgress => "InProgress",
            Code::Successful => "Successful",
            Code::Failed => "Failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActivitySpec {
    pub(super) id: String,
    pub(super) target: String,
    pub(super) description: String,
    pub(super) cause: String,
    /// Set of what was not done.
    pub(super) not_scaled: Option<NotScaled>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotScaled {
    pub(super) code: String,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) current: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ActivityStatus {
    pub(super) code: Code,
    pub(super) message: Option<String>,
    pub(super) ended: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Code {
    #[default]
    Pending,
    InProgress,
    Successful,
    Failed,
}

/// An activity that is to be written down.
pub(super) struct Note<'a> {
    pub(super) region: &'a Region,
    pub(super) target: &'a str,
    pub(super) description: String,
    pub(super) cause: String,
    pub(super) not_scaled: Option<NotScaled>,
}

/// Writes an activity that is `Pending`, and forgets what is too much for its target.
pub(super) async fn begin(
    activities: &Table<ScalingActivity>,
    note: Note<'_>,
) -> Result<Stored<ScalingActivity>, StoreError> {
    let id = Uuid::now_v7().hyphenated().to_string();
    let Note { region, target, description, cause, not_scaled } = note;
    let name = format!("{target}#{id}");
    let spec = ActivitySpec { id, target: target.to_owned(), description, cause, not_scaled };
    let begun = activities.create(region, &name, spec, std::collections::BTreeMap::default());
    let begun = begun.await?;
    let mut of_target = of_target(activities, region, target).await?;
    let n_surplus = of_target.len().saturating_sub(KEPT);
    of_target.truncate(n_surplus);
    forget(activities, of_target).await?;
    Ok(begun)
}

/// Writes an activity that has ended already.
pub(super) async fn tell(
    activities: &Table<ScalingActivity>,
    note: Note<'_>,
    (code, message): (Code, String),
) -> Result<(), StoreError> {
    let begun = begin(activities, note).await?;
    let now = begun.created_at;
    set(activities, begun, code, message, Some(now)).await
}

/// Writes how far an activity has come.
pub(super) async fn set(
    activities: &Table<ScalingActivity>,
    mut activity: Stored<ScalingActivity>,
    code: Code,
    message: String,
    ended: Option<Timestamp>,
) -> Result<(), StoreError> {
    activity.status = ActivityStatus { code, message: Some(message), ended };
    match activities.update(activity).await {
        Err(StoreError::Conflict { .. }) => Ok(()), // It was forgotten meanwhile.
        outcome => outcome.map(|_| ()),
    }
}

/// Forgets what is older than is told.
pub(super) async fn sweep(
    activities: &Table<ScalingActivity>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let kept_for = i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
    let query = Query {
        created_before: Some(Timestamp(now.0 - kept_for)),
        sort_by: SortBy::CreationTime,
        limit: SWEPT,
        ..Query::default()
    };
    let (old, _) = activities.list(&query).await?;
    forget(activities, old).await
}

/// Oldest first.
async fn of_target(
    activities: &Table<ScalingActivity>,
    region: &Region,
    target: &str,
) -> Result<Vec<Stored<ScalingActivity>>, StoreError> {
    let query = Query {
        region: Some(region.clone()),
        name_contains: Some(format!("{target}#")),
        sort_by: SortBy::CreationTime,
        ..Query::default()
    };
    Ok(activities.list(&query).await?.0)
}

async fn forget(
    activities: &Table<ScalingActivity>,
    forgotten: Vec<Stored<ScalingActivity>>,
) -> Result<(), StoreError> {
    for activity in forgotten {
        match activities.remove(&activity).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
