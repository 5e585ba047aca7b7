//! What the audit log is told of a call.

use std::sync::Arc;

use sagebrush_core::audit::{AuditedCall, Caller};
use sagebrush_wire::Shape;
use serde_json::Value;

use crate::{ApiError, Context};

/// A call that has no answer yet.
pub(crate) struct Heard(AuditedCall);

impl Heard {
    pub(crate) fn new(
        service: &str,
        operation: &str,
        parameters: Value,
        context: &Context,
    ) -> Self {
        let session =
            |session: &Arc<crate::sigv4::Session>| (session.role_arn.clone(), session.name.clone());
        Self(AuditedCall {
            region: context.region.clone(),
            account: context.account.clone(),
            request_id: context.request_id.clone(),
            service: service.to_owned(),
            operation: operation.to_owned(),
            caller: Caller {
                access_key: context.access_key.clone(),
                session: context.session.as_ref().map(session),
                source_ip: context.source_ip,
                user_agent: context.user_agent.clone(),
            },
            parameters,
            additional: Value::Null,
            response: Vec::new(),
            error: None,
        })
    }

    /// The call with what came of it. Answers of the query protocol are not JSON, and left out.
    pub(crate) fn answered(self, outcome: &Result<Vec<u8>, ApiError>) -> AuditedCall {
        let mut call = self.0;
        match outcome {
            Ok(body) if body.starts_with(b"{") => call.response.clone_from(body),
            Ok(_) => {}
            Err(error) => call.error = Some((error.code.to_string(), error.message.clone())),
        }
        call
    }
}

/// Writes the names of members as CloudTrail does: `endpointName` for `EndpointName`. What keys of
/// maps are called is their owners' business.
pub(crate) fn decapitalised(shape: &Shape, value: Value) -> Value {
    match (shape, value) {
        (Shape::Structure(members), Value::Object(fields)) => {
            let member = |name: &str| members.iter().find(|member| member.name == name);
            let field = |(name, value): (String, Value)| match member(&name) {
                Some(member) => (with_small_start(&name), decapitalised(member.shape, value)),
                None => (name, value),
            };
            fields.into_iter().map(field).collect()
        }
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.into_iter().map(|item| decapitalised(member, item)).collect()
        }
        (Shape::Map { value: shape, .. }, Value::Object(fields)) => {
            fields.into_iter().map(|(key, value)| (key, decapitalised(shape, value))).collect()
        }
        (_, value) => value,
    }
}

fn with_small_start(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use sagebrush_wire::Operation as _;
    use serde_json::json;

    use super::decapitalised;

    #[test]
    fn members_begin_small_and_keys_stay() {
        let input = json!({
            "ModelName": "m",
            "PrimaryContainer": {"Environment": {"A_Key": "1"}, "Unknown": 1},
            "Tags": [{"Key": "K", "Value": "V"}],
        });
        let expected = json!({
            "modelName": "m",
            "primaryContainer": {"environment": {"A_Key": "1"}, "Unknown": 1},
            "tags": [{"key": "K", "value": "V"}],
        });
        let shape = sagebrush_wire::sagemaker::CreateModel::input_shape();
        assert_eq!(decapitalised(shape, input), expected);
    }
}
