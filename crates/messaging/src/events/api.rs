//! The API of EventBridge: rules. `api/targets.rs` has their targets, `api/put.rs` events.

mod put;
mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_wire::{Empty, events as wire};

use super::Events;
use super::error::EventError;
use super::rules::{Rule, RuleSpec};

/// How much a list has, unless it is told.
const LISTED: usize = 100;

/// The only bus.
const BUS: &str = "default";

/// The operations of EventBridge that are served.
pub(crate) fn operations() -> Dispatch<Events> {
    let rules = Dispatch::new()
        .on::<wire::PutRule, _, _>(put_rule)
        .on::<wire::DescribeRule, _, _>(describe_rule)
        .on::<wire::ListRules, _, _>(list_rules)
        .on::<wire::EnableRule, _, _>(enable_rule)
        .on::<wire::DisableRule, _, _>(disable_rule)
        .on::<wire::DeleteRule, _, _>(delete_rule);
    put::operations(targets::operations(rules))
}

async fn put_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::PutRuleRequest,
) -> Result<wire::PutRuleResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    if input.schedule_expression.is_some() {
        let reason = "A rule with a ScheduleExpression";
        return Err(EventError::not_served(reason).into());
    }
    if input.tags.is_some_and(|tags| !tags.is_empty()) {
        return Err(EventError::not_served("Tags of a rule").into());
    }
    let is_enabled = match input.state {
        None | Some(wire::RuleState::Enabled) => true,
        Some(wire::RuleState::Disabled) => false,
        Some(wire::RuleState::EnabledWithAllCloudtrailManagementEvents) => {
            let state = "The State ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS";
            return Err(EventError::not_served(state).into());
        }
    };
    let pattern = input.event_pattern.ok_or_else(|| {
        EventError::Invalid("Parameter(s) EventPattern must be specified.".to_owned())
    })?;
    let (description, role_arn) = (input.description, input.role_arn);
    let targets = BTreeMap::new();
    let spec = RuleSpec { pattern, is_enabled, description, role_arn, targets };
    state.rules.put(&ctx.region, &input.name, spec).await?;
    Ok(wire::PutRuleResponse { rule_arn: Some(state.rules.arn(&ctx.region, &input.name)) })
}

async fn describe_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::DescribeRuleRequest,
) -> Result<wire::DescribeRuleResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let rule = state.rules.get(&ctx.region, &input.name)?;
    let wire::Rule { name, arn, event_pattern, state: enabled, description, role_arn, .. } =
        described(&state, &rule);
    Ok(wire::DescribeRuleResponse {
        name,
        arn,
        event_pattern,
        state: enabled,
        description,
        role_arn,
        event_bus_name: Some(BUS.to_owned()),
        created_by: Some(ctx.account.to_string()),
        ..wire::DescribeRuleResponse::default()
    })
}

fn described(state: &Events, rule: &Rule) -> wire::Rule {
    let stored = &rule.stored;
    let enabled =
        if stored.spec.is_enabled { wire::RuleState::Enabled } else { wire::RuleState::Disabled };
    wire::Rule {
        name: Some(stored.name.clone()),
        arn: Some(state.rules.arn(&stored.region, &stored.name)),
        event_pattern: Some(stored.spec.pattern.clone()),
        state: Some(enabled),
        description: stored.spec.description.clone(),
        role_arn: stored.spec.role_arn.clone(),
        event_bus_name: Some(BUS.to_owned()),
        ..wire::Rule::default()
    }
}

async fn list_rules(
    state: Arc<Events>,
    ctx: Context,
    input: wire::ListRulesRequest,
) -> Result<wire::ListRulesResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let prefix = input.name_prefix.unwrap_or_default();
    let mut rules = state.rules.of_region(&ctx.region);
    rules.retain(|rule| rule.stored.name.starts_with(&prefix));
    let name = |rule: &Arc<Rule>| rule.stored.name.clone();
    let (rules, next_token) = page(rules, input.limit, input.next_token, name);
    let rules = rules.iter().map(|rule| described(&state, rule)).collect();
    Ok(wire::ListRulesResponse { rules: Some(rules), next_token })
}

async fn enable_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::EnableRuleRequest,
) -> Result<Empty, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    state.rules.change(&ctx.region, &input.name, |rule| rule.is_enabled = true).await?;
    Ok(Empty {})
}

async fn disable_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::DisableRuleRequest,
) -> Result<Empty, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    state.rules.change(&ctx.region, &input.name, |rule| rule.is_enabled = false).await?;
    Ok(Empty {})
}

async fn delete_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::DeleteRuleRequest,
) -> Result<Empty, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    state.rules.delete(&ctx.region, &input.name).await?;
    Ok(Empty {})
}

/// Names and ARNs of the one bus are fine.
fn check_bus(name: Option<&str>) -> Result<(), EventError> {
    let name = name.unwrap_or(BUS);
    let is_known = name == BUS || name.ends_with(":event-bus/default");
    if is_known { Ok(()) } else { Err(EventError::NoBus(name.to_owned())) }
}

/// The items after that of the token, and the token of the next page. They are sorted by it.
fn page<T>(
    items: Vec<T>,
    limit: Option<i32>,
    token: Option<String>,
    token_of: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(LISTED);
    let is_behind = |item: &T| token.as_ref().is_none_or(|token| token_of(item) > *token);
    let mut items: Vec<T> = items.into_iter().filter(is_behind).take(limit + 1).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(token_of);
    (items, next)
}
