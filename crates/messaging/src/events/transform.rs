//! What a target gets of an event: the whole, a part, a text, or a template filled in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a target wants its events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Input {
    #[default]
    Whole,
    /// `Input`: always the same JSON.
    Text(String),
    /// `InputPath`
    Part(String),
    /// `InputTransformer`
    Template { paths: BTreeMap<String, String>, template: String },
}

/// What a template may name besides its own paths.
pub(super) struct Known<'a> {
    pub(super) rule_arn: &'a str,
    pub(super) rule_name: &'a str,
}

impl Input {
    pub(super) fn of(&self, event: &Value, known: &Known<'_>) -> String {
        match self {
            Self::Whole => event.to_string(),
            Self::Text(text) => text.clone(),
            Self::Part(path) => at(event, path).map_or_else(|| "{}".to_owned(), Value::to_string),
            Self::Template { paths, template } => fill(template, |name| {
                let own = paths.get(name).map(|path| at(event, path).cloned().unwrap_or_default());
                own.or_else(|| match name {
                    "aws.events.event.json" | "aws.events.event" => Some(event.clone()),
                    "aws.events.rule-arn" => Some(known.rule_arn.into()),
                    "aws.events.rule-name" => Some(known.rule_name.into()),
                    _ => None,
                })
            }),
        }
    }
}

/// Whether `path` is one that [`at`] follows.
pub(super) fn is_path(path: &str) -> bool {
    steps(path).is_some()
}

/// `$.detail.variants[0]`
fn at<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path)?.into_iter().try_fold(event, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Item(index) => value.get(index),
    })
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(named) = rest.strip_prefix('.') {
            let (name, after) = named.split_at(named.find(['.', '[']).unwrap_or(named.len()));
            if name.is_empty() {
                return None;
            }
            steps.push(Step::Field(name));
            rest = after;
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Item(index.parse().ok()?));
            rest = after;
        }
    }
    Some(steps)
}

/// Puts values in place of their names between `<` and `>`: as JSON, or as plain text between
/// quotes. What no name is stays.
fn fill(template: &str, value_of: impl Fn(&str) -> Option<Value>) -> String {
    let mut filled = String::new();
    let mut is_quoted = false;
    let mut rest = template;
    while let Some(char) = rest.chars().next() {
        if char == '<'
            && let Some((name, after)) = rest[1..].split_once('>')
            && let Some(value) = value_of(name)
        {
            filled.push_str(&if is_quoted { inside_quotes(&value) } else { value.to_string() });
            rest = after;
            continue;
        }
        if char == '\\' && is_quoted {
            let escape = rest.char_indices().nth(2).map_or(rest.len(), |(end, _)| end);
            filled.push_str(&rest[..escape]);
            rest = &rest[escape..];
            continue;
        }
        is_quoted ^= char == '"';
        filled.push(char);
        rest = &rest[char.len_utf8()..];
    }
    filled
}

/// A value as text that may stand in a JSON string.
fn inside_quotes(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const KNOWN: Known<'_> = Known { rule_arn: "arn:rule", rule_name: "r" };

    fn event() -> Value {
        json!({"detail": {"name": "a \"b\"", "n": 5, "list": [{"x": 1}], "ok": null}})
    }

    fn check(input: &Input, expected: &str) {
        assert_eq!(input.of(&event(), &KNOWN), expected, "{input:?}");
    }

    #[test]
    fn the_whole_a_part_or_a_text() {
        check(&Input::Whole, &event().to_string());
        check(&Input::Text("{\"a\":1}".to_owned()), "{\"a\":1}");
        for (path, expected) in [
            ("$", event().to_string().as_str()),
            ("$.detail.n", "5"),
            ("$.detail.list[0].x", "1"),
            ("$.detail.list[1].x", "{}"),
            ("$.gone", "{}"),
        ] {
            check(&Input::Part(path.to_owned()), expected);
        }
    }

    #[test]
    fn paths_are_checked() {
        for path in ["$", "$.a", "$.a.b[3].c", "$.detail-type"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "a", "$a", "$.", "$..a", "$.a[", "$.a[x]", "$.a[*]"] {
            assert!(!is_path(path), "{path}");
        }
    }

    #[test]
    fn templates_are_filled_in() {
        let paths = [("name", "$.detail.name"), ("n", "$.detail.n"), ("gone", "$.detail.gone")];
        let paths = paths.map(|(name, path)| (name.to_owned(), path.to_owned()));
        for (template, expected) in [
            (r#""<name> has <n>""#, r#""a \"b\" has 5""#),
            (r#"{"name": <name>, "n": <n>}"#, r#"{"name": "a \"b\"", "n": 5}"#),
            (r#"{"gone": <gone>, "in": "<gone>"}"#, r#"{"gone": null, "in": ""}"#),
            (
                r#"{"rule": "<aws.events.rule-name>", "<other>": 1}"#,
                r#"{"rule": "r", "<other>": 1}"#,
            ),
            (r#""a \" <n>""#, r#""a \" 5""#),
            ("1 < 2 é", "1 < 2 é"),
        ] {
            let template = template.to_owned();
            check(&Input::Template { paths: paths.clone().into(), template }, expected);
        }
    }

    proptest! {
        #[test]
        fn never_panics(template in r#"[<>"\\an é]{0,20}"#, path in r"[$.\[\]0a]{0,10}") {
            let paths = BTreeMap::from([("a".to_owned(), path)]);
            let _filled = Input::Template { paths, template }.of(&event(), &KNOWN);
        }
    }
}
