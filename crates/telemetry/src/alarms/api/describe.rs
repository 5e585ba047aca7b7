//! `DescribeAlarms`, `DescribeAlarmsForMetric`, `DescribeAlarmHistory`.

mod shown;

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, page_token};
use sagebrush_core::cloudwatch::{MetricId, Series};
use sagebrush_core::store::Query;
use sagebrush_wire::cloudwatch as wire;

use super::{bad_token, from_wire, invalid, no_alarm, state_from_wire, to_wire};
use crate::alarms::history::{History, Item, ItemKind, Wanted};
use crate::alarms::record::{AlarmSpec, Source};
use crate::alarms::{AlarmId, Alarms, Known};

pub(super) use shown::{composite_alarm, metric_alarm};

/// How many alarms or items a page has, unless told otherwise.
const PAGE: usize = 50;
/// What tokens of lists of alarms begin with; the name of the last alarm follows.
const TOKEN: &str = "after:";
const HISTORY: &str = "cloudwatch-alarm-history";

pub(super) async fn describe_alarms(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::DescribeAlarmsInput,
) -> Result<wire::DescribeAlarmsOutput, ApiError> {
    let filter = Filter::of(&state, &ctx, &input)?;
    let after = match &input.next_token {
        Some(token) => Some(token.strip_prefix(TOKEN).ok_or_else(bad_token)?),
        None => None,
    };
    let all = state.of_region(&ctx.region).into_iter();
    let mut found = all.filter(|known| {
        after.is_none_or(|after| known.stored.name.as_str() > after) && filter.takes(known)
    });
    let page: Vec<Known> = found.by_ref().take(page_size(input.max_records)).collect();
    let next_token = match (page.last(), found.next()) {
        (Some(last), Some(_)) => Some(format!("{TOKEN}{}", last.stored.name)),
        (_, _) => None,
    };
    let (composite, metric): (Vec<_>, Vec<_>) =
        page.into_iter().partition(|known| known.stored.spec.composite().is_some());
    let id = |known: &Known| AlarmId::of(&known.stored);
    let composite = composite.iter().map(|it| composite_alarm(&state, &id(it), &it.stored));
    let metric = metric.iter().map(|it| metric_alarm(&state, &id(it), &it.stored));
    Ok(wire::DescribeAlarmsOutput {
        composite_alarms: Some(composite.collect()),
        metric_alarms: Some(metric.collect()),
        log_alarms: None,
        next_token,
    })
}

fn page_size(max: Option<i32>) -> usize {
    max.and_then(|max| usize::try_from(max).ok()).unwrap_or(PAGE)
}

/// What is asked for.
struct Filter {
    /// Names; of the alarms asked for, or of children or parents.
    names: Option<Vec<String>>,
    prefix: Option<String>,
    action_prefix: Option<String>,
    state: Option<sagebrush_core::alarms::AlarmState>,
    metric: bool,
    composite: bool,
}

impl Filter {
    fn of(
        state: &Alarms,
        ctx: &Context,
        input: &wire::DescribeAlarmsInput,
    ) -> Result<Self, ApiError> {
        if input.alarm_names.is_some() && input.alarm_name_prefix.is_some() {
            return Err(invalid("AlarmNames and AlarmNamePrefix exclude each other"));
        }
        let types = input.alarm_types.as_deref();
        let has = |wanted| types.map(|types| types.contains(&wanted));
        let mut filter = Self {
            names: input.alarm_names.clone().filter(|names| !names.is_empty()),
            prefix: input.alarm_name_prefix.clone(),
            action_prefix: input.action_prefix.clone(),
            state: input.state_value.map(state_from_wire),
            // As CloudWatch has it: only metric alarms, unless told otherwise.
            metric: has(wire::AlarmType::MetricAlarm).unwrap_or(true),
            composite: has(wire::AlarmType::CompositeAlarm).unwrap_or(false),
        };
        let related = match (&input.children_of_alarm_name, &input.parents_of_alarm_name) {
            (None, None) => return Ok(filter),
            (Some(_), Some(_)) => {
                let text = "ChildrenOfAlarmName and ParentsOfAlarmName exclude each other";
                return Err(invalid(text));
            }
            (Some(parent), None) => children(state, ctx, parent)?,
            (None, Some(child)) => parents(state, ctx, child)?,
        };
        let is_alone = input.alarm_names.is_none()
            && input.alarm_name_prefix.is_none()
            && input.alarm_types.is_none()
            && input.state_value.is_none()
            && input.action_prefix.is_none();
        if !is_alone {
            return Err(invalid(
                "ChildrenOfAlarmName and ParentsOfAlarmName exclude other filters",
            ));
        }
        (filter.names, filter.metric, filter.composite) = (Some(related), true, true);
        Ok(filter)
    }

    fn takes(&self, known: &Known) -> bool {
        let (name, spec) = (&known.stored.name, &known.stored.spec);
        let is_type = if spec.composite().is_some() { self.composite } else { self.metric };
        is_type
            && self.names.as_ref().is_none_or(|names| names.contains(name))
            && self.prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && self.state.is_none_or(|state| known.stored.status.now.state == state)
            && self.action_prefix.as_ref().is_none_or(|prefix| has_action(spec, prefix))
    }
}

fn has_action(spec: &AlarmSpec, prefix: &str) -> bool {
    let actions = [&spec.ok_actions, &spec.alarm_actions, &spec.insufficient_data_actions];
    actions.into_iter().flatten().any(|arn| arn.starts_with(prefix))
}

fn children(state: &Alarms, ctx: &Context, name: &str) -> Result<Vec<String>, ApiError> {
    let known = find(state, ctx, name)?;
    let rule = known.rule.as_deref();
    Ok(rule.map(|rule| rule.children()).unwrap_or_default().into_iter().map(Into::into).collect())
}

