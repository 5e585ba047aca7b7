//! From the flat fields of a form to the value that JSON would have carried.

use std::collections::BTreeMap;

use sagebrush_wire::Shape;
use serde_json::{Map, Number, Value};

use super::Form;
use crate::ApiError;
use crate::validate::float;

/// No shape of STS or IAM nests deeper.
const MAX_STEPS: usize = 32;

/// Reads the fields that `shape` has; others (`Action`, `Version`) are passed over.
pub fn read(shape: &Shape, form: &Form) -> Result<Value, ApiError> {
    let mut root = Node::default();
    for (name, value) in &form.0 {
        let mut node = &mut root;
        for (index, step) in name.split('.').enumerate() {
            if index == MAX_STEPS {
                return Err(ApiError::serialization("A field is nested too deep"));
            }
            node = node.below.entry(step).or_default();
        }
        if node.value.replace(value).is_some() {
            return Err(ApiError::serialization("A field stands twice"));
        }
    }
    root.read(shape)
}

/// A step in the dotted names and what stands below it.
#[derive(Default)]
struct Node<'a> {
    value: Option<&'a str>,
    below: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn read(&self, shape: &Shape) -> Result<Value, ApiError> {
        match shape {
            Shape::Structure(members) => members
                .iter()
                .filter_map(|member| self.below.get(member.name).map(|node| (member, node)))
                .map(|(member, node)| Ok((member.name.to_owned(), node.read(member.shape)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
            Shape::List { member, .. } => {
                let items = self.numbered("member");
                items
                    .into_iter()
                    .map(|item| item.read(member))
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
            }
            Shape::Map { key, value, .. } => self
                .numbered("entry")
                .into_iter()
                .map(|entry| entry.pair(key, value))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
            Shape::String { .. }
            | Shape::Blob { .. }
            | Shape::Integer { .. }
            | Shape::Float { .. }
            | Shape::Boolean
            | Shape::Timestamp => plain(shape, self.value.unwrap_or_default()),
        }
    }

    /// What stands under `member.1`, `member.2`, .. or plainly under `1`, `2`, .., by number.
    fn numbered(&self, word: &str) -> Vec<&Node<'a>> {
        let list = self.below.get(word).unwrap_or(self);
        let number = |step: &&str| step.parse::<u32>().ok();
        let mut items: Vec<_> =
            list.below.iter().filter_map(|(step, node)| Some((number(step)?, node))).collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, node)| node).collect()
    }

    /// Most maps call their halves `key` and `value`; SNS has one with `Name` and `Value`.
    fn pair(&self, key: &Shape, value: &Shape) -> Result<(String, Value), ApiError> {
        let half = |word: &str, other: &str| self.below.get(word).or_else(|| self.below.get(other));
        let Some(name) = half("key", "Name").and_then(|node| node.value) else {
            return Err(ApiError::serialization("An entry of a map has no key"));
        };
        debug_assert!(matches!(key, Shape::String { .. }), "keys are strings");
        let empty = Node::default();
        let entry = half("value", "Value").unwrap_or(&empty).read(value)?;
        Ok((name.to_owned(), entry))
    }
}

/// Turns the text of a field into what its shape is in JSON.
fn plain(shape: &Shape, text: &str) -> Result<Value, ApiError> {
    let value = match shape {
        Shape::Integer { .. } => text.parse::<i64>().ok().map(Value::from),
        Shape::Float { .. } => text.parse().ok().map(float),
        Shape::Boolean => text.to_ascii_lowercase().parse::<bool>().ok().map(Value::from),
        Shape::Timestamp => match text.parse::<jiff::Timestamp>() {
            Ok(at) => Number::from_f64(at.as_duration().as_secs_f64()).map(Value::Number),
            Err(_) => number(text),
        },
        Shape::String { .. }
        | Shape::Blob { .. }
        | Shape::Structure(_)
        | Shape::List { .. }
        | Shape::Map { .. } => Some(text.into()),
    };
    value.ok_or_else(|| ApiError::serialization("A field has a value of another type"))
}

fn number(text: &str) -> Option<Value> {
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}
