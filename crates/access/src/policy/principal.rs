//! Whom a trust policy trusts.

use serde_json::Value;

use super::facts::Facts;
use super::parse::{PolicyError, strings};

/// `Principal` of a trust policy. Services act through the server, never through a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principals {
    is_everybody: bool,
    /// ARNs and account numbers.
    aws: Vec<String>,
}

impl Principals {
    pub(super) fn parse(value: &Value) -> Result<Self, PolicyError> {
        let mut principals = Self { is_everybody: false, aws: Vec::new() };
        match value {
            Value::String(all) if all == "*" => principals.is_everybody = true,
            Value::Object(kinds) => {
                for (kind, named) in kinds {
                    principals.add(kind, strings("Principal", named)?)?;
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => return Err(PolicyError::Element("Principal".to_owned())),
        }
        Ok(principals)
    }

    fn add(&mut self, kind: &str, named: Vec<String>) -> Result<(), PolicyError> {
        match kind {
            "AWS" => {
                self.is_everybody |= named.iter().any(|name| name == "*");
                self.aws.extend(named);
                Ok(())
            }
            "Service" => Ok(()),
            other => Err(PolicyError::Unserved(format!("Principal {other}"))),
        }
    }

    /// Whether they name the caller: itself, its role, or its whole account.
    pub(super) fn name(&self, facts: &Facts<'_>) -> bool {
        let is_caller = |named: &String| {
            let named = named.as_str();
            let account = named
                .strip_prefix("arn:aws:iam::")
                .and_then(|rest| rest.strip_suffix(":root"))
                .unwrap_or(named);
            account == facts.account || named == facts.principal_arn || named == facts.caller_arn
        };
        self.is_everybody || self.aws.iter().any(is_caller)
    }
}
