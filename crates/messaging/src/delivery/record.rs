//! What the store keeps of a message until every subscription has it.

use std::collections::{BTreeMap, BTreeSet};

use sagebrush_core::resource::Resource;
use serde::{Deserialize, Serialize};

use crate::attribute::Attributes;
use crate::topics::Protocol;

#[derive(Debug, Clone)]
pub(crate) struct NoticeKind;

/// The word of those that are not with everybody yet.
pub(super) const WAITING: &str = "Waiting";

impl Resource for NoticeKind {
    const KIND: &'static str = "sns-message";
    type Spec = Notice;
    type Status = Left;

    fn status_word(left: &Left) -> &'static str {
        if left.names.is_empty() { "Done" } else { WAITING }
    }
}

/// What was published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) topic_arn: String,
    pub(crate) message_id: String,
    pub(crate) subject: Option<String>,
    pub(crate) body: String,
    /// What differs from `body` for some protocols.
    pub(crate) by_protocol: BTreeMap<String, String>,
    pub(crate) attributes: Attributes,
    /// Set in the message that asks to confirm a subscription.
    pub(crate) confirms: Option<Confirmation>,
    /// Whether its id is kept, so that it is not taken again.
    pub(crate) is_remembered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    pub(crate) token: String,
    pub(crate) subscribe_url: String,
}

/// The names of the subscriptions that it has not come to yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) names: BTreeSet<String>,
}

impl Notice {
    pub(crate) fn text(&self, protocol: Protocol) -> &str {
        self.by_protocol.get(protocol.as_str()).unwrap_or(&self.body)
    }
}
