//! The attributes of topics and subscriptions that their owner sets.

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::TopicError;
use crate::delivery;

type Attributes = BTreeMap<String, String>;

/// Sets an attribute of a topic; an empty value takes it away.
pub(super) fn set_of_topic(
    attributes: &mut Attributes,
    name: &str,
    value: &str,
) -> Result<(), TopicError> {
    match name {
        "DisplayName" if value.chars().count() > 100 => {
            return Err(invalid(name, "it has at most 100 characters"));
        }
        "DisplayName" | "Policy" => {}
        "DeliveryPolicy" if value.is_empty() => {}
        "DeliveryPolicy" => {
            let policy = delivery::of_topic(value);
            policy.map_err(|error| invalid(name, &error.to_string()))?;
        }
        "FifoTopic" | "ContentBasedDeduplication" if value == "false" => return Ok(()),
        "FifoTopic" | "ContentBasedDeduplication" => {
            return Err(invalid(name, "FIFO topics are not served here"));
        }
        _ => return Err(not_served(name)),
    }
    put(attributes, name, value);
    Ok(())
}

/// Sets an attribute of a subscription; an empty value takes it away.
pub(super) fn set_of_subscription(
    attributes: &mut Attributes,
    name: &str,
    value: &str,
) -> Result<(), TopicError> {
    match name {
        "RawMessageDelivery" if matches!(value, "true" | "false") => {}
        "RawMessageDelivery" => return Err(invalid(name, "it is true or false")),
        "RedrivePolicy" | "DeliveryPolicy" if value.is_empty() => {}
        "RedrivePolicy" => {
            let policy: Option<Value> = serde_json::from_str(value).ok();
            let target = policy.as_ref().and_then(|policy| policy["deadLetterTargetArn"].as_str());
            if !target.is_some_and(|target| target.starts_with("arn:aws:sqs:")) {
                return Err(invalid(name, "deadLetterTargetArn must name a queue"));
            }
        }
        "DeliveryPolicy" => {
            let policy = delivery::of_subscription(value);
            policy.map_err(|error| invalid(name, &error.to_string()))?;
        }
        _ => return Err(not_served(name)),
    }
    put(attributes, name, value);
    Ok(())
}

fn put(attributes: &mut Attributes, name: &str, value: &str) {
    if value.is_empty() {
        attributes.remove(name);
    } else {
        attributes.insert(name.to_owned(), value.to_owned());
    }
}

fn not_served(name: &str) -> TopicError {
    invalid("AttributeName", &format!("{name} is not served here"))
}

fn invalid(name: &str, reason: &str) -> TopicError {
    TopicError::invalid(name, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut Attributes, &str, &str) -> Result<(), TopicError>;

    fn check(set: Set, name: &str, value: &str, is_taken: bool) {
        let mut attributes = Attributes::new();
        let outcome = set(&mut attributes, name, value);
        assert_eq!(outcome.is_ok(), is_taken, "{name}={value}: {outcome:?}");
        let expected = Some(value).filter(|value| is_taken && !value.is_empty());
        assert_eq!(attributes.get(name).map(String::as_str), expected, "{name}={value}");
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let retry = r#"{"healthyRetryPolicy":{"numRetries":1}}"#;
        let dead = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:d"}"#;
        check(set_of_topic, "DisplayName", "Results", true);
        check(set_of_topic, "DisplayName", &"a".repeat(101), false);
        check(set_of_topic, "Policy", "{}", true);
        check(set_of_topic, "DeliveryPolicy", retry, false);
        check(set_of_topic, "FifoTopic", "true", false);
        check(set_of_topic, "KmsMasterKeyId", "alias/a", false);
        check(set_of_subscription, "RawMessageDelivery", "true", true);
        check(set_of_subscription, "RawMessageDelivery", "yes", false);
        check(set_of_subscription, "RedrivePolicy", dead, true);
        check(set_of_subscription, "RedrivePolicy", "", true);
        check(set_of_subscription, "RedrivePolicy", "{}", false);
        check(set_of_subscription, "DeliveryPolicy", retry, true);
        check(set_of_subscription, "DeliveryPolicy", "{", false);
        check(set_of_subscription, "FilterPolicy", "{}", false);
    }
}
