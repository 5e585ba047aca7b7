//! Event patterns: which events a rule wants.

use sagebrush_core::glob;
use serde_json::{Map, Value};

/// How deep a pattern may nest.
const MAX_DEPTH: usize = 32;

/// What an event is to be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern(Node);

/// A string that is no pattern, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Event pattern is not valid. Reason: {0}")]
pub(super) struct InvalidPattern(String);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// All fields fit, and one of `any` does, if there are some (`$or`).
    Fields { fields: Vec<(String, Self)>, any: Vec<Self> },
    /// One of the tests holds.
    Leaf(Vec<Test>),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exactly(Value),
    Text(Text),
    /// No value of these, and no text like these.
    Not {
        values: Vec<Value>,
        texts: Vec<Text>,
    },
    Number(Vec<(Compare, f64)>),
    Exists(bool),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Prefix(String),
    Suffix(String),
    /// In lower case.
    IgnoringCase(String),
    PrefixIgnoringCase(String),
    SuffixIgnoringCase(String),
    Wildcard(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        let fields = value.as_object().filter(|fields| !fields.is_empty());
        let fields = fields.ok_or_else(|| invalid("Filter is not an object with fields"))?;
        Node::fields(fields, 0).map(Self)
    }

    pub(super) fn matches(&self, event: &Value) -> bool {
        self.0.fits(Some(event))
    }

    /// Whether an event of this source may fit.
    pub(super) fn may_want(&self, source: &str) -> bool {
        self.0.may_want(&source.into())
    }
}

impl Node {
    fn fields(object: &Map<String, Value>, depth: usize) -> Result<Self, InvalidPattern> {
        if depth > MAX_DEPTH {
            return Err(invalid("it is nested too deep"));
        }
        let mut fields = Vec::new();
        let mut any = Vec::new();
        for (name, value) in object {
            match value {
                Value::Array(ways) if name == "$or" => any = alternatives(ways, depth)?,
                Value::Array(tests) if tests.is_empty() => {
                    return Err(invalid("Empty arrays are not allowed"));
                }
                Value::Array(tests) => {
                    let tests = tests.iter().map(Test::parse).collect::<Result<_, _>>()?;
                    fields.push((name.clone(), Self::Leaf(tests)));
                }
                Value::Object(inner) if inner.is_empty() => {
                    return Err(invalid("Empty objects are not allowed"));
                }
                Value::Object(inner) => {
                    fields.push((name.clone(), Self::fields(inner, depth + 1)?));
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    return Err(invalid(format!("\"{name}\" must be an object or an array")));
                }
            }
        }
        Ok(Self::Fields { fields, any })
    }

    fn may_want(&self, source: &Value) -> bool {
        let Self::Fields { fields, any } = self else { return true };
        let allows = |(name, node): &(String, Self)| name != "source" || node.fits(Some(source));
        fields.iter().all(allows) && (any.is_empty() || any.iter().any(|way| way.may_want(source)))
    }

    fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Fields { .. }, Some(Value::Array(items))) => {
                items.iter().any(|item| self.fits(Some(item)))
            }
            (Self::Fields { fields, any }, value) => {
                let object = value.and_then(Value::as_object);
                let field = |name: &String| object.and_then(|object| object.get(name));
                fields.iter().all(|(name, node)| node.fits(field(name)))
                    && (any.is_empty() || any.iter().any(|way| way.fits(value)))
            }
            (Self::Leaf(tests), value) => tests.iter().any(|test| test.fits(value)),
        }
    }
}

fn alternatives(ways: &[Value], depth: usize) -> Result<Vec<Node>, InvalidPattern> {
    if ways.len() < 2 {
        return Err(invalid("$or needs two alternatives at least"));
    }
    let way = |way: &Value| match way.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => Node::fields(fields, depth + 1),
        None => Err(invalid("The alternatives of $or are objects with fields")),
    };
    ways.iter().map(way).collect()
}