fn parents(state: &Alarms, ctx: &Context, name: &str) -> Result<Vec<String>, ApiError> {
    find(state, ctx, name)?;
    let all = state.of_region(&ctx.region).into_iter();
    let is_parent =
        |known: &Known| known.rule.as_ref().is_some_and(|rule| rule.children().contains(&name));
    Ok(all.filter(is_parent).map(|known| known.stored.name.clone()).collect())
}

fn find(state: &Alarms, ctx: &Context, name: &str) -> Result<Known, ApiError> {
    let id = AlarmId { region: ctx.region.clone(), name: name.to_owned() };
    state.find(&id).ok_or_else(|| no_alarm(name))
}

/// Alarms on expressions are not among them.
pub(super) async fn describe_alarms_for_metric(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::DescribeAlarmsForMetricInput,
) -> Result<wire::DescribeAlarmsForMetricOutput, ApiError> {
    let dimensions = input.dimensions.iter().flatten();
    let dimensions = dimensions.map(|it| (it.name.as_str().into(), it.value.as_str().into()));
    let metric = MetricId::new(&*input.namespace, &*input.metric_name, dimensions);
    let statistic = input.statistic.map(|it| it.as_str().to_owned()).or(input.extended_statistic);
    let is_asked = |series: &Series| {
        series.metric() == metric
            && statistic.as_ref().is_none_or(|statistic| series.statistic == *statistic)
            && input.period.is_none_or(|period| i64::from(period) == i64::from(series.period))
            && input.unit.is_none_or(|unit| series.unit.as_deref() == Some(unit.as_str()))
    };
    let watches = |known: &Known| match known.stored.spec.metric().map(|it| &it.source) {
        Some(Source::Metric(series)) => is_asked(series),
        Some(Source::Queries(_)) | None => false,
    };
    let all = state.of_region(&ctx.region);
    let found = all.iter().filter(|known| watches(known));
    let found = found.map(|it| metric_alarm(&state, &AlarmId::of(&it.stored), &it.stored));
    Ok(wire::DescribeAlarmsForMetricOutput { metric_alarms: Some(found.collect()) })
}

pub(super) async fn describe_alarm_history(
    state: Arc<Alarms>,
    ctx: Context,
    input: wire::DescribeAlarmHistoryInput,
) -> Result<wire::DescribeAlarmHistoryOutput, ApiError> {
    if input.alarm_contributor_id.is_some() {
        return Err(super::not_served("AlarmContributorId"));
    }
    let kind = match input.history_item_type {
        None => None,
        Some(wire::HistoryItemType::ConfigurationUpdate) => Some(ItemKind::ConfigurationUpdate),
        Some(wire::HistoryItemType::StateUpdate) => Some(ItemKind::StateUpdate),
        Some(wire::HistoryItemType::Action) => Some(ItemKind::Action),
        Some(
            kind @ (wire::HistoryItemType::AlarmContributorStateUpdate
            | wire::HistoryItemType::AlarmContributorAction),
        ) => return Err(super::not_served(&format!("HistoryItemType {kind}"))),
    };
    let types = input.alarm_types.unwrap_or_else(|| vec![wire::AlarmType::MetricAlarm]);
    let has = |wanted| types.contains(&wanted);
    let is_composite =
        match (has(wire::AlarmType::MetricAlarm), has(wire::AlarmType::CompositeAlarm)) {
            (true, true) => None,
            (is_metric, _) => Some(!is_metric),
        };
    let wanted = Wanted { alarm: input.alarm_name.as_deref(), kind, is_composite };
    let descending = input.scan_by != Some(wire::ScanBy::TimestampAscending);
    let mut query = Query {
        // The store's bounds are exclusive, these are not.
        created_after: input.start_date.map(|at| before(from_wire(at))),
        created_before: input.end_date.map(|at| after(from_wire(at))),
        ..History::query(&ctx.region, &wanted, descending)
    };
    if let Some(token) = &input.next_token {
        let decoded = page_token::decode(HISTORY, &query, token);
        query.after = Some(decoded.map_err(|_| bad_token())?);
    }
    let list = Query { after: None, ..query.clone() };
    let (items, next) = state.history.list(query, &wanted, page_size(input.max_records)).await?;
    let next_token = next.map(|next| page_token::encode(HISTORY, &list, &next));
    let items = items.into_iter().map(history_item).collect();
    Ok(wire::DescribeAlarmHistoryOutput { alarm_history_items: Some(items), next_token })
}

fn before(at: sagebrush_core::Timestamp) -> sagebrush_core::Timestamp {
    sagebrush_core::Timestamp(at.0.saturating_sub(1))
}

fn after(at: sagebrush_core::Timestamp) -> sagebrush_core::Timestamp {
    sagebrush_core::Timestamp(at.0.saturating_add(1))
}

fn history_item(item: Item) -> wire::AlarmHistoryItem {
    let kind = match item.kind {
        ItemKind::ConfigurationUpdate => wire::HistoryItemType::ConfigurationUpdate,
        ItemKind::StateUpdate => wire::HistoryItemType::StateUpdate,
        ItemKind::Action => wire::HistoryItemType::Action,
    };
    let composite = wire::AlarmType::CompositeAlarm;
    let alarm_type = if item.is_composite { composite } else { wire::AlarmType::MetricAlarm };
    wire::AlarmHistoryItem {
        alarm_name: Some(item.alarm),
        alarm_type: Some(alarm_type),
        timestamp: Some(to_wire(item.at)),
        history_item_type: Some(kind),
        history_summary: Some(item.summary),
        history_data: Some(item.data),
        ..wire::AlarmHistoryItem::default()
    }
}
