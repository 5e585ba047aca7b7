//! Events of clients, and trying patterns.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_wire::events as wire;
use serde_json::Value;

use super::check_bus;
use crate::events::Events;
use crate::events::error::EventError;
use crate::events::pattern::Pattern;

/// What `PutEvents` takes in one call, in bytes: what a topic can carry.
const MAX_BYTES: usize = 256 << 10;

/// What an event must have to be held against a pattern.
const FIELDS: &[&str] = &["id", "account", "source", "time", "region", "resources", "detail-type"];

pub(super) fn operations(rules: Dispatch<Events>) -> Dispatch<Events> {
    rules
        .on::<wire::PutEvents, _, _>(put_events)
        .on::<wire::TestEventPattern, _, _>(test_event_pattern)
}

async fn put_events(
    state: Arc<Events>,
    ctx: Context,
    input: wire::PutEventsRequest,
) -> Result<wire::PutEventsResponse, ApiError> {
    if input.endpoint_id.is_some() {
        return Err(EventError::not_served("EndpointId").into());
    }
    if input.entries.iter().map(size).sum::<usize>() > MAX_BYTES {
        let message = "Total size of the entries in the request is over the limit.";
        return Err(EventError::Invalid(message.to_owned()).into());
    }
    let mut entries = Vec::new();
    for entry in input.entries {
        entries.push(put(&state, &ctx, entry).await);
    }
    let n_failed = entries.iter().filter(|entry| entry.error_code.is_some()).count();
    Ok(wire::PutEventsResponse {
        failed_entry_count: i32::try_from(n_failed).ok(),
        entries: Some(entries),
    })
}

fn size(entry: &wire::PutEventsRequestEntry) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let resources = entry.resources.iter().flatten().map(String::len).sum::<usize>();
    text(&entry.source) + text(&entry.detail_type) + text(&entry.detail) + resources + 14
}

/// Takes one event, which its targets have when this returns.
async fn put(
    state: &Events,
    ctx: &Context,
    entry: wire::PutEventsRequestEntry,
) -> wire::PutEventsResultEntry {
    let failed = |code: &str, message: String| wire::PutEventsResultEntry {
        event_id: None,
        error_code: Some(code.to_owned()),
        error_message: Some(message),
    };
    let (source, detail_type, detail) = match read(&entry) {
        Ok(parts) => parts,
        Err((code, message)) => return failed(code, message),
    };
    #[expect(clippy::cast_possible_truncation, reason = "a cast from a float ends at the limits")]
    let given = entry.time.map(|time| Timestamp((time.0 * 1000.0) as i64));
    let at = given.unwrap_or_else(|| state.clock.now());
    let resources = entry.resources.clone().unwrap_or_default();
    let names = (source, detail_type);
    let event = state.enveloped(ctx.region.clone(), names, resources, detail, at);
    match state.deliver(&event).await {
        Ok(()) => wire::PutEventsResultEntry {
            event_id: Some(event.id.to_string()),
            error_code: None,
            error_message: None,
        },
        Err(error) => {
            tracing::warn!(%error, "an event did not reach a target");
            failed("InternalFailure", "The event did not reach all targets.".to_owned())
        }
    }
}

/// Source, type and detail of an event that may be put.
fn read(
    entry: &wire::PutEventsRequestEntry,
) -> Result<(&str, &str, Value), (&'static str, String)> {
    let missing = |name: &str| {
        let reason =
            format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
        ("InvalidArgument", reason)
    };
    let source = entry.source.as_deref().filter(|it| !it.is_empty());
    let source = source.ok_or_else(|| missing("Source"))?;
    let detail_type = entry.detail_type.as_deref().filter(|it| !it.is_empty());
    let detail_type = detail_type.ok_or_else(|| missing("DetailType"))?;
    let detail = entry.detail.as_deref().ok_or_else(|| missing("Detail"))?;
    if source.starts_with("aws.") {
        let message = "Not authorized for the source.";
        return Err(("NotAuthorizedForSourceException", message.to_owned()));
    }
    check_bus(entry.event_bus_name.as_deref())
        .map_err(|error| ("ResourceNotFoundException", error.to_string()))?;
    if entry.trace_header.is_some() {
        return Err(("InvalidArgument", "TraceHeader is not served here.".to_owned()));
    }
    let detail: Option<Value> = serde_json::from_str(detail).ok().filter(Value::is_object);
    let detail = detail.ok_or_else(|| ("MalformedDetail", "Detail is malformed.".to_owned()))?;
    Ok((source, detail_type, detail))
}

async fn test_event_pattern(
    _state: Arc<Events>,
    _ctx: Context,
    input: wire::TestEventPatternRequest,
) -> Result<wire::TestEventPatternResponse, ApiError> {
    let pattern = Pattern::parse(&input.event_pattern).map_err(EventError::from)?;
    let event: Option<Value> = serde_json::from_str(&input.event).ok();
    let event = event.filter(Value::is_object);
    let invalid =
        |reason: &str| EventError::Invalid(format!("Parameter Event is not valid. {reason}"));
    let event = event.ok_or_else(|| invalid("Reason: it is no JSON object."))?;
    if let Some(missing) = FIELDS.iter().find(|field| event.get(**field).is_none()) {
        return Err(invalid(&format!("Reason: it has no {missing}.")).into());
    }
    Ok(wire::TestEventPatternResponse { result: Some(pattern.matches(&event)) })
}