impl Test {
    fn parse(value: &Value) -> Result<Self, InvalidPattern> {
        let operator = match value {
            Value::Object(operator) => operator,
            Value::Array(_) => return Err(invalid("Match values must not be arrays")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Ok(Self::Exactly(value.clone()));
            }
        };
        let mut fields = operator.iter();
        let (Some((name, value)), None) = (fields.next(), fields.next()) else {
            return Err(invalid("Only one key allowed in match expression"));
        };
        match (name.as_str(), value) {
            ("exists", Value::Bool(exists)) => Ok(Self::Exists(*exists)),
            ("numeric", Value::Array(parts)) => numeric(parts).map(Self::Number),
            ("anything-but", value) => anything_but(value),
            (name, value) => text(name, value).map(Self::Text),
        }
    }

    fn fits(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Exists(false), value) => value.is_none(),
            (Self::Exists(true), value) => value.is_some_and(|value| !value.is_object()),
            (_, None) => false,
            (_, Some(Value::Array(items))) => items.iter().any(|item| self.holds(item)),
            (_, Some(value)) => self.holds(value),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Exactly(wanted) => is_same(wanted, value),
            Self::Text(wanted) => value.as_str().is_some_and(|text| wanted.fits(text)),
            Self::Not { values, texts } => {
                let is_leaf = !(value.is_object() || value.is_array());
                let is_like = |wanted: &Text| value.as_str().is_some_and(|text| wanted.fits(text));
                is_leaf
                    && !values.iter().any(|other| is_same(other, value))
                    && !texts.iter().any(is_like)
            }
            Self::Number(bounds) => {
                let fits = |value: f64| bounds.iter().all(|(by, bound)| by.holds(value, *bound));
                value.as_f64().is_some_and(fits)
            }
            Self::Exists(exists) => *exists,
        }
    }
}

/// 1 is 1.0.
fn is_same(wanted: &Value, value: &Value) -> bool {
    wanted == value
        || wanted.as_f64().is_some_and(|wanted| {
            value.as_f64().is_some_and(|value| Compare::Equal.holds(value, wanted))
        })
}

impl Text {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Prefix(start) => text.starts_with(start),
            Self::Suffix(end) => text.ends_with(end),
            Self::IgnoringCase(wanted) => text.to_lowercase() == *wanted,
            Self::PrefixIgnoringCase(start) => text.to_lowercase().starts_with(start),
            Self::SuffixIgnoringCase(end) => text.to_lowercase().ends_with(end),
            Self::Wildcard(pattern) => glob::matches(pattern, text),
        }
    }
}

impl Compare {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    #[expect(clippy::float_cmp, reason = "equal is what the pattern asks for")]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Equal => value == bound,
            Self::Less => value < bound,
            Self::LessOrEqual => value <= bound,
            Self::Greater => value > bound,
            Self::GreaterOrEqual => value >= bound,
        }
    }
}

/// `[">", 0, "<=", 5]`
fn numeric(parts: &[Value]) -> Result<Vec<(Compare, f64)>, InvalidPattern> {
    let (pairs, rest) = parts.as_chunks::<2>();
    let bound = |[compare, number]: &[Value; 2]| {
        Some((compare.as_str().and_then(Compare::of)?, number.as_f64()?))
    };
    let bounds: Option<Vec<_>> = pairs.iter().map(bound).collect();
    bounds
        .filter(|bounds| !bounds.is_empty() && rest.is_empty())
        .ok_or_else(|| invalid("numeric is a list of operators, each with a number"))
}

