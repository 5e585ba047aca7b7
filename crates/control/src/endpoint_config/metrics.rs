//! `MetricsConfig`: how often the metrics of an endpoint are published, and whether by instance.

use std::time::Duration;

use sagebrush_aws::ApiError;
use sagebrush_core::route::MetricsConfig;
use sagebrush_wire::sagemaker as wire;

/// SageMaker's frequencies.
const FREQUENCIES: [i32; 7] = [10, 30, 60, 120, 180, 240, 300];

pub(super) fn metrics(config: Option<&wire::MetricsConfig>) -> Result<MetricsConfig, ApiError> {
    let default = MetricsConfig::default();
    let Some(config) = config else { return Ok(default) };
    let publish_each = match config.metric_publish_frequency_in_seconds {
        None => default.publish_each,
        Some(seconds) if FREQUENCIES.contains(&seconds) => {
            Duration::from_secs(seconds.unsigned_abs().into())
        }
        Some(other) => {
            return Err(ApiError::validation(format!(
                "MetricPublishFrequencyInSeconds {other} is not one of 10, 30, 60, 120, 180, 240 \
                 and 300."
            )));
        }
    };
    let is_enhanced = config.enable_enhanced_metrics.unwrap_or(default.is_enhanced);
    Ok(MetricsConfig { is_enhanced, publish_each })
}

/// Whether it asks for metrics that containers tell by themselves.
pub(super) fn is_detailed(config: Option<&wire::MetricsConfig>) -> bool {
    config.and_then(|config| config.enable_detailed_observability).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sagebrush_wire::sagemaker as wire;

    use super::{is_detailed, metrics};

    fn config(
        is_enhanced: Option<bool>,
        is_detailed: Option<bool>,
        seconds: Option<i32>,
    ) -> wire::MetricsConfig {
        wire::MetricsConfig {
            enable_enhanced_metrics: is_enhanced,
            enable_detailed_observability: is_detailed,
            metric_publish_frequency_in_seconds: seconds,
        }
    }

    #[test]
    fn what_is_given_counts_before_what_is_not() {
        let check = |given: Option<wire::MetricsConfig>, is_enhanced, seconds| {
            let read = metrics(given.as_ref()).unwrap();
            assert_eq!(
                (read.is_enhanced, read.publish_each),
                (is_enhanced, Duration::from_secs(seconds))
            );
        };
        check(None, false, 10);
        check(Some(config(None, None, None)), false, 10);
        check(Some(config(Some(true), None, None)), true, 10);
        check(Some(config(Some(false), Some(false), Some(300))), false, 300);
    }

    #[test]
    fn other_frequencies_are_refused() {
        for seconds in [-10, 0, 15, 301] {
            let refusal = metrics(Some(&config(None, None, Some(seconds)))).unwrap_err();
            assert!(refusal.message.contains("MetricPublishFrequencyInSeconds"), "{refusal:?}");
        }
    }

    #[test]
    fn only_true_asks_for_details() {
        for (given, wanted) in [(None, false), (Some(false), false), (Some(true), true)] {
            assert_eq!(is_detailed(Some(&config(None, given, None))), wanted);
        }
        assert!(!is_detailed(None));
    }
}
