//! When a delivery that failed is tried again. Pure.

use std::time::Duration;

use serde::Deserialize;

/// `healthyRetryPolicy` of a `DeliveryPolicy`, in SNS's words.
///
/// First come the retries without delay, then those at the least delay, then those whose delay
/// grows, and last those at the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Schedule {
    num_retries: u32,
    num_no_delay_retries: u32,
    num_min_delay_retries: u32,
    num_max_delay_retries: u32,
    /// In seconds.
    min_delay_target: u32,
    max_delay_target: u32,
    backoff_function: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Backoff {
    Linear,
    Arithmetic,
    Geometric,
    Exponential,
}

/// Of a policy that leaves things out, as SNS has it.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            num_retries: 3,
            num_no_delay_retries: 0,
            num_min_delay_retries: 0,
            num_max_delay_retries: 0,
            min_delay_target: 20,
            max_delay_target: 20,
            backoff_function: Backoff::Linear,
        }
    }
}

/// Without any policy: at once, twice after a second, then up to ten minutes apart, for about an
/// hour.
pub(super) const USUAL: Schedule = Schedule {
    num_retries: 20,
    num_no_delay_retries: 1,
    num_min_delay_retries: 2,
    num_max_delay_retries: 4,
    min_delay_target: 1,
    max_delay_target: 600,
    backoff_function: Backoff::Exponential,
};

const MOST_RETRIES: u32 = 100;
const LONGEST_DELAY: u32 = 3600;

impl Schedule {
    /// How long to wait after `n_tried` attempts; `None` if there are no more.
    pub(super) fn delay_after(&self, n_tried: u32) -> Option<Duration> {
        let retry = n_tried.checked_sub(1).filter(|retry| *retry < self.num_retries)?;
        let (low, high) = (self.min_delay_target, self.max_delay_target);
        let Some(retry) = retry.checked_sub(self.num_no_delay_retries) else {
            return Some(Duration::ZERO);
        };
        let Some(retry) = retry.checked_sub(self.num_min_delay_retries) else {
            return Some(Duration::from_secs(low.into()));
        };
        let n_growing = self
            .num_retries
            .saturating_sub(self.num_no_delay_retries + self.num_min_delay_retries)
            .saturating_sub(self.num_max_delay_retries);
        if retry >= n_growing {
            return Some(Duration::from_secs(high.into()));
        }
        let done = f64::from(retry + 1) / f64::from(n_growing);
        let (low, high) = (f64::from(low), f64::from(high));
        let seconds = match self.backoff_function {
            Backoff::Linear => low + (high - low) * done,
            Backoff::Arithmetic => low + (high - low) * done * done,
            Backoff::Geometric | Backoff::Exponential => low * (high / low).powf(done),
        };
        Some(Duration::from_secs_f64(seconds))
    }

    fn is_valid(&self) -> bool {
        let counts =
            [self.num_no_delay_retries, self.num_min_delay_retries, self.num_max_delay_retries];
        let n_named: u64 = counts.into_iter().map(u64::from).sum();
        self.num_retries <= MOST_RETRIES
            && n_named <= self.num_retries.into()
            && (1..=LONGEST_DELAY).contains(&self.min_delay_target)
            && (self.min_delay_target..=LONGEST_DELAY).contains(&self.max_delay_target)
    }
}

/// The `DeliveryPolicy` of a subscription.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfSubscription {
    healthy_retry_policy: Option<Schedule>,
}

/// The `DeliveryPolicy` of a topic.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTopic {
    http: Option<OfHttp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfHttp {
    default_healthy_retry_policy: Option<Schedule>,
    disable_subscription_overrides: Option<bool>,
}

/// A `DeliveryPolicy` that cannot be kept to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPolicy {
    #[error("{0}")]
    Unreadable(#[from] serde_json::Error),
    #[error("a number of the retry policy is out of its bounds")]
    OutOfBounds,
    #[error("disableSubscriptionOverrides is not served here")]
    Overrides,
}

pub(crate) fn of_subscription(policy: &str) -> Result<Option<Schedule>, InvalidPolicy> {
    let policy: OfSubscription = serde_json::from_str(policy)?;
    valid(policy.healthy_retry_policy)
}

pub(crate) fn of_topic(policy: &str) -> Result<Option<Schedule>, InvalidPolicy> {
    let policy: OfTopic = serde_json::from_str(policy)?;
    let Some(http) = policy.http else { return Ok(None) };
    if http.disable_subscription_overrides == Some(true) {
        return Err(InvalidPolicy::Overrides);
    }
    valid(http.default_healthy_retry_policy)
}

fn valid(schedule: Option<Schedule>) -> Result<Option<Schedule>, InvalidPolicy> {
    match schedule {
        Some(schedule) if !schedule.is_valid() => Err(InvalidPolicy::OutOfBounds),
        schedule => Ok(schedule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: Schedule, expected: &[u64]) {
        let delays = (1..).map_while(|n_tried| schedule.delay_after(n_tried));
        let delays: Vec<u64> = delays.map(|delay| delay.as_secs()).collect();
        assert_eq!(delays, expected);
    }

    fn policy(retry: &str) -> Result<Option<Schedule>, InvalidPolicy> {
        of_subscription(&format!("{{\"healthyRetryPolicy\":{retry}}}"))
    }

    #[test]
    fn retries_come_quickly_at_first_and_are_bounded() {
        check(
            USUAL,
            &[0, 1, 1, 1, 2, 4, 7, 11, 19, 31, 51, 83, 137, 224, 366, 600, 600, 600, 600, 600],
        );
        check(Schedule::default(), &[20, 20, 20]);
    }

    #[test]
    fn an_owner_may_set_the_schedule() {
        let linear = r#"{"numRetries":6,"numNoDelayRetries":1,"numMinDelayRetries":1,
            "numMaxDelayRetries":1,"minDelayTarget":1,"maxDelayTarget":10}"#;
        check(policy(linear).unwrap().unwrap(), &[0, 1, 4, 7, 10, 10]);
        check(policy(r#"{"numRetries":0}"#).unwrap().unwrap(), &[]);
        let growing = r#"{"numRetries":3,"minDelayTarget":1,"maxDelayTarget":8,"backoffFunction":"exponential"}"#;
        check(policy(growing).unwrap().unwrap(), &[2, 4, 8]);
    }

    #[test]
    fn a_policy_that_cannot_be_kept_is_refused() {
        for bad in [
            r#"{"numRetries":101}"#,
            r#"{"minDelayTarget":0}"#,
            r#"{"minDelayTarget":30}"#,
            r#"{"maxDelayTarget":3601}"#,
            r#"{"numRetries":2,"numNoDelayRetries":3}"#,
            r#"{"numRetries":-1}"#,
            r#"{"backoffFunction":"none"}"#,
            r#"{"unknown":1}"#,
        ] {
            assert!(policy(bad).is_err(), "{bad}");
        }
        assert!(of_subscription(r#"{"throttlePolicy":{"maxReceivesPerSecond":1}}"#).is_err());
        assert!(of_topic(r#"{"http":{"disableSubscriptionOverrides":true}}"#).is_err());
        let topic = r#"{"http":{"defaultHealthyRetryPolicy":{"numRetries":1}}}"#;
        check(of_topic(topic).unwrap().unwrap(), &[20]);
    }
}
