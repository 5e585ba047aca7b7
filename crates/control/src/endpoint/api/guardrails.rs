//! `DeploymentConfig`: read, and checked as SageMaker does.

use std::collections::BTreeSet;
use std::time::Duration;

use sagebrush_aws::ApiError;
use sagebrush_core::Region;
use sagebrush_core::alarms::Alarms;
use sagebrush_wire::sagemaker as wire;

use crate::endpoint::Deployment;
use crate::endpoint::rollout::{Policy, Size, Traffic, Way};
use crate::endpoint_config::Scaling;

/// What is asked for.
///
/// # Errors
/// For members that do not go together.
pub(super) fn policy(config: Option<&wire::DeploymentConfig>) -> Result<Policy, ApiError> {
    let Some(config) = config else { return Ok(Policy::default()) };
    let alarms = alarms(config.auto_rollback_configuration.as_ref())?;
    match (&config.blue_green_update_policy, &config.rolling_update_policy) {
        (Some(_), Some(_)) => Err(refused(
            "has both a BlueGreenUpdatePolicy and a RollingUpdatePolicy; only one can be used",
        )),
        (None, None) => Ok(Policy { alarms, ..Policy::default() }),
        (Some(blue_green), None) => {
            let routing = &blue_green.traffic_routing_configuration;
            Ok(Policy {
                way: Way::BlueGreen {
                    traffic: traffic(routing)?,
                    termination_wait: seconds(blue_green.termination_wait_in_seconds.unwrap_or(0)),
                },
                bake: seconds(routing.wait_interval_in_seconds),
                timeout: blue_green.maximum_execution_timeout_in_seconds.map(seconds),
                alarms,
            })
        }
        (None, Some(rolling)) => Ok(Policy {
            way: Way::Rolling {
                batch: size("MaximumBatchSize", &rolling.maximum_batch_size, 5..=50)?,
                rollback: rolling
                    .rollback_maximum_batch_size
                    .as_ref()
                    .map(|given| size("RollbackMaximumBatchSize", given, 1..=100))
                    .transpose()?,
            },
            bake: seconds(rolling.wait_interval_in_seconds),
            timeout: rolling.maximum_execution_timeout_in_seconds.map(seconds),
            alarms,
        }),
    }
}

fn traffic(routing: &wire::TrafficRoutingConfig) -> Result<Traffic, ApiError> {
    let refuse = |member: &str, verb: &str| {
        let kind = routing.r#type.as_str();
        Err(refused(&format!("has the Type {kind}, which {verb} a {member}")))
    };
    match (routing.r#type, &routing.canary_size, &routing.linear_step_size) {
        (wire::TrafficRoutingConfigType::AllAtOnce, None, None) => Ok(Traffic::AllAtOnce),
        (wire::TrafficRoutingConfigType::Canary, Some(given), None) => {
            Ok(Traffic::Canary(size("CanarySize", given, 1..=50)?))
        }
        (wire::TrafficRoutingConfigType::Linear, None, Some(given)) => {
            Ok(Traffic::Linear(size("LinearStepSize", given, 10..=50)?))
        }
        (wire::TrafficRoutingConfigType::Canary, None, _) => refuse("CanarySize", "needs"),
        (wire::TrafficRoutingConfigType::Linear, _, None) => refuse("LinearStepSize", "needs"),
        (
            wire::TrafficRoutingConfigType::AllAtOnce | wire::TrafficRoutingConfigType::Linear,
            Some(_),
            _,
        ) => refuse("CanarySize", "cannot have"),
        (
            wire::TrafficRoutingConfigType::AllAtOnce | wire::TrafficRoutingConfigType::Canary,
            _,
            Some(_),
        ) => refuse("LinearStepSize", "cannot have"),
    }
}

fn size(
    member: &str,
    given: &wire::CapacitySize,
    percents: std::ops::RangeInclusive<u32>,
) -> Result<Size, ApiError> {
    let value = u32::try_from(given.value).unwrap_or(0);
    match given.r#type {
        wire::CapacitySizeType::InstanceCount => Ok(Size::Instances(value)),
        wire::CapacitySizeType::CapacityPercent if percents.contains(&value) => {
            Ok(Size::Percent(value))
        }
        wire::CapacitySizeType::CapacityPercent => Err(refused(&format!(
            "has a {member} of {value} percent; it must be from {} to {} percent of the \
             variant's total instance count",
            percents.start(),
            percents.end()
        ))),
    }
}

