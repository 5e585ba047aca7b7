//! What subscribers get: SNS's JSON and headers, signed.
//!
//! SNS signs with a certificate that only AWS has. Here a secret of the topic signs instead, which
//! its owner reads among the topic's attributes: the fields are the same, the algorithm is HMAC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sagebrush_core::Timestamp;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::record::Notice;
use crate::attribute;
use crate::topics::{Protocol, SubscriptionId, SubscriptionSpec};

/// What `SignatureVersion` says.
const SIGNATURE_VERSION: &str = "HMAC-SHA256";

/// The secret that all topics' secrets are made from.
#[derive(Clone)]
pub(crate) struct Signer(pub(crate) [u8; 32]);

impl Signer {
    /// The secret of a topic: 64 hexadecimal digits, which are the key as they stand.
    pub(crate) fn secret_of(&self, topic_arn: &str) -> String {
        hex::encode(mac(&self.0, format!("sns-signature {topic_arn}").as_bytes()))
    }

    /// The header that covers the whole body of a request.
    pub(super) fn header(&self, topic_arn: &str, body: &[u8]) -> String {
        let sum = mac(self.secret_of(topic_arn).as_bytes(), body);
        format!("sha256={}", hex::encode(sum))
    }

    fn signature(&self, topic_arn: &str, text: &str) -> String {
        STANDARD.encode(mac(self.secret_of(topic_arn).as_bytes(), text.as_bytes()))
    }
}

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "an HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// `SubscriptionConfirmation` or `Notification`.
pub(super) fn kind(notice: &Notice) -> &'static str {
    if notice.confirms.is_some() { "SubscriptionConfirmation" } else { "Notification" }
}

/// The JSON around a message.
pub(super) fn json(
    signer: &Signer,
    notice: &Notice,
    published_at: Timestamp,
    id: &SubscriptionId,
    subscription: &SubscriptionSpec,
) -> String {
    let text = notice.text(subscription.protocol);
    let mut signed = vec![("Message", text), ("MessageId", &notice.message_id)];
    if let Some(confirms) = &notice.confirms {
        signed.push(("SubscribeURL", &confirms.subscribe_url));
    } else if let Some(subject) = &notice.subject {
        signed.push(("Subject", subject));
    }
    let timestamp = timestamp(published_at);
    signed.push(("Timestamp", &timestamp));
    if let Some(confirms) = &notice.confirms {
        signed.push(("Token", &confirms.token));
    }
    signed.extend([("TopicArn", &*notice.topic_arn), ("Type", kind(notice))]);
    let lines: String = signed.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect();
    let signature = signer.signature(&notice.topic_arn, &lines);
    let mut fields: Map<String, Value> =
        signed.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("SignatureVersion", SIGNATURE_VERSION.into());
    put("Signature", signature.into());
    put("SigningCertURL", "".into());
    if notice.confirms.is_none() {
        let base = &subscription.base_url;
        put("UnsubscribeURL", unsubscribe_url(base, id).into());
        if !notice.attributes.is_empty() {
            put("MessageAttributes", attributes(notice));
        }
    }
    Value::Object(fields).to_string()
}

/// The headers beside the content type.
pub(super) fn headers(
    signer: &Signer,
    notice: &Notice,
    id: &SubscriptionId,
    subscription: &SubscriptionSpec,
    body: &str,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("x-amz-sns-message-type", kind(notice).to_owned()),
        ("x-amz-sns-message-id", notice.message_id.clone()),
        ("x-amz-sns-topic-arn", notice.topic_arn.clone()),
        ("x-sagebrush-signature", signer.header(&notice.topic_arn, body.as_bytes())),
    ];
    if notice.confirms.is_none() {
        headers.push(("x-amz-sns-subscription-arn", id.arn()));
        if subscription.protocol != Protocol::Sqs && subscription.is_raw() {
            headers.push(("x-amz-sns-rawdelivery", "true".to_owned()));
        }
    }
    headers
}

fn attributes(notice: &Notice) -> Value {
    let one = |attribute: &attribute::Attribute| {
        let (attribute::Value::Text(value) | attribute::Value::Binary(value)) = &attribute.value;
        json!({ "Type": attribute.data_type, "Value": value })
    };
    let all = notice.attributes.iter().map(|(name, attribute)| (name.clone(), one(attribute)));
    Value::Object(all.collect())
}

pub(crate) fn subscribe_url(base_url: &str, topic_arn: &str, token: &str) -> String {
    format!("{base_url}/?Action=ConfirmSubscription&TopicArn={topic_arn}&Token={token}")
}

pub(super) fn unsubscribe_url(base_url: &str, id: &SubscriptionId) -> String {
    format!("{base_url}/?Action=Unsubscribe&SubscriptionArn={}", id.arn())
}

/// `2012-05-02T00:54:06.655Z`
fn timestamp(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
