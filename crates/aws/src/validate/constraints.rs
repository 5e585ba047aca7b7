//! Whether the values keep the constraints of the model.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sagebrush_wire::Shape;
use serde_json::{Map, Value};

use super::path::Path;
use super::{pattern, render};

/// AWS lists all of them; past this many nobody reads on.
const MAX_VIOLATIONS: usize = 100;

pub(super) fn violations(shape: &'static Shape, value: &Value) -> Vec<String> {
    let mut walk = Walk { violations: Vec::new() };
    walk.value(shape, value, Path::Root);
    walk.violations
}

struct Walk {
    violations: Vec<String>,
}

impl Walk {
    fn value(&mut self, shape: &'static Shape, value: &Value, path: Path<'_>) {
        if self.violations.len() >= MAX_VIOLATIONS {
            return;
        }
        match (shape, value) {
            (Shape::Structure(members), Value::Object(fields)) => {
                for member in *members {
                    let path = Path::Member(&path, member.name);
                    match fields.get(member.name) {
                        None | Some(Value::Null) if member.required => {
                            self.report(&Value::Null, path, "Member must not be null");
                        }
                        None | Some(Value::Null) => {}
                        Some(field) => self.value(member.shape, field, path),
                    }
                }
            }
            (Shape::List { member, min, max }, Value::Array(items)) => {
                self.all(value, path, &length(items.len(), *min, *max));
                self.items(member, value, items, path);
            }
            (Shape::Map { key, value: entry, min, max }, Value::Object(entries)) => {
                self.all(value, path, &length(entries.len(), *min, *max));
                self.entries(key, entry, value, entries, path);
            }
            (_, Value::Null) => {}
            (_, leaf) => self.all(leaf, path, &broken(shape, leaf)),
        }
    }

    /// Items that are plain values are reported together, under the list's own name.
    fn items(&mut self, member: &'static Shape, list: &Value, items: &[Value], path: Path<'_>) {
        if is_plain(member) {
            if items.iter().any(|item| !item.is_null() && !broken(member, item).is_empty()) {
                self.report(list, path, &together("Member must satisfy constraint", member));
            }
            return;
        }
        for (index, item) in items.iter().enumerate() {
            self.value(member, item, Path::Item(&path, index));
        }
    }

    /// So are keys, and entries that are plain values.
    fn entries(
        &mut self,
        key: &'static Shape,
        entry: &'static Shape,
        map: &Value,
        entries: &Map<String, Value>,
        path: Path<'_>,
    ) {
        let key_is_broken = |name: &String| !broken(key, &Value::String(name.clone())).is_empty();
        if entries.keys().any(key_is_broken) {
            self.report(map, path, &together("Map keys must satisfy constraint", key));
        }
        if is_plain(entry) {
            if entries.values().any(|value| !value.is_null() && !broken(entry, value).is_empty()) {
                self.report(map, path, &together("Map value must satisfy constraint", entry));
            }
            return;
        }
        for (name, value) in entries {
            self.value(entry, value, Path::Entry(&path, name));
        }
    }

    fn all(&mut self, value: &Value, path: Path<'_>, constraints: &[String]) {
        for constraint in constraints {
            self.report(value, path, constraint);
        }
    }

    fn report(&mut self, value: &Value, path: Path<'_>, constraint: &str) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(format!(
                "Value {} at '{path}' failed to satisfy constraint: {constraint}",
                render::quoted(value)
            ));
        }
    }
}

/// A value without values inside.
fn is_plain(shape: &Shape) -> bool {
    !matches!(shape, Shape::Structure(_) | Shape::List { .. } | Shape::Map { .. })
}

fn together(what: &str, shape: &'static Shape) -> String {
    format!("{what}: [{}]", constraints(shape).join(", "))
}

/// The constraints of a plain shape that `value` does not keep.
fn broken(shape: &'static Shape, value: &Value) -> Vec<String> {
    match (shape, value) {
        (Shape::String { min, max, pattern, values }, Value::String(text)) => {
            let mut broken = length(text.chars().count(), *min, *max);
            broken.extend(pattern.filter(|pattern| !pattern::fits(pattern, text)).map(matching));
            broken
                .extend((!values.is_empty() && !values.contains(&&**text)).then(|| one_of(values)));
            broken
        }
        (Shape::Blob { min, max }, Value::String(text)) => {
            length(STANDARD.decode(text).map_or(0, |bytes| bytes.len()), *min, *max)
        }
        (Shape::Integer { min, max }, Value::Number(number)) => {
            // What is too large for an i64 is larger than any bound.
            let number = number.as_i64().unwrap_or(i64::MAX);
            range(min.filter(|min| number < *min), max.filter(|max| number > *max))
        }
        (Shape::Float { min, max }, Value::Number(number)) => {
            let number = number.as_f64().unwrap_or_default();
            range(min.filter(|min| number < *min), max.filter(|max| number > *max))
        }
        _ => Vec::new(),
    }
}

/// All constraints of a plain shape.
fn constraints(shape: &'static Shape) -> Vec<String> {
    match shape {
        Shape::String { min, max, pattern, values } => {
            let mut all = length_bounds(*min, *max);
            all.extend(pattern.map(matching));
            all.extend((!values.is_empty()).then(|| one_of(values)));
            all
        }
        Shape::Blob { min, max } => length_bounds(*min, *max),
        Shape::Integer { min, max } => range(*min, *max),
        Shape::Float { min, max } => range(*min, *max),
        Shape::Structure(_)
        | Shape::List { .. }
        | Shape::Map { .. }
        | Shape::Boolean
        | Shape::Timestamp => Vec::new(),
    }
}

fn length(len: usize, min: Option<u64>, max: Option<u64>) -> Vec<String> {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    length_bounds(min.filter(|min| len < *min), max.filter(|max| len > *max))
}

fn length_bounds(min: Option<u64>, max: Option<u64>) -> Vec<String> {
    bounds("length", min, max)
}

fn range<N: Display>(min: Option<N>, max: Option<N>) -> Vec<String> {
    bounds("value", min, max)
}

/// The upper bound comes first, as AWS has it.
fn bounds<N: Display>(what: &str, min: Option<N>, max: Option<N>) -> Vec<String> {
    let at_most = max.map(|max| format!("Member must have {what} less than or equal to {max}"));
    let at_least = min.map(|min| format!("Member must have {what} greater than or equal to {min}"));
    at_most.into_iter().chain(at_least).collect()
}

fn matching(pattern: &str) -> String {
    format!("Member must satisfy regular expression pattern: {pattern}")
}

fn one_of(values: &[&str]) -> String {
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}
