//! The configurations of policies, read. What is not served is refused by its name.

mod metrics;

use sagebrush_core::cloudwatch::MetricMath;
use sagebrush_wire::application_autoscaling as wire;

use super::super::dimension::Dimension;
use super::super::step::{self, Adjustment, Step, StepScaling};
use super::super::target_tracking::{TargetTracking, TrackedMetric};
use super::{Refusal, count};

/// AWS: what a policy waits that does not say so.
const COOLDOWN_S: u32 = 300;
/// AWS: step adjustments of one policy.
const MAX_STEPS: usize = 20;

pub(super) fn step(config: &wire::StepScalingPolicyConfiguration) -> Result<StepScaling, Refusal> {
    let adjustment = match config.adjustment_type {
        Some(wire::AdjustmentType::ChangeInCapacity) => Adjustment::Change,
        Some(wire::AdjustmentType::PercentChangeInCapacity) => Adjustment::Percent,
        Some(wire::AdjustmentType::ExactCapacity) => Adjustment::Exact,
        None => return Err(invalid("AdjustmentType must be specified.")),
    };
    let steps = config.step_adjustments.as_deref().unwrap_or_default().iter().map(|step| Step {
        lower: step.metric_interval_lower_bound,
        upper: step.metric_interval_upper_bound,
        adjustment: step.scaling_adjustment,
    });
    let steps: Vec<_> = steps.collect();
    if steps.len() > MAX_STEPS {
        let words = format!("A scaling policy has at most {MAX_STEPS} step adjustments.");
        return Err(Refusal::LimitExceeded(words));
    }
    step::check(&steps, adjustment).map_err(Refusal::Invalid)?;
    let min_magnitude = count("MinAdjustmentMagnitude", config.min_adjustment_magnitude)?;
    if min_magnitude.is_some() && adjustment != Adjustment::Percent {
        return Err(invalid(
            "MinAdjustmentMagnitude can only be specified with PercentChangeInCapacity.",
        ));
    }
    Ok(StepScaling {
        adjustment,
        steps,
        min_magnitude: min_magnitude.unwrap_or_default(),
        cooldown_s: count("Cooldown", config.cooldown)?.unwrap_or(COOLDOWN_S),
    })
}

pub(super) fn target_tracking(
    config: &wire::TargetTrackingScalingPolicyConfiguration,
    dimension: Dimension,
    math: &dyn MetricMath,
) -> Result<TargetTracking, Refusal> {
    let predefined = config.predefined_metric_specification.as_ref();
    let customized = config.customized_metric_specification.as_ref();
    let metric = match (predefined, customized) {
        (Some(predefined), None) => self::predefined(predefined, dimension)?,
        (None, Some(customized)) => self::customized(customized, math)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid(
                "Either PredefinedMetricSpecification or CustomizedMetricSpecification must be \
                 specified, and not both.",
            ));
        }
    };
    if !(config.target_value.is_finite() && config.target_value > 0.0) {
        return Err(invalid("TargetValue must be greater than 0."));
    }
    let cooldown = |member, value| Ok::<_, Refusal>(count(member, value)?.unwrap_or(COOLDOWN_S));
    Ok(TargetTracking {
        target: config.target_value,
        metric,
        scale_out_cooldown_s: cooldown("ScaleOutCooldown", config.scale_out_cooldown)?,
        scale_in_cooldown_s: cooldown("ScaleInCooldown", config.scale_in_cooldown)?,
        disable_scale_in: config.disable_scale_in.unwrap_or_default(),
    })
}

fn predefined(
    metric: &wire::PredefinedMetricSpecification,
    dimension: Dimension,
) -> Result<TrackedMetric, Refusal> {
    use wire::MetricType::{
        SageMakerVariantConcurrentRequestsPerModelHighResolution,
        SageMakerVariantInvocationsPerInstance, SageMakerVariantProvisionedConcurrencyUtilization,
    };
    if metric.resource_label.is_some() {
        return Err(invalid("ResourceLabel does not go with a metric of SageMaker."));
    }
    let wanted = metric.predefined_metric_type;
    let served = match dimension {
        Dimension::InstanceCount => &[
            (SageMakerVariantInvocationsPerInstance, TrackedMetric::InvocationsPerInstance),
            (
                SageMakerVariantConcurrentRequestsPerModelHighResolution,
                TrackedMetric::ConcurrentRequestsPerModel,
            ),
        ][..],
        Dimension::ProvisionedConcurrency => &[(
            SageMakerVariantProvisionedConcurrencyUtilization,
            TrackedMetric::ProvisionedConcurrencyUtilization,
        )],
    };
    let found = served.iter().find(|(metric, _)| *metric == wanted);
    found.map(|(_, tracked)| tracked.clone()).ok_or_else(|| {
        let word = dimension.word();
        Refusal::Invalid(format!(
            "The predefined metric {wanted} does not go with scalable dimension {word}."
        ))
    })
}

fn customized(
    metric: &wire::CustomizedMetricSpecification,
    math: &dyn MetricMath,
) -> Result<TrackedMetric, Refusal> {
    if let Some(queries) = &metric.metrics {
        let is_alone = metric.metric_name.is_none()
            && metric.namespace.is_none()
            && metric.statistic.is_none()
            && metric.dimensions.is_none()
            && metric.unit.is_none();
        if !is_alone {
            return Err(invalid(
                "Metrics of CustomizedMetricSpecification excludes MetricName, Namespace, \
                 Dimensions, Statistic and Unit.",
            ));
        }
        return metrics::read(queries, math).map(TrackedMetric::Math);
    }
    let (Some(name), Some(namespace), Some(statistic)) =
        (&metric.metric_name, &metric.namespace, metric.statistic)
    else {
        return Err(invalid(
            "MetricName, Namespace and Statistic of CustomizedMetricSpecification must be \
             specified, or Metrics.",
        ));
    };
    let dimensions = metric.dimensions.as_deref().unwrap_or_default().iter();
    Ok(TrackedMetric::Customized {
        namespace: namespace.clone(),
        name: name.clone(),
        dimensions: dimensions.map(|pair| (pair.name.clone(), pair.value.clone())).collect(),
        statistic: statistic.as_str().to_owned(),
        unit: metric.unit.clone(),
    })
}

fn invalid(words: &str) -> Refusal {
    Refusal::Invalid(words.to_owned())
}
