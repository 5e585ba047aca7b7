//! `SetAlarmState`, `EnableAlarmActions`, `DisableAlarmActions`.

use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::{Region, Timestamp};
use sagebrush_wire::{Empty, cloudwatch as wire};
use serde_json::Value;

use super::{no_alarm, state_from_wire};
use crate::alarms::record::{Alarm, Moment};
use crate::alarms::{AlarmId, Alarms, evaluate, step};

/// The state stays until CloudWatch would look again; that of a composite alarm until one of its
/// children changes.
pub(super) async fn set_alarm_state(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::SetAlarmStateInput,
) -> Result<Empty, ApiError> {
    if let Some(data) = &input.state_reason_data
        && serde_json::from_str::<Value>(data).is_err()
    {
        let message = "StateReasonData is not JSON";
        let error = ApiError::new("InvalidFormatFault", StatusCode::BAD_REQUEST, message);
        return Err(error.once_called("InvalidFormat"));
    }
    let id = AlarmId { region: ctx.region, name: input.alarm_name };
    if state.find(&id).is_none() {
        return Err(no_alarm(&id.name));
    }
    let now = state.clock.now();
    let moment = Moment {
        state: state_from_wire(input.state_value),
        reason: input.state_reason,
        reason_data: input.state_reason_data,
        at: now,
    };
    let change = |stored: &mut Alarm| {
        let interval = stored.spec.metric().map(evaluate::interval).unwrap_or_default();
        let interval = i64::try_from(interval.as_millis()).unwrap_or_default();
        stored.status.set_until = Some(Timestamp(now.0 + interval));
        step(stored, moment, None);
        true
    };
    state.change(&id, change).await?;
    Ok(Empty {})
}

pub(super) async fn enable_alarm_actions(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::EnableAlarmActionsInput,
) -> Result<Empty, ApiError> {
    switch(&state, &ctx.region, input.alarm_names, true).await
}

pub(super) async fn disable_alarm_actions(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::DisableAlarmActionsInput,
) -> Result<Empty, ApiError> {
    switch(&state, &ctx.region, input.alarm_names, false).await
}

/// Names of no alarm are fine, as CloudWatch has it.
async fn switch(
    state: &Alarms,
    region: &Region,
    names: Vec<String>,
    on: bool,
) -> Result<Empty, ApiError> {
    for name in names {
        let id = AlarmId { region: region.clone(), name };
        let now = state.clock.now();
        let change = |stored: &mut Alarm| {
            let is_other = stored.spec.actions_enabled != on;
            stored.spec.actions_enabled = on;
            stored.spec.configured_at = if is_other { now } else { stored.spec.configured_at };
            is_other
        };
        state.change(&id, change).await?;
    }
    Ok(Empty {})
}
