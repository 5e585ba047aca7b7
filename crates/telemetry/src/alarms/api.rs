//! The alarms of CloudWatch's API.

mod describe;
mod put;
mod states;
mod tags;

use http::StatusCode;
use sagebrush_aws::{ApiError, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;
use sagebrush_wire::cloudwatch as wire;

use super::Alarms;

/// The operations on alarms that are served.
#[must_use]
pub fn operations() -> Dispatch<Alarms> {
    Dispatch::new()
        .on::<wire::PutMetricAlarm, _, _>(put::put_metric_alarm)
        .on::<wire::PutCompositeAlarm, _, _>(put::put_composite_alarm)
        .on::<wire::DeleteAlarms, _, _>(put::delete_alarms)
        .on::<wire::DescribeAlarms, _, _>(describe::describe_alarms)
        .on::<wire::DescribeAlarmsForMetric, _, _>(describe::describe_alarms_for_metric)
        .on::<wire::DescribeAlarmHistory, _, _>(describe::describe_alarm_history)
        .on::<wire::SetAlarmState, _, _>(states::set_alarm_state)
        .on::<wire::EnableAlarmActions, _, _>(states::enable_alarm_actions)
        .on::<wire::DisableAlarmActions, _, _>(states::disable_alarm_actions)
        .on::<wire::TagResource, _, _>(tags::tag_resource)
        .on::<wire::UntagResource, _, _>(tags::untag_resource)
        .on::<wire::ListTagsForResource, _, _>(tags::list_tags_for_resource)
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::validation(message).once_called("ValidationError")
}

fn not_served(member: &str) -> ApiError {
    invalid(format!("{member} is not served here"))
}

fn bad_token() -> ApiError {
    ApiError::new("InvalidNextToken", StatusCode::BAD_REQUEST, "The next token is not valid.")
        .once_called("InvalidNextToken")
}

fn no_alarm(name: &str) -> ApiError {
    let message = format!("There is no alarm {name}");
    ApiError::new("ResourceNotFound", StatusCode::NOT_FOUND, message)
        .once_called("ResourceNotFound")
}

fn to_wire(at: Timestamp) -> sagebrush_wire::Timestamp {
    sagebrush_wire::Timestamp(at.as_seconds())
}

fn from_wire(at: sagebrush_wire::Timestamp) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a time out of range saturates")]
    Timestamp((at.0 * 1000.0).round() as i64)
}

fn state_to_wire(state: AlarmState) -> wire::StateValue {
    match state {
        AlarmState::Ok => wire::StateValue::Ok,
        AlarmState::Alarm => wire::StateValue::Alarm,
        AlarmState::InsufficientData => wire::StateValue::InsufficientData,
    }
}

fn state_from_wire(state: wire::StateValue) -> AlarmState {
    match state {
        wire::StateValue::Ok => AlarmState::Ok,
        wire::StateValue::Alarm => AlarmState::Alarm,
        wire::StateValue::InsufficientData => AlarmState::InsufficientData,
    }
}
