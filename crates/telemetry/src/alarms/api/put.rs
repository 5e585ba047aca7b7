//! `PutMetricAlarm`, `PutCompositeAlarm`, `DeleteAlarms`.

mod condition;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::{ApiError, Context};
use sagebrush_wire::{Empty, cloudwatch as wire};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{describe, invalid, not_served, tags};
use crate::alarms::actor::{is_scaling, is_topic};
use crate::alarms::history::{self, Item, ItemKind};
use crate::alarms::record::{
    Alarm, AlarmSpec, AlarmStatus, CompositeCondition, Condition, Suppressor,
};
use crate::alarms::rule::{Rule, name_of};
use crate::alarms::watcher::Touch;
use crate::alarms::{AlarmId, Alarms, Known, key_of};

/// How many alarms a composite alarm may have below it, one below the other.
const MAX_LEVELS: usize = 32;
/// Bounds of the suppressor's periods, in seconds.
const MAX_SUPPRESSION: i32 = 86_400;

pub(super) async fn put_metric_alarm(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::PutMetricAlarmInput,
) -> Result<Empty, ApiError> {
    for (member, is_there) in [
        ("ThresholdMetricId", input.threshold_metric_id.is_some()),
        ("EvaluationWindow", input.evaluation_window.is_some()),
        ("WarmUpConfiguration", input.warm_up_configuration.is_some()),
        ("EvaluationCriteria", input.evaluation_criteria.is_some()),
        ("EvaluationInterval", input.evaluation_interval.is_some()),
        ("ActionConfiguration", input.action_configuration.is_some()),
    ] {
        if is_there {
            return Err(not_served(member));
        }
    }
    let condition = condition::of(&input, state.sources.math.as_deref())?;
    let spec = AlarmSpec {
        description: input.alarm_description,
        actions_enabled: input.actions_enabled.unwrap_or(true),
        ok_actions: checked(input.ok_actions, true)?,
        alarm_actions: checked(input.alarm_actions, true)?,
        insufficient_data_actions: checked(input.insufficient_data_actions, true)?,
        configured_at: state.clock.now(),
        condition: Condition::Metric(condition),
    };
    put(&state, &ctx, &input.alarm_name, spec, input.tags).await
}

pub(super) async fn put_composite_alarm(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::PutCompositeAlarmInput,
) -> Result<Empty, ApiError> {
    if input.action_configuration.is_some() {
        return Err(not_served("ActionConfiguration"));
    }
    let rule = Rule::parse(&input.alarm_rule);
    let rule = rule.map_err(|error| invalid(format!("Error in AlarmRule: {error}.")))?;
    let suppressor = suppressor(&input)?;
    let composite = CompositeCondition { rule: input.alarm_rule, suppressor };
    check_children(&state, &ctx, &input.alarm_name, &rule, composite.suppressor.as_ref())?;
    let spec = AlarmSpec {
        description: input.alarm_description,
        actions_enabled: input.actions_enabled.unwrap_or(true),
        ok_actions: checked(input.ok_actions, false)?,
        alarm_actions: checked(input.alarm_actions, false)?,
        insufficient_data_actions: checked(input.insufficient_data_actions, false)?,
        configured_at: state.clock.now(),
        condition: Condition::Composite(composite),
    };
    put(&state, &ctx, &input.alarm_name, spec, input.tags).await
}

/// Actions that can be carried out.
fn checked(actions: Option<Vec<String>>, may_scale: bool) -> Result<Vec<String>, ApiError> {
    let actions = actions.unwrap_or_default();
    for arn in &actions {
        let served = if may_scale { "topics and scaling policies are" } else { "topics are" };
        let is_served = is_topic(arn) || (may_scale && is_scaling(arn));
        if !is_served {
            return Err(invalid(format!("The action {arn} is not served here; {served}")));
        }
    }
    Ok(actions)
}

fn suppressor(input: &wire::PutCompositeAlarmInput) -> Result<Option<Suppressor>, ApiError> {
    let (wait, extension) =
        (input.actions_suppressor_wait_period, input.actions_suppressor_extension_period);
    let Some(alarm) = &input.actions_suppressor else {
        let is_alone = wait.is_some() || extension.is_some();
        let text = "ActionsSuppressorWaitPeriod and ActionsSuppressorExtensionPeriod need an \
                    ActionsSuppressor";
        return if is_alone { Err(invalid(text)) } else { Ok(None) };
    };
    let seconds = |member: &str, period: Option<i32>| {
        let period = period.ok_or_else(|| invalid(format!("{member} is missing")))?;
        let in_bounds = u32::try_from(period).ok().filter(|_| period <= MAX_SUPPRESSION);
        in_bounds.ok_or_else(|| invalid(format!("{member} is not within 0 and {MAX_SUPPRESSION}")))
    };
    Ok(Some(Suppressor {
        alarm: alarm.clone(),
        wait: seconds("ActionsSuppressorWaitPeriod", wait)?,
        extension: seconds("ActionsSuppressorExtensionPeriod", extension)?,
    }))
}

