//! From a document to a compiled policy. What it does not understand it refuses, by name.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::pattern::Pattern;
use super::principal::Principals;
use super::{Effect, Either, Policy, Statement};

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It says what its owner may do.
    Identity,
    /// It says who may assume a role.
    Trust,
}

/// Why a document is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("Syntax errors in policy: {0}")]
    Json(String),
    #[error("Syntax error in policy: {0} is missing or is not what it should be")]
    Element(String),
    #[error("{0} is not served here")]
    Unserved(String),
}

/// No document has more; the longest that IAM takes has some hundred.
const MAX_STATEMENTS: usize = 500;

impl Policy {
    /// Reads and compiles a document.
    ///
    /// # Errors
    /// When it is not a policy, or has what is not served here.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, PolicyError> {
        let value = sagebrush_aws::json::read(text.as_bytes());
        let value = value.map_err(|error| PolicyError::Json(error.message))?;
        let document = object("The policy", &value)?;
        known(document, &["Version", "Id", "Statement"])?;
        match document.get("Version").map(Value::as_str) {
            None | Some(Some("2012-10-17" | "2008-10-17")) => {}
            Some(_) => return Err(PolicyError::Element("Version".to_owned())),
        }
        let all = match document.get("Statement") {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        if all.is_empty() || all.len() > MAX_STATEMENTS {
            return Err(PolicyError::Element("Statement".to_owned()));
        }
        let statements =
            all.iter().map(|value| statement(value, kind)).collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }
}

const ELEMENTS: &[&str] =
    &["Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

fn statement(value: &Value, kind: Kind) -> Result<Statement, PolicyError> {
    let value = object("Statement", value)?;
    known(value, ELEMENTS)?;
    let effect = match value.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(_) | None => return Err(PolicyError::Element("Effect".to_owned())),
    };
    if value.get("Sid").is_some_and(|sid| !sid.is_string()) {
        return Err(PolicyError::Element("Sid".to_owned()));
    }
    let (principals, resources) = match (kind, value.get("Principal")) {
        (Kind::Identity, None) => (None, Some(either(value, "Resource", resource)?)),
        (Kind::Trust, Some(principal)) if !has_resource(value) => {
            (Some(Principals::parse(principal)?), None)
        }
        (Kind::Trust, Some(_)) => return Err(PolicyError::Element("Resource".to_owned())),
        (Kind::Identity, Some(_)) | (Kind::Trust, None) => {
            return Err(PolicyError::Element("Principal".to_owned()));
        }
    };
    let conditions = value.get("Condition").map_or(Ok(Vec::new()), conditions)?;
    let actions = either(value, "Action", action)?;
    Ok(Statement { effect, principals, actions, resources, conditions })
}

fn has_resource(statement: &Map<String, Value>) -> bool {
    statement.contains_key("Resource") || statement.contains_key("NotResource")
}

/// `Action` or `NotAction`; `Resource` or `NotResource`.
fn either(
    statement: &Map<String, Value>,
    name: &str,
    pattern: fn(&str) -> Option<Pattern>,
) -> Result<Either, PolicyError> {
    let wrong = || PolicyError::Element(name.to_owned());
    let not = format!("Not{name}");
    let (found, is_not) = match (statement.get(name), statement.get(&not)) {
        (Some(found), None) => (found, false),
        (None, Some(found)) => (found, true),
        (None, None) | (Some(_), Some(_)) => return Err(wrong()),
    };
    let all = strings(name, found)?;
    let patterns = all.iter().map(|text| pattern(text)).collect::<Option<Vec<_>>>();
    let patterns = patterns.filter(|patterns| !patterns.is_empty()).ok_or_else(wrong)?;
    Ok(if is_not { Either::NoneOf(patterns) } else { Either::AnyOf(patterns) })
}

/// `service:Operation` or `*`, in any case.
fn action(text: &str) -> Option<Pattern> {
    let is_named = text.split_once(':').is_some_and(|(service, operation)| {
        !service.is_empty() && !operation.is_empty() && !text.contains('$')
    });
    (is_named || text == "*").then(|| Pattern::wild(text).ignoring_case())
}

/// An ARN or `*`. Names of SageMaker are the same in any case, and its ARNs have the lower one.
fn resource(text: &str) -> Option<Pattern> {
    let is_named = text.starts_with("arn:") || text.starts_with('*');
    let pattern = Pattern::wild(text);
    let ignores_case = text.starts_with("arn:aws:sagemaker:") || text.starts_with('*');
    is_named.then(|| if ignores_case { pattern.ignoring_case() } else { pattern })
}

fn conditions(value: &Value) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in object("Condition", value)? {
        for (key, values) in object(operator, keys)? {
            conditions.push(Condition::parse(operator, key, &strings(key, values)?)?);
        }
    }
    Ok(conditions)
}

fn object<'v>(name: &str, value: &'v Value) -> Result<&'v Map<String, Value>, PolicyError> {
    value.as_object().ok_or_else(|| PolicyError::Element(name.to_owned()))
}

fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), PolicyError> {
    let other = object.keys().find(|key| !names.contains(&key.as_str()));
    other.map_or(Ok(()), |key| Err(PolicyError::Unserved(format!("The policy element {key}"))))
}

/// One string or a list of them; conditions also have numbers and truths.
pub(super) fn strings(name: &str, value: &Value) -> Result<Vec<String>, PolicyError> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(PolicyError::Element(name.to_owned()))
        }
    };
    match value {
        Value::Array(all) => all.iter().map(one).collect(),
        Value::String(_) | Value::Bool(_) | Value::Number(_) | Value::Null | Value::Object(_) => {
            Ok(vec![one(value)?])
        }
    }
}