/// A value, several, or texts that are like something.
fn anything_but(value: &Value) -> Result<Test, InvalidPattern> {
    let scalars = |values: &[Value]| values.iter().all(|it| !(it.is_object() || it.is_array()));
    match value {
        Value::Array(values) if !values.is_empty() && scalars(values) => {
            Ok(Test::Not { values: values.clone(), texts: Vec::new() })
        }
        Value::Object(operator) => {
            let mut fields = operator.iter();
            let (Some((name, value)), None) = (fields.next(), fields.next()) else {
                return Err(invalid("Only one key allowed in match expression"));
            };
            let texts = match value {
                Value::Array(values) => {
                    values.iter().map(|value| text(name, value)).collect::<Result<_, _>>()?
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Object(_) => vec![text(name, value)?],
            };
            Ok(Test::Not { values: Vec::new(), texts })
        }
        Value::String(_) | Value::Number(_) => {
            Ok(Test::Not { values: vec![value.clone()], texts: Vec::new() })
        }
        Value::Array(_) | Value::Null | Value::Bool(_) => {
            Err(invalid("anything-but is a text, a number, or a list of them"))
        }
    }
}

fn text(name: &str, value: &Value) -> Result<Text, InvalidPattern> {
    let ignoring_case = value
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.get("equals-ignore-case")?.as_str())
        .map(str::to_lowercase);
    let plain = value.as_str().map(str::to_owned);
    match (name, plain, ignoring_case) {
        ("prefix", Some(start), _) => Ok(Text::Prefix(start)),
        ("suffix", Some(end), _) => Ok(Text::Suffix(end)),
        ("prefix", None, Some(start)) => Ok(Text::PrefixIgnoringCase(start)),
        ("suffix", None, Some(end)) => Ok(Text::SuffixIgnoringCase(end)),
        ("equals-ignore-case", Some(text), _) => Ok(Text::IgnoringCase(text.to_lowercase())),
        ("wildcard", Some(pattern), _) => Ok(Text::Wildcard(pattern)),
        ("prefix" | "suffix" | "equals-ignore-case" | "wildcard" | "exists" | "numeric", _, _) => {
            Err(invalid(format!("{name} has a value that it cannot have")))
        }
        ("cidr", _, _) => Err(invalid("cidr is not served here")),
        (name, _, _) => Err(invalid(format!("Unrecognized match type {name}"))),
    }
}

