//! The targets of rules.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Arn;
use sagebrush_wire::events as wire;

use super::{check_bus, page};
use crate::events::error::EventError;
use crate::events::rules::Target;
use crate::events::transform::{Input, is_path};
use crate::events::{Events, log_group};

pub(super) fn operations(rules: Dispatch<Events>) -> Dispatch<Events> {
    rules
        .on::<wire::PutTargets, _, _>(put_targets)
        .on::<wire::RemoveTargets, _, _>(remove_targets)
        .on::<wire::ListTargetsByRule, _, _>(list_targets_by_rule)
        .on::<wire::ListRuleNamesByTarget, _, _>(list_rule_names_by_target)
}

async fn put_targets(
    state: Arc<Events>,
    ctx: Context,
    input: wire::PutTargetsRequest,
) -> Result<wire::PutTargetsResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let targets = input.targets.into_iter().map(|target| read(&ctx, target));
    let targets = targets.collect::<Result<Vec<_>, _>>()?;
    state.rules.change(&ctx.region, &input.rule, |rule| rule.targets.extend(targets)).await?;
    Ok(wire::PutTargetsResponse { failed_entry_count: Some(0), failed_entries: Some(Vec::new()) })
}

/// A target with its id, if all that is asked of it is done here.
fn read(ctx: &Context, target: wire::Target) -> Result<(String, Target), EventError> {
    let refused = [
        ("KinesisParameters", target.kinesis_parameters.is_some()),
        ("RunCommandParameters", target.run_command_parameters.is_some()),
        ("EcsParameters", target.ecs_parameters.is_some()),
        ("BatchParameters", target.batch_parameters.is_some()),
        ("SqsParameters", target.sqs_parameters.is_some()),
        ("HttpParameters", target.http_parameters.is_some()),
        ("RedshiftDataParameters", target.redshift_data_parameters.is_some()),
        ("SageMakerPipelineParameters", target.sage_maker_pipeline_parameters.is_some()),
        ("AppSyncParameters", target.app_sync_parameters.is_some()),
        ("DeadLetterConfig", target.dead_letter_config.is_some()),
        ("RetryPolicy", target.retry_policy.is_some()),
    ];
    if let Some((member, _)) = refused.iter().find(|(_, is_given)| *is_given) {
        return Err(EventError::not_served(&format!("{member} of a target")));
    }
    check_arn(ctx, &target.arn)?;
    let input = match (target.input, target.input_path, target.input_transformer) {
        (None, None, None) => Input::Whole,
        (Some(text), None, None) => {
            let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let error = || EventError::Invalid("JSON syntax error in input for target".to_owned());
            is_json.then_some(Input::Text(text)).ok_or_else(error)?
        }
        (None, Some(path), None) => Input::Part(checked(path)?),
        (None, None, Some(transformer)) => {
            let paths = transformer.input_paths_map.unwrap_or_default();
            for path in paths.values() {
                checked(path.clone())?;
            }
            Input::Template { paths, template: transformer.input_template }
        }
        _ => {
            let reason = "Only one of Input, InputPath, or InputTransformer must be provided";
            return Err(EventError::Invalid(format!("{reason} for target {}.", target.id)));
        }
    };
    Ok((target.id, Target { arn: target.arn, role_arn: target.role_arn, input }))
}

fn checked(path: String) -> Result<String, EventError> {
    let error = || EventError::Invalid(format!("Invalid InputPath for target: {path}"));
    if is_path(&path) { Ok(path) } else { Err(error()) }
}

