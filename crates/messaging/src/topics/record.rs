//! What the store keeps of topics and of subscriptions.

use std::collections::BTreeMap;

use sagebrush_core::resource::Resource;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone)]
pub(crate) struct TopicKind;

impl Resource for TopicKind {
    const KIND: &'static str = "sns-topic";
    type Spec = TopicSpec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicSpec {
    /// Those that were set: `DisplayName`, `Policy`, `DeliveryPolicy`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// Its name is what follows the topic in its ARN.
#[derive(Debug, Clone)]
pub(crate) struct SubscriptionKind;

impl Resource for SubscriptionKind {
    const KIND: &'static str = "sns-subscription";
    type Spec = SubscriptionSpec;
    type Status = SubscriptionStatus;

    fn status_word(_: &SubscriptionStatus) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionSpec {
    pub(crate) topic_arn: String,
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: String,
    /// Those that were set: `RawMessageDelivery`, `RedrivePolicy`, `DeliveryPolicy`.
    pub(crate) attributes: BTreeMap<String, String>,
    /// How who subscribed reaches this server; links in messages begin with it.
    pub(crate) base_url: String,
    /// What confirms it.
    pub(crate) token: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubscriptionStatus {
    /// Whether its endpoint has agreed. Queues need not.
    pub(crate) has_agreed: bool,
    /// Whether only who signs may end it.
    pub(crate) is_guarded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    Http,
    Https,
    Sqs,
    Email,
    EmailJson,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Sqs => "sqs",
            Self::Email => "email",
            Self::EmailJson => "email-json",
        }
    }
}

impl SubscriptionSpec {
    /// Whether messages come as they were published, without an envelope.
    pub(crate) fn is_raw(&self) -> bool {
        self.attributes.get("RawMessageDelivery").is_some_and(|raw| raw == "true")
    }

    /// The queue for what could not be delivered.
    pub(crate) fn dead_letter_target(&self) -> Option<String> {
        let policy = self.attributes.get("RedrivePolicy")?;
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        policy["deadLetterTargetArn"].as_str().map(str::to_owned)
    }
}