fn invalid(reason: impl Into<String>) -> InvalidPattern {
    InvalidPattern(reason.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event() -> Value {
        json!({
            "source": "aws.sagemaker",
            "detail-type": "SageMaker Endpoint State Change",
            "resources": ["arn:a", "arn:b"],
            "detail": {
                "EndpointStatus": "IN_SERVICE",
                "n": 5,
                "rate": 0.5,
                "ok": true,
                "none": null,
                "Tags": {},
                "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 9}],
            },
        })
    }

    fn check(pattern: &Value, expected: bool) {
        let parsed = Pattern::parse(&pattern.to_string()).unwrap();
        assert_eq!(parsed.matches(&event()), expected, "{pattern}");
    }

    /// A test of one field of the detail.
    fn check_field(name: &str, tests: Value, expected: bool) {
        check(&json!({"detail": { name: tests }}), expected);
    }

    #[test]
    fn fields_are_compared() {
        check(&json!({"source": ["aws.sagemaker"]}), true);
        check(&json!({"source": ["aws.s3", "aws.sagemaker"]}), true);
        check(&json!({"source": ["aws.s3"]}), false);
        check(&json!({"source": ["aws.sagemaker"], "account": ["1"]}), false);
        check(&json!({"resources": ["arn:b"]}), true);
        check(&json!({"resources": ["arn:c"]}), false);
        check_field("n", json!([5]), true);
        check_field("n", json!([5.0]), true);
        check_field("n", json!(["5"]), false);
        check_field("ok", json!([true]), true);
        check_field("none", json!([null]), true);
        check_field("gone", json!([null]), false);
        check_field("variants", json!({"name": ["b"], "weight": [9]}), true);
        check_field("variants", json!({"name": ["a"], "weight": [9]}), false);
    }

    #[test]
    fn operators_are_applied() {
        let status = "EndpointStatus";
        check_field(status, json!([{"prefix": "IN_"}]), true);
        check_field(status, json!([{"prefix": "in_"}]), false);
        check_field(status, json!([{"prefix": {"equals-ignore-case": "in_"}}]), true);
        check_field(status, json!([{"suffix": "SERVICE"}]), true);
        check_field(status, json!([{"suffix": {"equals-ignore-case": "service"}}]), true);
        check_field(status, json!([{"suffix": "OUT"}]), false);
        check_field(status, json!([{"equals-ignore-case": "in_service"}]), true);
        check_field(status, json!([{"wildcard": "IN*V*E"}]), true);
        check_field(status, json!([{"wildcard": "IN*X"}]), false);
        check_field(status, json!([{"anything-but": "FAILED"}]), true);
        check_field(status, json!([{"anything-but": ["FAILED", "IN_SERVICE"]}]), false);
        check_field(status, json!([{"anything-but": {"prefix": "IN"}}]), false);
        check_field(status, json!([{"anything-but": {"suffix": ["X", "Y"]}}]), true);
        check_field(status, json!([{"anything-but": {"equals-ignore-case": "in_service"}}]), false);
        check_field("gone", json!([{"anything-but": "FAILED"}]), false);
        check_field("n", json!([{"anything-but": 5}]), false);
        check_field("n", json!([{"numeric": [">", 0, "<=", 5]}]), true);
        check_field("n", json!([{"numeric": [">", 5]}]), false);
        check_field("rate", json!([{"numeric": ["=", 0.5]}]), true);
        check_field(status, json!([{"numeric": ["=", 0.5]}]), false);
        check_field("n", json!([{"exists": true}]), true);
        check_field("n", json!([{"exists": false}]), false);
        check_field("gone", json!([{"exists": false}]), true);
        check_field("gone", json!([{"exists": true}]), false);
        check_field("Tags", json!({"team": [{"exists": false}]}), true);
        check(&json!({"nowhere": {"at": {"all": [{"exists": false}]}}}), true);
        check_field("n", json!([{"exists": false}, 5]), true);
        check(&json!({"$or": [{"source": ["x"]}, {"detail": {"n": [5]}}]}), true);
        check(&json!({"source": ["x"], "$or": [{"detail": {"n": [5]}}, {"a": [1]}]}), false);
        check_field("$or", json!([{"n": [1]}, {"ok": [false]}]), false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (pattern, reason) in [
            ("", "EOF"),
            ("[]", "not an object"),
            ("{}", "not an object"),
            (r#"{"a":"b"}"#, "must be an object or an array"),
            (r#"{"a":[]}"#, "Empty arrays"),
            (r#"{"a":{}}"#, "Empty objects"),
            (r#"{"a":[[1]]}"#, "must not be arrays"),
            (r#"{"a":[{"prefix":"b","suffix":"c"}]}"#, "Only one key"),
            (r#"{"a":[{"prefix":1}]}"#, "prefix has a value"),
            (r#"{"a":[{"exists":"yes"}]}"#, "exists has a value"),
            (r#"{"a":[{"numeric":[]}]}"#, "numeric"),
            (r#"{"a":[{"numeric":["<"]}]}"#, "numeric"),
            (r#"{"a":[{"numeric":["~",1]}]}"#, "numeric"),
            (r#"{"a":[{"anything-but":[]}]}"#, "anything-but"),
            (r#"{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}"#, "cidr is not served"),
            (r#"{"a":[{"cidr":"10.0.0.0/8"}]}"#, "cidr is not served"),
            (r#"{"a":[{"regex":"x"}]}"#, "Unrecognized match type regex"),
            (r#"{"$or":[{"a":[1]}]}"#, "two alternatives"),
            (r#"{"$or":[{"a":[1]},{}]}"#, "objects with fields"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err().to_string();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        let deep = format!("{}[1]{}", r#"{"a":"#.repeat(60), "}".repeat(60));
        assert!(Pattern::parse(&deep).unwrap_err().to_string().contains("too deep"));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_i64..9).prop_map(Value::from),
            "[a-c*]{0,3}".prop_map(Value::from),
        ];
        let names = "(a|b|\\$or|prefix|exists|numeric|anything-but|wildcard)";
        leaf.prop_recursive(4, 24, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map(names, inner, 0..3)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn never_panics(pattern in json_value(), event in json_value(), text: String) {
            if let Ok(pattern) = Pattern::parse(&pattern.to_string()) {
                let _found = pattern.matches(&event);
            }
            drop(Pattern::parse(&text));
        }
    }
}
