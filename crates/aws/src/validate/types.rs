//! Whether the JSON types are those of the model.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sagebrush_wire::Shape;
use serde_json::Value;

/// Says the first thing that is of another type than the model has.
pub(super) fn check(shape: &Shape, value: &Value) -> Result<(), String> {
    match (shape, value) {
        (_, Value::Null) => Ok(()),
        (Shape::Structure(members), Value::Object(fields)) => members
            .iter()
            .filter_map(|member| fields.get(member.name).map(|field| (member, field)))
            .try_for_each(|(member, field)| check(member.shape, field)),
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.iter().try_for_each(|item| check(member, item))
        }
        (Shape::Map { value: entry, .. }, Value::Object(entries)) => {
            entries.values().try_for_each(|value| check(entry, value))
        }
        (Shape::String { .. }, Value::String(_))
        | (Shape::Boolean, Value::Bool(_))
        | (Shape::Float { .. } | Shape::Timestamp, Value::Number(_)) => Ok(()),
        (Shape::Integer { .. }, Value::Number(number)) if !number.is_f64() => Ok(()),
        (Shape::Blob { .. }, Value::String(text)) => {
            STANDARD.decode(text).map(drop).map_err(|_| "Invalid base64 in a Blob".to_owned())
        }
        (
            Shape::Structure(_)
            | Shape::List { .. }
            | Shape::Map { .. }
            | Shape::String { .. }
            | Shape::Integer { .. }
            | Shape::Float { .. }
            | Shape::Boolean
            | Shape::Timestamp
            | Shape::Blob { .. },
            _,
        ) => Err(mismatch(shape, value)),
    }
}

fn mismatch(shape: &Shape, value: &Value) -> String {
    let token = match value {
        Value::Array(_) => return "Start of list found where not expected".to_owned(),
        Value::Object(_) => {
            return "Start of structure or map found where not expected.".to_owned();
        }
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(number) if number.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
    };
    let wanted = match shape {
        Shape::Structure(_) => return "Unexpected field type".to_owned(),
        Shape::List { .. } => "List",
        Shape::Map { .. } => "Map",
        Shape::String { .. } => "String",
        Shape::Integer { .. } => "Integer",
        Shape::Float { .. } => "Double",
        Shape::Boolean => "Boolean",
        Shape::Timestamp => "Timestamp",
        Shape::Blob { .. } => "Blob",
    };
    let article = if wanted.starts_with('I') { "an" } else { "a" };
    format!("{token} can not be converted to {article} {wanted}")
}
