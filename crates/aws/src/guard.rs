//! May the caller do this? What a call of the control plane asks for, in the words of policies.

use http::StatusCode;
use sagebrush_core::access::{Asked, Authorizer, Caller, Denied};
use serde_json::Value;

use crate::{ApiError, Context};

mod resources;
#[cfg(test)]
mod tests;

/// No ARN of ours is longer; patterns are held against them.
const LONGEST: usize = 2048;

impl Context {
    /// The caller, as policies know it.
    #[must_use]
    pub fn principal(&self) -> Caller<'_> {
        caller(&self.access_key, self.session.as_deref())
    }
}

/// Who signed, as policies know it.
#[must_use]
pub fn caller<'a>(access_key: &'a str, session: Option<&'a crate::sigv4::Session>) -> Caller<'a> {
    session.map_or(Caller::Key(access_key), |session| Caller::Session {
        role_arn: &session.role_arn,
        name: &session.name,
        policy: session.policy.as_deref(),
    })
}

/// Whether the caller may call `operation` of `service` with this input, which may be anything.
pub(crate) fn check(
    authorizer: &dyn Authorizer,
    (service, operation): (&str, &str),
    context: &Context,
    input: &Value,
) -> Result<(), Denied> {
    let caller = context.principal();
    let needs_nothing = (service, operation) == ("sts", "GetCallerIdentity");
    if needs_nothing || authorizer.is_unlimited(&caller) {
        return Ok(());
    }
    let Some(prefix) = prefix(service) else {
        return Err(Denied(format!("{service}:{operation} is not open to callers with policies")));
    };
    let action = format!("{prefix}:{}", action(service, operation));
    let resources = resources::of(service, operation, context, input);
    let policy = input.get("PolicyArn").and_then(Value::as_str).filter(|_| service == "iam");
    let more: Vec<_> = policy.map(|arn| ("iam:PolicyARN", arn)).into_iter().collect();
    for resource in &resources {
        ask(authorizer, context, Asked { more: &more, ..Asked::new(&action, resource) })?;
    }
    for role in resources::passed_roles(service, operation, input) {
        let to = format!("{service}.amazonaws.com");
        let more = [("iam:PassedToService", to.as_str())];
        ask(authorizer, context, Asked { more: &more, ..Asked::new("iam:PassRole", role) })?;
    }
    Ok(())
}

fn ask(authorizer: &dyn Authorizer, context: &Context, asked: Asked<'_>) -> Result<(), Denied> {
    if asked.resource.len() > LONGEST {
        return Err(Denied(format!("The resource of {} is too long", asked.action)));
    }
    let region = context.region.as_str();
    let Context { source_ip, is_secure, .. } = *context;
    let asked = Asked { region, source_ip, is_secure, ..asked };
    authorizer.check(&context.principal(), &asked)
}

/// What actions of a service begin with; `None` for a service whose actions nobody has named.
fn prefix(service: &str) -> Option<&str> {
    match service {
        "monitoring" => Some("cloudwatch"),
        "sagemaker"
        | "iam"
        | "sts"
        | "logs"
        | "sns"
        | "sqs"
        | "events"
        | "cloudtrail"
        | "application-autoscaling"
        | "xray" => Some(service),
        _ => None,
    }
}

/// Batches need what each of their entries needs.
fn action<'a>(service: &str, operation: &'a str) -> &'a str {
    match (service, operation) {
        ("sns", "PublishBatch") => "Publish",
        ("sqs", "SendMessageBatch" | "DeleteMessageBatch" | "ChangeMessageVisibilityBatch") => {
            operation.trim_end_matches("Batch")
        }
        (_, operation) => operation,
    }
}

/// The JSON services have another code than those of the query protocol.
pub fn denied(denied: Denied, is_query: bool) -> ApiError {
    if is_query {
        return ApiError::new("AccessDenied", StatusCode::FORBIDDEN, denied.0);
    }
    ApiError::access_denied(denied.0).once_called("AccessDenied")
}