/// Topics, queues and log groups of this account.
fn check_arn(ctx: &Context, arn: &str) -> Result<(), EventError> {
    let parsed: Option<Arn> = arn.parse().ok();
    let Some(parsed) = parsed.filter(|parsed| *parsed.account == *ctx.account.0) else {
        let reason = "Provided Arn is not in correct format";
        return Err(EventError::Invalid(format!(
            "Parameter {arn} is not valid. Reason: {reason}."
        )));
    };
    let is_served = match parsed.service.as_str() {
        "sns" | "sqs" => true,
        "logs" => log_group(&parsed).is_some_and(|group| group.starts_with("/aws/events/")),
        _ => false,
    };
    if is_served {
        return Ok(());
    }
    Err(EventError::Invalid(format!(
        "{arn} is not served as a target here: topics, queues and log groups whose names begin \
         with /aws/events/ are."
    )))
}

async fn remove_targets(
    state: Arc<Events>,
    ctx: Context,
    input: wire::RemoveTargetsRequest,
) -> Result<wire::RemoveTargetsResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let rule = state.rules.get(&ctx.region, &input.rule)?;
    let missing = input.ids.iter().filter(|id| !rule.stored.spec.targets.contains_key(*id));
    let missing: Vec<_> = missing
        .map(|id| wire::RemoveTargetsResultEntry {
            target_id: Some(id.clone()),
            error_code: Some("ResourceNotFoundException".to_owned()),
            error_message: Some(format!("Target {id} does not exist on rule {}.", input.rule)),
        })
        .collect();
    let is_kept = |id: &String| !input.ids.contains(id);
    let remove = |rule: &mut super::RuleSpec| rule.targets.retain(|id, _| is_kept(id));
    state.rules.change(&ctx.region, &input.rule, remove).await?;
    Ok(wire::RemoveTargetsResponse {
        failed_entry_count: i32::try_from(missing.len()).ok(),
        failed_entries: Some(missing),
    })
}

async fn list_targets_by_rule(
    state: Arc<Events>,
    ctx: Context,
    input: wire::ListTargetsByRuleRequest,
) -> Result<wire::ListTargetsByRuleResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let rule = state.rules.get(&ctx.region, &input.rule)?;
    let targets: Vec<_> = rule.stored.spec.targets.iter().collect();
    let id = |(id, _): &(&String, &Target)| (*id).clone();
    let (targets, next_token) = page(targets, input.limit, input.next_token, id);
    let targets = targets.into_iter().map(|(id, target)| listed(id, target)).collect();
    Ok(wire::ListTargetsByRuleResponse { targets: Some(targets), next_token })
}

fn listed(id: &str, target: &Target) -> wire::Target {
    let (mut input, mut input_path, mut input_transformer) = (None, None, None);
    match target.input.clone() {
        Input::Whole => {}
        Input::Text(text) => input = Some(text),
        Input::Part(path) => input_path = Some(path),
        Input::Template { paths, template } => {
            input_transformer = Some(wire::InputTransformer {
                input_paths_map: Some(paths).filter(|paths| !paths.is_empty()),
                input_template: template,
            });
        }
    }
    wire::Target {
        id: id.to_owned(),
        arn: target.arn.clone(),
        role_arn: target.role_arn.clone(),
        input,
        input_path,
        input_transformer,
        kinesis_parameters: None,
        run_command_parameters: None,
        ecs_parameters: None,
        batch_parameters: None,
        sqs_parameters: None,
        http_parameters: None,
        redshift_data_parameters: None,
        sage_maker_pipeline_parameters: None,
        dead_letter_config: None,
        retry_policy: None,
        app_sync_parameters: None,
    }
}

async fn list_rule_names_by_target(
    state: Arc<Events>,
    ctx: Context,
    input: wire::ListRuleNamesByTargetRequest,
) -> Result<wire::ListRuleNamesByTargetResponse, ApiError> {
    check_bus(input.event_bus_name.as_deref())?;
    let mut rules = state.rules.of_region(&ctx.region);
    rules.retain(|rule| rule.stored.spec.targets.values().any(|it| it.arn == input.target_arn));
    let names = rules.iter().map(|rule| rule.stored.name.clone()).collect();
    let (names, next_token) = page(names, input.limit, input.next_token, String::clone);
    Ok(wire::ListRuleNamesByTargetResponse { rule_names: Some(names), next_token })
}