fn alarms(config: Option<&wire::AutoRollbackConfig>) -> Result<Vec<String>, ApiError> {
    let given = config.and_then(|config| config.alarms.as_deref()).unwrap_or_default();
    let mut names = BTreeSet::new();
    for alarm in given {
        let Some(name) = alarm.alarm_name.as_deref() else {
            return Err(refused("has an alarm without an AlarmName"));
        };
        if !names.insert(name) {
            return Err(refused(&format!("names the alarm {name} twice")));
        }
    }
    Ok(given.iter().filter_map(|alarm| alarm.alarm_name.clone()).collect())
}

/// Refuses what cannot be done with `wanted`, or from `serving` to it.
///
/// # Errors
/// Says why.
pub(super) fn check(
    policy: &Policy,
    serving: Option<&Deployment>,
    wanted: &Deployment,
) -> Result<(), ApiError> {
    if policy.is_plain() {
        return Ok(());
    }
    for deployment in serving.into_iter().chain([wanted]) {
        check_scaling(policy, deployment)?;
    }
    let is_other =
        |serving: &&Deployment| serving.asynchronous.is_some() != wanted.asynchronous.is_some();
    if serving.filter(is_other).is_some() {
        return Err(refused(
            "cannot be used between an asynchronous endpoint and one that is not, where all \
             calls change at once",
        ));
    }
    check_sizes(policy, wanted)?;
    let steps = policy.bake.saturating_mul(policy.n_steps(wanted));
    let waits = steps.saturating_add(policy.termination_wait());
    match policy.timeout {
        Some(timeout) if timeout <= waits => Err(refused(&format!(
            "has a MaximumExecutionTimeoutInSeconds of {}, which must be larger than all that it \
             waits: {} seconds by WaitIntervalInSeconds and TerminationWaitInSeconds",
            timeout.as_secs(),
            waits.as_secs()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Calls decide how many instances a variant has that scales: steps of instances mean nothing.
fn check_scaling(policy: &Policy, deployment: &Deployment) -> Result<(), ApiError> {
    let counted = match policy.way {
        Way::Rolling { .. } => "a RollingUpdatePolicy, which is",
        Way::BlueGreen {
            traffic: Traffic::Canary(Size::Instances(_)) | Traffic::Linear(Size::Instances(_)),
            ..
        } => "a size of Type INSTANCE_COUNT, which is",
        Way::BlueGreen { .. } => return Ok(()),
    };
    for variant in &deployment.variants {
        let what = match variant.scaling {
            Scaling::Fixed => continue,
            Scaling::Serverless(_) => "ServerlessConfig",
            Scaling::Managed { .. } => "ManagedInstanceScaling",
        };
        return Err(refused(&format!(
            "has {counted} not for variants with {what}, as {} is in {}",
            variant.name, deployment.config
        )));
    }
    Ok(())
}

/// Counts of instances have the same limits as percents.
fn check_sizes(policy: &Policy, wanted: &Deployment) -> Result<(), ApiError> {
    let (member, size, least) = match policy.way {
        Way::BlueGreen { traffic: Traffic::AllAtOnce, .. } => return Ok(()),
        Way::BlueGreen { traffic: Traffic::Canary(size), .. } => ("CanarySize", size, 0),
        Way::BlueGreen { traffic: Traffic::Linear(size), .. } => ("LinearStepSize", size, 10),
        Way::Rolling { batch, .. } => ("MaximumBatchSize", batch, 5),
    };
    let Size::Instances(n) = size else { return Ok(()) };
    for variant in wanted.variants.iter().filter(|variant| variant.first_count() > 0) {
        let count = variant.first_count();
        let hundredfold = u64::from(n) * 100;
        if hundredfold > 50 * u64::from(count) || hundredfold < least * u64::from(count) {
            return Err(refused(&format!(
                "has a {member} of {n} instance(s); it must be from {} to 50 percent of the \
                 variant's total instance count, which is {count} for {}",
                least.max(1),
                variant.name
            )));
        }
    }
    Ok(())
}

/// Every alarm must be there to watch.
///
/// # Errors
/// Names those that are not.
pub(super) fn check_alarms(
    policy: &Policy,
    alarms: &dyn Alarms,
    region: &Region,
) -> Result<(), ApiError> {
    let is_missing = |name: &&String| alarms.state(region, name).is_none();
    let missing: Vec<&str> = policy.alarms.iter().filter(is_missing).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(refused(&format!(
        "names alarms in AutoRollbackConfiguration that do not exist: {}",
        missing.join(", ")
    )))
}

fn refused(what: &str) -> ApiError {
    ApiError::validation(format!("DeploymentConfig {what}."))
}

fn seconds(value: i32) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}
