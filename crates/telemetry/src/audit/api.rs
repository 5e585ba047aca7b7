//! `LookupEvents`.

use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::task;
use sagebrush_wire::{Timestamp, cloudtrail as wire};

use super::AuditLog;
use super::lookup::{Search, Wanted};
use super::record::Record;

/// CloudTrail API: `MaxResults`.
const MAX_RESULTS: usize = 50;

/// The operations of CloudTrail that are served.
#[must_use]
pub fn operations() -> Dispatch<AuditLog> {
    Dispatch::new().on::<wire::LookupEvents, _, _>(lookup_events)
}

async fn lookup_events(
    state: Arc<AuditLog>,
    ctx: Context,
    input: wire::LookupEventsRequest,
) -> Result<wire::LookupEventsResponse, ApiError> {
    if let Some(wire::EventCategory::Insight) = input.event_category {
        return Err(refused("InvalidEventCategoryException", "Insights are not served here."));
    }
    let after = input.next_token.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| refused("InvalidNextTokenException", "Invalid token."))?;
    let wanted = wanted(input.lookup_attributes.unwrap_or_default())?;
    let start = input.start_time.map_or(i64::MIN, millis);
    // CloudTrail's times are whole seconds, and the last one is part of what is asked for.
    let end = input.end_time.map_or(i64::MAX, |end| millis(end).saturating_add(1000));
    if start > end {
        let message = "The start time must be before the end time.";
        return Err(refused("InvalidTimeRangeException", message));
    }
    let limit = input.max_results.and_then(|n| usize::try_from(n).ok()).unwrap_or(MAX_RESULTS);
    let region = ctx.region.to_string();
    let search = Search { region, wanted, times: start..end, limit, after };
    let (journals, now) = (state.journals.clone(), state.clock.now());
    let found = task::blocking(move || search.run(&journals, now)).await;
    let (found, next) = found.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(wire::LookupEventsResponse {
        events: Some(found.into_iter().map(event).collect()),
        next_token: next.map(|next| next.to_string()),
    })
}

fn wanted(attributes: Vec<wire::LookupAttribute>) -> Result<Wanted, ApiError> {
    use wire::LookupAttributeKey as Key;
    let invalid = |message: &str| refused("InvalidLookupAttributesException", message);
    if attributes.len() > 1 {
        return Err(invalid("You can look up by one attribute only."));
    }
    let Some(wire::LookupAttribute { attribute_key, attribute_value: value }) =
        attributes.into_iter().next()
    else {
        return Ok(Wanted::Anything);
    };
    Ok(match attribute_key {
        Key::EventId => Wanted::Id(value),
        Key::EventName => Wanted::Name(value),
        Key::ReadOnly => {
            let is_read_only = value.to_lowercase().parse();
            Wanted::ReadOnly(is_read_only.map_err(|_| invalid("ReadOnly is true or false."))?)
        }
        Key::Username => Wanted::User(value),
        Key::ResourceType => Wanted::ResourceType(value),
        Key::ResourceName => Wanted::ResourceName(value),
        Key::EventSource => Wanted::Source(value),
        Key::AccessKeyId => Wanted::AccessKey(value),
    })
}

fn event(record: Record) -> wire::Event {
    let resource =
        |(kind, name)| wire::Resource { resource_type: Some(kind), resource_name: Some(name) };
    wire::Event {
        event_id: Some(record.id),
        event_name: Some(record.name),
        read_only: Some(record.read_only.to_string()),
        access_key_id: Some(record.access_key).filter(|key| !key.is_empty()),
        event_time: Some(Timestamp(record.at.as_seconds().floor())),
        event_source: Some(record.source),
        username: Some(record.user).filter(|user| !user.is_empty()),
        resources: Some(record.resources.into_iter().map(resource).collect()),
        cloud_trail_event: Some(record.event),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a cast from a float ends at the limits")]
fn millis(time: Timestamp) -> i64 {
    (time.0 * 1000.0) as i64
}

fn refused(code: &'static str, message: &str) -> ApiError {
    ApiError::new(code, StatusCode::BAD_REQUEST, message)
}