/// All alarms that the rule speaks of are there, and none of them depends on this one.
fn check_children(
    state: &Alarms,
    ctx: &Context,
    name: &str,
    rule: &Rule,
    suppressor: Option<&Suppressor>,
) -> Result<(), ApiError> {
    let suppressor = suppressor.map(|suppressor| name_of(&suppressor.alarm));
    let mut level: Vec<String> =
        rule.children().into_iter().chain(suppressor).map(str::to_owned).collect();
    let id = |name: &String| AlarmId { region: ctx.region.clone(), name: name.clone() };
    let missing: Vec<_> =
        level.iter().filter(|child| *child != name && state.find(&id(child)).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.into_iter().cloned().collect::<Vec<_>>().join(", ");
        return Err(invalid(format!(
            "Could not save the composite alarm as alarms [{missing}] in the alarm rule do not \
             exist"
        )));
    }
    for _ in 0..MAX_LEVELS {
        if level.iter().any(|child| child == name) {
            return Err(invalid(format!("The alarm {name} would depend on itself")));
        }
        level = level.iter().filter_map(|child| state.find(&id(child))).flat_map(below).collect();
        level.sort_unstable();
        level.dedup();
        if level.is_empty() {
            return Ok(());
        }
    }
    Err(invalid(format!("Composite alarms are nested at most {MAX_LEVELS} levels deep")))
}

/// The names of the alarms that an alarm depends on.
fn below(known: Known) -> Vec<String> {
    let composite = known.stored.spec.composite();
    let suppressor = composite.and_then(|composite| composite.suppressor.as_ref());
    let suppressor = suppressor.map(|suppressor| name_of(&suppressor.alarm));
    let children = known.rule.as_ref().map(|rule| rule.children()).unwrap_or_default();
    children.into_iter().chain(suppressor).map(str::to_owned).collect()
}

/// Makes the alarm, or gives the one that there is another configuration; its state stays.
async fn put(
    state: &Alarms,
    ctx: &Context,
    name: &str,
    spec: AlarmSpec,
    tags: Option<Vec<wire::Tag>>,
) -> Result<Empty, ApiError> {
    if name.contains(char::is_control) {
        return Err(invalid("AlarmName has a control character"));
    }
    let id = AlarmId { region: ctx.region.clone(), name: name.to_owned() };
    let is_new = {
        let _changing = state.changing.lock().await;
        let before = state.find(&id);
        let (now, is_new) = (spec.configured_at, before.is_none());
        let stored = match before {
            Some(before) => {
                let mut stored = Alarm::clone(&before.stored);
                if stored.spec.composite().is_some() != spec.composite().is_some() {
                    return Err(invalid(format!("The alarm {name} is of another type")));
                }
                stored.spec = spec;
                stored
            }
            None => Alarm {
                region: id.region.clone(),
                name: id.name.clone(),
                version: 0,
                created_at: now,
                modified_at: now,
                spec,
                status: AlarmStatus::unchecked(now),
                tags: tags::checked(BTreeMap::new(), tags.unwrap_or_default())?,
            },
        };
        state.keep(state.table.update(stored).await?);
        is_new
    };
    state.touch(Touch::Configured(id.clone()));
    let Some(known) = state.find(&id) else { return Ok(Empty {}) };
    let (kind, verb) = if is_new { ("Create", "created") } else { ("Update", "updated") };
    note(state, &known.stored, kind, verb).await;
    Ok(Empty {})
}

/// Into the history, which the call does not depend on.
async fn note(state: &Alarms, alarm: &Alarm, kind: &str, verb: &str) {
    let id = AlarmId::of(alarm);
    let shown: Result<Value, _> = if alarm.spec.composite().is_some() {
        serde_json::to_value(describe::composite_alarm(state, &id, alarm))
    } else {
        serde_json::to_value(describe::metric_alarm(state, &id, alarm))
    };
    let data = json!({"version": "1.0", "type": kind, "alarm": shown.unwrap_or_default()});
    let at = state.clock.now();
    let item = Item {
        alarm: alarm.name.clone(),
        is_composite: alarm.spec.composite().is_some(),
        kind: ItemKind::ConfigurationUpdate,
        at,
        summary: format!("Alarm \"{}\" {verb}", alarm.name),
        data: history::data(data, &["/alarm/StateReasonData", "/alarm/AlarmRule", "/alarm"]),
    };
    let key = key_of(at, &Uuid::now_v7().to_string());
    if let Err(error) = state.history.add(&alarm.region, &key, item).await {
        tracing::warn!(%error, alarm = alarm.name, "the history of an alarm has a gap");
    }
}

/// All of them, or none. Names of no alarm are fine.
pub(super) async fn delete_alarms(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::DeleteAlarmsInput,
) -> Result<Empty, ApiError> {
    let id = |name: &String| AlarmId { region: ctx.region.clone(), name: name.clone() };
    let changing = state.changing.lock().await;
    let doomed: BTreeMap<AlarmId, Known> = input
        .alarm_names
        .iter()
        .filter_map(|name| Some((id(name), state.find(&id(name))?)))
        .collect();
    let is_composite = |known: &&Known| known.stored.spec.composite().is_some();
    if doomed.values().filter(is_composite).count() > 1 {
        return Err(invalid("One call deletes at most one composite alarm"));
    }
    for known in state.of_region(&ctx.region) {
        let name = known.stored.name.clone();
        let stays = !doomed.contains_key(&id(&name));
        if let Some(needed) = below(known).iter().find(|it| stays && doomed.contains_key(&id(it))) {
            let message = format!("{needed} cannot be deleted: {name} depends on it");
            let conflict = ApiError::new("ResourceConflict", StatusCode::CONFLICT, message);
            return Err(conflict.once_called("ResourceConflict"));
        }
    }
    // Those that depend on others go first, so that a crash leaves none without its children.
    let (composite, others): (Vec<_>, Vec<_>) =
        doomed.iter().partition(|(_, known)| is_composite(known));
    for (id, known) in composite.into_iter().chain(others) {
        state.table.remove(&known.stored).await?;
        state.known().remove(id);
        state.changes.send_modify(|n_changes| *n_changes += 1);
    }
    drop(changing);
    for known in doomed.values() {
        note(&state, &known.stored, "Delete", "deleted").await;
    }
    Ok(Empty {})
}
