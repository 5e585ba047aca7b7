//! The API of CloudWatch Logs: what is read of it. `api/change.rs` has what changes something.

mod change;

use std::ops::RangeInclusive;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::task;
use sagebrush_wire::logs as wire;

use super::LogStore;
use super::error::LogError;
use super::groups::Group;
use super::pattern::Pattern;
use super::query::{self, At, Found, Page, Place, Search};
use super::stream::{Placed, Shared};

/// What the API model says, for groups and streams.
const MAX_LISTED: usize = 50;
const MAX_EVENTS: usize = 10_000;

/// The operations of CloudWatch Logs that are served.
#[must_use]
pub fn operations() -> Dispatch<LogStore> {
    let reading = Dispatch::new()
        .on::<wire::DescribeLogGroups, _, _>(describe_log_groups)
        .on::<wire::DescribeLogStreams, _, _>(describe_log_streams)
        .on::<wire::GetLogEvents, _, _>(get_log_events)
        .on::<wire::FilterLogEvents, _, _>(filter_log_events);
    change::operations(reading)
}

async fn describe_log_groups(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::DescribeLogGroupsRequest,
) -> Result<wire::DescribeLogGroupsResponse, ApiError> {
    if input.log_group_name_prefix.is_some() && input.log_group_name_pattern.is_some() {
        return Err(invalid("logGroupNamePrefix and logGroupNamePattern exclude each other."));
    }
    let prefix = input.log_group_name_prefix.unwrap_or_default();
    let pattern = input.log_group_name_pattern.unwrap_or_default().to_lowercase();
    let named: Option<Vec<String>> =
        input.log_group_identifiers.map(|all| all.iter().map(|id| group_of(id)).collect());
    let is_wanted = |name: &str| {
        name.starts_with(&prefix)
            && name.to_lowercase().contains(&pattern)
            && named.as_ref().is_none_or(|named| named.iter().any(|wanted| wanted == name))
    };
    let behind = |name: &str| input.next_token.as_ref().is_none_or(|token| name > token.as_str());
    let groups = state.groups.of_region(ctx.region.as_str()).into_iter();
    let groups = groups.filter(|group| is_wanted(&group.name) && behind(&group.name));
    let (groups, next) = first_page(groups, input.limit, |group| group.name.to_string());
    let groups = groups.iter().map(|group| log_group(&ctx, group, &state.streams_of(group)));
    Ok(wire::DescribeLogGroupsResponse { log_groups: Some(groups.collect()), next_token: next })
}

fn log_group(ctx: &Context, group: &Group, streams: &[Shared]) -> wire::LogGroup {
    let arn = format!("arn:aws:logs:{}:{}:log-group:{}", ctx.region, ctx.account, group.name);
    let bytes: u64 = streams.iter().map(|stream| stream.bytes()).sum();
    wire::LogGroup {
        log_group_name: Some(group.name.to_string()),
        creation_time: Some(group.created),
        retention_in_days: group.retention_days.and_then(|days| i32::try_from(days).ok()),
        metric_filter_count: Some(0),
        arn: Some(format!("{arn}:*")),
        stored_bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
        log_group_class: Some(wire::LogGroupClass::Standard),
        log_group_arn: Some(arn),
        ..wire::LogGroup::default()
    }
}

async fn describe_log_streams(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::DescribeLogStreamsRequest,
) -> Result<wire::DescribeLogStreamsResponse, ApiError> {
    let by_time = input.order_by == Some(wire::OrderBy::LastEventTime);
    if by_time && input.log_stream_name_prefix.is_some() {
        return Err(invalid("Cannot order by LastEventTime with a logStreamNamePrefix."));
    }
    let group = group_name(input.log_group_name, input.log_group_identifier)?;
    let prefix = input.log_stream_name_prefix.unwrap_or_default();
    // Where a stream stands in the list, and what a token says.
    let place = |stream: &Shared| {
        let time = stream.summary().last_event.filter(|_| by_time).unwrap_or_default();
        (time, stream.name.stream.to_string())
    };
    let (_, streams) = state.of_group(&ctx, &group)?;
    let mut streams: Vec<_> = streams
        .into_iter()
        .filter(|stream| stream.name.stream.starts_with(&prefix))
        .map(|stream| (place(&stream), stream))
        .collect();
    streams.sort_by(|(one, _), (other, _)| one.cmp(other));
    let is_descending = input.descending == Some(true);
    if is_descending {
        streams.reverse();
    }
    if let Some(token) = input.next_token {
        let token = stream_token(&token)?;
        streams.retain(|(place, _)| if is_descending { *place < token } else { *place > token });
    }
    let token = |((time, name), _): &((i64, String), Shared)| format!("{time}/{name}");
    let (streams, next) = first_page(streams.into_iter(), input.limit, token);
    let streams = streams.iter().map(|(_, stream)| log_stream(&ctx, stream));
    Ok(wire::DescribeLogStreamsResponse { log_streams: Some(streams.collect()), next_token: next })
}

