//! The attributes of a message, which topics and queues both carry.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sagebrush_wire::{sns, sqs};
use serde::{Deserialize, Serialize};

/// By name.
pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// A value with the type that its owner gave it: `String`, `Number`, `Binary`, `Number.float`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attribute {
    pub(crate) data_type: String,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    Text(String),
    /// In base64, which is checked.
    Binary(String),
}

/// Why attributes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAttribute {
    #[error("a message has at most 10 attributes")]
    TooMany,
    #[error("the name `{0}` of a message attribute is not allowed")]
    Name(String),
    #[error("the message attribute `{0}` must have the type String, Number or Binary")]
    Type(String),
    #[error("the message attribute `{0}` must have one value, of its type, that is not empty")]
    Value(String),
}

const MOST: usize = 10;

impl Attribute {
    pub(crate) fn text(value: String) -> Self {
        Self { data_type: "String".to_owned(), value: Value::Text(value) }
    }

    /// The bytes that it counts with against the longest message.
    pub(crate) fn len(&self) -> usize {
        let value = match &self.value {
            Value::Text(text) => text.len(),
            Value::Binary(base64) => base64.len() / 4 * 3,
        };
        self.data_type.len() + value
    }

    fn read(
        name: &str,
        data_type: String,
        text: Option<String>,
        binary: Option<String>,
    ) -> Result<Self, InvalidAttribute> {
        let invalid = || InvalidAttribute::Value(name.to_owned());
        let value = match data_type.split('.').next() {
            Some("String") => Value::Text(text.ok_or_else(invalid)?),
            Some("Number") => {
                let text = text.ok_or_else(invalid)?;
                text.parse::<f64>().map_err(|_| invalid())?;
                Value::Text(text)
            }
            Some("Binary") => {
                let binary = binary.ok_or_else(invalid)?;
                STANDARD.decode(&binary).map_err(|_| invalid())?;
                Value::Binary(binary)
            }
            Some(_) | None => return Err(InvalidAttribute::Type(name.to_owned())),
        };
        let is_empty = match &value {
            Value::Text(text) | Value::Binary(text) => text.is_empty(),
        };
        if is_empty { Err(invalid()) } else { Ok(Self { data_type, value }) }
    }
}

/// The bytes of all of them, names included.
pub(crate) fn total_len(attributes: &Attributes) -> usize {
    attributes.iter().map(|(name, attribute)| name.len() + attribute.len()).sum()
}

/// The attributes of a call to SQS.
pub(crate) fn of_sqs(
    sent: Option<BTreeMap<String, sqs::MessageAttributeValue>>,
) -> Result<Attributes, InvalidAttribute> {
    let one = |name: &str, it: sqs::MessageAttributeValue| {
        Attribute::read(name, it.data_type, it.string_value, it.binary_value)
    };
    read_all(sent.unwrap_or_default(), one)
}

/// The attributes of a call to SNS.
pub(crate) fn of_sns(
    sent: Option<BTreeMap<String, sns::MessageAttributeValue>>,
) -> Result<Attributes, InvalidAttribute> {
    let one = |name: &str, it: sns::MessageAttributeValue| {
        Attribute::read(name, it.data_type, it.string_value, it.binary_value)
    };
    read_all(sent.unwrap_or_default(), one)
}

/// How a queue hands them out.
pub(crate) fn to_sqs(attributes: Attributes) -> BTreeMap<String, sqs::MessageAttributeValue> {
    let one = |Attribute { data_type, value }| {
        let (string_value, binary_value) = match value {
            Value::Text(text) => (Some(text), None),
            Value::Binary(base64) => (None, Some(base64)),
        };
        sqs::MessageAttributeValue {
            string_value,
            binary_value,
            data_type,
            ..sqs::MessageAttributeValue::default()
        }
    };
    attributes.into_iter().map(|(name, attribute)| (name, one(attribute))).collect()
}

fn read_all<T>(
    sent: BTreeMap<String, T>,
    read: impl Fn(&str, T) -> Result<Attribute, InvalidAttribute>,
) -> Result<Attributes, InvalidAttribute> {
    if sent.len() > MOST {
        return Err(InvalidAttribute::TooMany);
    }
    let one = |(name, value): (String, T)| {
        if is_name(&name) {
            let attribute = read(&name, value)?;
            Ok((name, attribute))
        } else {
            Err(InvalidAttribute::Name(name))
        }
    };
    sent.into_iter().map(one).collect()
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_dotted = name.starts_with('.') || name.ends_with('.') || name.contains("..");
    (1..=256).contains(&name.len()) && name.bytes().all(is_plain) && !is_dotted
}
