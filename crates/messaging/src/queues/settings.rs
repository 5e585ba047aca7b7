//! The attributes of a queue that its owner sets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::QueueError;

/// The most bytes of a message, attributes included.
pub(crate) const MAX_MESSAGE: u32 = 262_144;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueSettings {
    /// In seconds, as the others.
    pub(super) visibility_timeout: u32,
    pub(super) message_retention_period: u32,
    pub(super) receive_message_wait_time: u32,
    pub(super) delay: u32,
    pub(super) maximum_message_size: u32,
    pub(super) redrive: Option<Redrive>,
    /// Kept for its owner; one account owns everything here.
    pub(super) policy: Option<String>,
}

/// What becomes of messages that are received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redrive {
    pub(super) dead_letter_target_arn: String,
    pub(super) max_receive_count: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            visibility_timeout: 30,
            message_retention_period: 345_600,
            receive_message_wait_time: 0,
            delay: 0,
            maximum_message_size: MAX_MESSAGE,
            redrive: None,
            policy: None,
        }
    }
}

impl QueueSettings {
    /// Changes what `attributes` name, all or nothing.
    pub(super) fn with(
        mut self,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Self, QueueError> {
        for (name, value) in attributes {
            self.set(name, value)?;
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QueueError> {
        let number = |low: u32, high: u32| {
            let number = value.parse().ok().filter(|number| (low..=high).contains(number));
            number.ok_or_else(|| QueueError::InvalidAttributeValue(name.to_owned()))
        };
        match name {
            "VisibilityTimeout" => self.visibility_timeout = number(0, 43_200)?,
            "MessageRetentionPeriod" => self.message_retention_period = number(60, 1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => self.receive_message_wait_time = number(0, 20)?,
            "DelaySeconds" => self.delay = number(0, 900)?,
            "MaximumMessageSize" => self.maximum_message_size = number(1024, MAX_MESSAGE)?,
            "RedrivePolicy" => self.redrive = redrive(value)?,
            "Policy" => self.policy = Some(value.to_owned()).filter(|policy| !policy.is_empty()),
            "FifoQueue"
            | "ContentBasedDeduplication"
            | "DeduplicationScope"
            | "FifoThroughputLimit" => return Err(QueueError::Fifo),
            other => return Err(QueueError::AttributeNotServed(other.to_owned())),
        }
        Ok(())
    }

    /// The attributes as their owner reads them.
    pub(super) fn attributes(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from(
            [
                ("VisibilityTimeout", self.visibility_timeout),
                ("MessageRetentionPeriod", self.message_retention_period),
                ("ReceiveMessageWaitTimeSeconds", self.receive_message_wait_time),
                ("DelaySeconds", self.delay),
                ("MaximumMessageSize", self.maximum_message_size),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_string())),
        );
        if let Some(redrive) = self.redrive.as_ref().and_then(|it| serde_json::to_string(it).ok()) {
            all.insert("RedrivePolicy".to_owned(), redrive);
        }
        if let Some(policy) = &self.policy {
            all.insert("Policy".to_owned(), policy.clone());
        }
        all
    }

    pub(super) fn retention(&self) -> Duration {
        Duration::from_secs(self.message_retention_period.into())
    }
}

/// Clients write the count as a number or as a text; an empty policy is none.
fn redrive(policy: &str) -> Result<Option<Redrive>, QueueError> {
    if policy.is_empty() {
        return Ok(None);
    }
    let invalid = || QueueError::InvalidAttributeValue("RedrivePolicy".to_owned());
    let policy: serde_json::Value = serde_json::from_str(policy).map_err(|_| invalid())?;
    let target = policy["deadLetterTargetArn"].as_str().ok_or_else(invalid)?;
    let count = &policy["maxReceiveCount"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    let count = count.and_then(|count| u32::try_from(count).ok());
    let count = count.filter(|count| (1..=1000).contains(count)).ok_or_else(invalid)?;
    Ok(Some(Redrive { dead_letter_target_arn: target.to_owned(), max_receive_count: count }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, expected: Result<&str, &str>) {
        let attributes = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let set = QueueSettings::default().with(&attributes);
        let outcome = set.map(|set| set.attributes().remove(name).unwrap_or_default());
        let outcome = outcome.map_err(|error| error.to_string());
        assert_eq!(outcome.as_deref().map_err(String::as_str), expected, "{name}={value}");
    }

    #[test]
    fn attributes_are_taken_within_their_bounds() {
        check("VisibilityTimeout", "0", Ok("0"));
        check("VisibilityTimeout", "43200", Ok("43200"));
        check(
            "VisibilityTimeout",
            "43201",
            Err("Invalid value for the parameter VisibilityTimeout."),
        );
        check("DelaySeconds", "-1", Err("Invalid value for the parameter DelaySeconds."));
        check("DelaySeconds", "one", Err("Invalid value for the parameter DelaySeconds."));
        check(
            "MessageRetentionPeriod",
            "59",
            Err("Invalid value for the parameter MessageRetentionPeriod."),
        );
        check("MaximumMessageSize", "262144", Ok("262144"));
        check("Policy", "{}", Ok("{}"));
        check("Policy", "", Ok(""));
        check("KmsMasterKeyId", "a", Err("The attribute KmsMasterKeyId is not served here."));
        check("FifoQueue", "true", Err("FIFO queues are not served here."));
    }

    #[test]
    fn a_redrive_policy_names_a_queue_and_a_count() {
        let policy = r#"{"deadLetterTargetArn":"arn:d","maxReceiveCount":3}"#;
        check("RedrivePolicy", policy, Ok(policy));
        check(
            "RedrivePolicy",
            r#"{"maxReceiveCount":"3","deadLetterTargetArn":"arn:d"}"#,
            Ok(policy),
        );
        check("RedrivePolicy", "", Ok(""));
        for bad in ["{", "{}", r#"{"deadLetterTargetArn":"a","maxReceiveCount":0}"#] {
            check("RedrivePolicy", bad, Err("Invalid value for the parameter RedrivePolicy."));
        }
    }
}