fn log_stream(ctx: &Context, stream: &Shared) -> wire::LogStream {
    let summary = stream.summary();
    let (group, name) = (&stream.name.group, &stream.name.stream);
    let (region, account) = (&ctx.region, &ctx.account);
    let arn = format!("arn:aws:logs:{region}:{account}:log-group:{group}:log-stream:{name}");
    wire::LogStream {
        log_stream_name: Some(name.to_string()),
        creation_time: Some(stream.created),
        first_event_timestamp: summary.first_event,
        last_event_timestamp: summary.last_event,
        last_ingestion_time: summary.last_ingestion,
        arn: Some(arn),
        stored_bytes: Some(0), // CloudWatch says nothing else any more.
        ..wire::LogStream::default()
    }
}

fn stream_token(token: &str) -> Result<(i64, String), ApiError> {
    let parts = token.split_once('/').and_then(|(time, name)| Some((time.parse().ok()?, name)));
    parts.map(|(time, name)| (time, name.to_owned())).ok_or_else(invalid_token)
}

async fn get_log_events(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::GetLogEventsRequest,
) -> Result<wire::GetLogEventsResponse, ApiError> {
    let group = group_name(input.log_group_name, input.log_group_identifier)?;
    let (group, streams) = state.of_group(&ctx, &group)?;
    let named = streams.into_iter().find(|one| *one.name.stream == *input.log_stream_name);
    let stream = named.ok_or(LogError::NoStream)?;
    let at = match input.next_token {
        Some(token) => events_token(&token)?,
        None if input.start_from_head == Some(true) => At::Forward(0),
        None => At::Backward(stream.end()),
    };
    // The end is not part of the time asked for, other than in `FilterLogEvents`.
    let end = input.end_time.map(|end| end.saturating_sub(1));
    let times = state.times(&group, input.start_time, end);
    let limit = page_size(input.limit, MAX_EVENTS);
    let page = blocking(move || query::page(&stream, at, &times, limit)).await?;
    Ok(events_page(page))
}

fn events_page(page: Page) -> wire::GetLogEventsResponse {
    let Page { events, start, end } = page;
    wire::GetLogEventsResponse {
        events: Some(events.into_iter().map(output_event).collect()),
        next_forward_token: Some(format!("f/{end:056}")),
        next_backward_token: Some(format!("b/{start:056}")),
    }
}

fn output_event(placed: Placed) -> wire::OutputLogEvent {
    wire::OutputLogEvent {
        timestamp: Some(placed.event.time),
        message: Some(placed.event.message),
        ingestion_time: Some(placed.event.ingested),
    }
}

fn events_token(token: &str) -> Result<At, ApiError> {
    let at = match token.split_once('/') {
        Some(("f", at)) => at.parse().map(At::Forward),
        Some(("b", at)) => at.parse().map(At::Backward),
        _ => return Err(invalid_token()),
    };
    at.map_err(|_| invalid_token())
}

async fn filter_log_events(
    state: Arc<LogStore>,
    ctx: Context,
    input: wire::FilterLogEventsRequest,
) -> Result<wire::FilterLogEventsResponse, ApiError> {
    let (names, prefix) = (input.log_stream_names, input.log_stream_name_prefix);
    if names.is_some() && prefix.is_some() {
        return Err(invalid("logStreamNames and logStreamNamePrefix exclude each other."));
    }
    let pattern = Pattern::parse(&input.filter_pattern.unwrap_or_default());
    let pattern = pattern.ok_or_else(|| invalid("Invalid filter pattern"))?;
    let after = input.next_token.as_deref().map(place_token).transpose()?;
    let group = group_name(input.log_group_name, input.log_group_identifier)?;
    let is_wanted = |name: &str| {
        names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
            && prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
    };
    let (group, mut streams) = state.of_group(&ctx, &group)?;
    streams.retain(|stream| is_wanted(&stream.name.stream));
    if names.is_some() && streams.is_empty() {
        return Err(LogError::NoStream.into());
    }
    let times = state.times(&group, input.start_time, input.end_time);
    let limit = page_size(input.limit, MAX_EVENTS);
    let search = move || Search { streams: &streams, times, pattern: &pattern, after, limit }.run();
    let (found, has_more) = blocking(search).await?;
    let next = found.last().filter(|_| has_more).map(|last| last.place);
    Ok(wire::FilterLogEventsResponse {
        events: Some(found.into_iter().map(filtered_event).collect()),
        searched_log_streams: Some(Vec::new()), // CloudWatch says nothing else any more.
        next_token: next.map(|Place { time, stream, start }| format!("{time}/{stream}/{start}")),
    })
}

fn filtered_event(found: Found) -> wire::FilteredLogEvent {
    let Found { place, stream, placed } = found;
    wire::FilteredLogEvent {
        log_stream_name: Some(stream.name.stream.to_string()),
        timestamp: Some(placed.event.time),
        message: Some(placed.event.message),
        ingestion_time: Some(placed.event.ingested),
        // 56 digits, as CloudWatch has them.
        event_id: Some(format!("{:020}{:036}", place.stream, place.start)),
    }
}

fn place_token(token: &str) -> Result<Place, ApiError> {
    let mut parts = token.split('/');
    let mut part = || parts.next().ok_or_else(invalid_token);
    let (time, stream, start) = (part()?, part()?, part()?);
    Ok(Place {
        time: time.parse().map_err(|_| invalid_token())?,
        stream: stream.parse().map_err(|_| invalid_token())?,
        start: start.parse().map_err(|_| invalid_token())?,
    })
}

impl LogStore {
    /// A group with its streams.
    fn of_group(&self, ctx: &Context, name: &str) -> Result<(Group, Vec<Shared>), LogError> {
        let group = self.groups.get(ctx.region.as_str(), name).ok_or(LogError::NoGroup)?;
        let streams = self.streams_of(&group);
        Ok((group, streams))
    }

    /// The times that are asked for, without what has expired.
    fn times(&self, group: &Group, start: Option<i64>, end: Option<i64>) -> RangeInclusive<i64> {
        let kept_from = group.expired_before(self.clock.now()).unwrap_or(i64::MIN);
        start.unwrap_or(i64::MIN).max(kept_from)..=end.unwrap_or(i64::MAX)
    }
}

/// The group that a call names, by name or ARN.
fn group_name(name: Option<String>, identifier: Option<String>) -> Result<String, ApiError> {
    match (name, identifier) {
        (Some(name), None) => Ok(name),
        (None, Some(identifier)) => Ok(group_of(&identifier)),
        (None, None) | (Some(_), Some(_)) => {
            Err(invalid("Name either logGroupName or logGroupIdentifier."))
        }
    }
}

fn group_of(identifier: &str) -> String {
    let of_arn = identifier.split_once(":log-group:").map(|(_, name)| name.trim_end_matches(":*"));
    of_arn.unwrap_or(identifier).to_owned()
}

fn page_size(limit: Option<i32>, max: usize) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(max).clamp(1, max)
}

/// The first items, and the token of the last one if there are more.
fn first_page<T>(
    items: impl Iterator<Item = T>,
    limit: Option<i32>,
    token: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = page_size(limit, MAX_LISTED);
    let mut items: Vec<T> = items.take(limit + 1).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(token);
    (items, next)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    task::blocking(work).await.map_err(ApiError::internal)?.map_err(ApiError::internal)
}

fn invalid(message: &str) -> ApiError {
    LogError::invalid(message).into()
}

fn invalid_token() -> ApiError {
    invalid("The specified nextToken is invalid.")
}
