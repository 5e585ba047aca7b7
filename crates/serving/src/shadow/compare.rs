//! Whether two answers say the same, and how far apart their numbers are. Pure.

use sagebrush_core::worker::Payload;
use serde_json::{Deserializer, Number, Value};

/// Longer answers are compared by their bytes only.
const LONGEST: usize = 8 << 20;

/// A lone number is the same as another one that differs by no more than this part.
const SAME: f64 = 1e-6;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    pub(super) agrees: bool,
    /// `None` if there are no numbers to be compared.
    pub(super) distance: Option<Distance>,
}

/// Over all numbers that stand at the same place in both answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Distance {
    pub(super) mean_absolute: f64,
    pub(super) max_relative: f64,
}

/// Answers agree that are the same, and JSON or CSV that says the same: it has the same form, and
/// the same words, truth values and whole numbers; of several fractions beside each other, which
/// are scores, the same one is the greatest; and a lone fraction is the same where nothing of all
/// that is there to tell by.
pub(super) fn compare(production: &Payload, shadow: &Payload) -> Comparison {
    let same_bytes = production.body == shadow.body;
    let is_long = production.body.len().max(shadow.body.len()) > LONGEST;
    let read = if is_long { None } else { read(production).zip(read(shadow)) };
    let Some((ours, theirs)) = read else {
        return Comparison { agrees: same_bytes, distance: None };
    };
    let mut seen = Seen { same_form: true, ..Seen::default() };
    seen.lists(&ours, &theirs);
    Comparison { agrees: same_bytes || seen.agrees(), distance: seen.distance() }
}

/// An answer as JSON: of several lines, a list of them; of CSV, a list of rows.
fn read(payload: &Payload) -> Option<Vec<Value>> {
    let content_type = payload.content_type.as_deref()?.to_ascii_lowercase();
    if content_type.contains("json") {
        Deserializer::from_slice(&payload.body).into_iter().collect::<Result<_, _>>().ok()
    } else if content_type.contains("csv") {
        let text = std::str::from_utf8(&payload.body).ok()?;
        let row = |line: &str| Value::Array(line.split(',').map(cell).collect());
        Some(text.lines().filter(|line| !line.trim().is_empty()).map(row).collect())
    } else {
        None
    }
}

fn cell(text: &str) -> Value {
    let text = text.trim();
    let number = text.parse::<i64>().map(Number::from).ok();
    let number = number.or_else(|| text.parse().ok().and_then(Number::from_f64));
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// What a walk through both answers saw.
#[derive(Default)]
struct Seen {
    same_form: bool,
    /// Words, truth values, whole numbers and lists of scores.
    n_classes: usize,
    differs_in_class: bool,
    differs_in_lone: bool,
    n_numbers: usize,
    absolute: f64,
    max_relative: f64,
}

impl Seen {
    fn agrees(&self) -> bool {
        let same_lone = !self.differs_in_lone || self.n_classes > 0;
        self.same_form && !self.differs_in_class && same_lone
    }

    #[expect(clippy::cast_precision_loss, reason = "a count")]
    fn distance(&self) -> Option<Distance> {
        (self.same_form && self.n_numbers > 0).then(|| Distance {
            mean_absolute: self.absolute / self.n_numbers as f64,
            max_relative: self.max_relative,
        })
    }

    fn values(&mut self, ours: &Value, theirs: &Value) {
        match (ours, theirs) {
            (Value::Array(ours), Value::Array(theirs)) => self.lists(ours, theirs),
            (Value::Object(ours), Value::Object(theirs)) => {
                self.same_form &= ours.len() == theirs.len();
                for (name, one) in ours {
                    match theirs.get(name) {
                        Some(other) => self.values(one, other),
                        None => self.same_form = false,
                    }
                }
            }
            (Value::Number(ours), Value::Number(theirs)) => {
                if let Some((one, other)) = self.numbers(ours, theirs) {
                    self.differs_in_lone |= relative(one, other) > SAME;
                }
            }
            (Value::Null, Value::Null) => {}
            (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => {
                self.class(ours == theirs);
            }
            _ => self.same_form = false,
        }
    }

    fn lists(&mut self, ours: &[Value], theirs: &[Value]) {
        self.same_form &= ours.len() == theirs.len();
        let mut scores = Vec::new();
        for (one, other) in ours.iter().zip(theirs) {
            match (one, other) {
                (Value::Number(one), Value::Number(other)) => {
                    scores.extend(self.numbers(one, other));
                }
                _ => self.values(one, other),
            }
        }
        match scores.as_slice() {
            [] => {}
            [(one, other)] => self.differs_in_lone |= relative(*one, *other) > SAME,
            _ => {
                let ours = greatest(scores.iter().map(|(one, _)| *one));
                let theirs = greatest(scores.iter().map(|(_, other)| *other));
                self.class(ours == theirs);
            }
        }
    }

    /// Counts two numbers. Returns them if they are scores: not both whole.
    fn numbers(&mut self, one: &Number, other: &Number) -> Option<(f64, f64)> {
        let pair = (one.as_f64()?, other.as_f64()?);
        self.n_numbers += 1;
        self.absolute += (pair.0 - pair.1).abs();
        self.max_relative = self.max_relative.max(relative(pair.0, pair.1));
        if one.is_f64() || other.is_f64() {
            return Some(pair);
        }
        self.class(one == other);
        None
    }

    fn class(&mut self, is_same: bool) {
        self.n_classes += 1;
        self.differs_in_class |= !is_same;
    }
}

fn relative(one: f64, other: f64) -> f64 {
    let largest = one.abs().max(other.abs());
    if largest > 0.0 { (one - other).abs() / largest } else { 0.0 }
}

/// The place of the greatest, the first of several.
fn greatest(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut greatest: Option<(usize, f64)> = None;
    for (at, value) in values.enumerate() {
        if greatest.is_none_or(|(_, most)| value > most) {
            greatest = Some((at, value));
        }
    }
    greatest.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use sagebrush_core::worker::Payload;

    use super::{Comparison, compare};

    fn compared(content_type: &str, production: &str, shadow: &str) -> Comparison {
        let payload = |body: &str| Payload {
            content_type: Some(content_type.to_owned()),
            body: body.to_owned().into(),
        };
        compare(&payload(production), &payload(shadow))
    }

    #[track_caller]
    fn check(content_type: &str, production: &str, shadow: &str, agrees: bool) {
        assert_eq!(compared(content_type, production, shadow).agrees, agrees);
        assert_eq!(compared(content_type, shadow, production).agrees, agrees, "turned round");
    }

    #[test]
    fn json_that_says_the_same() {
        let check = |one, other, agrees| check("application/json", one, other, agrees);
        check(r#"{"a":1,"b":[true,null]}"#, r#"{ "b": [true, null], "a": 1 }"#, true);
        check(r#"{"label":"cat","score":0.93}"#, r#"{"label":"cat","score":0.81}"#, true);
        check(r#"{"label":"cat","score":0.93}"#, r#"{"label":"dog","score":0.93}"#, false);
        check("[0.1,0.7,0.2]", "[0.3,0.4,0.3]", true);
        check("[0.1,0.7,0.2]", "[0.5,0.4,0.1]", false);
        check(r#"{"labels":[1],"scores":[0.0,1]}"#, r#"{"labels":[1],"scores":[0.2,0.8]}"#, true);
        check("[0.25]", "[0.2500000001]", true);
        check("[0.25]", "[0.26]", false);
        check("[1,2]", "[1,3]", false);
        check("[[0.1,0.9]]", "[[0.1,0.9],[0.2,0.8]]", false);
        check(r#"{"a":1}"#, r#"{"b":1}"#, false);
        check("{\"c\":1}\n{\"c\":2}\n", "{\"c\":1}\n{\"c\":2}", true);
        check("no JSON", "no JSON", true);
        check("no JSON", "[1]", false);
    }

    #[test]
    fn csv_that_says_the_same() {
        let check = |one, other, agrees| check("text/csv; charset=utf-8", one, other, agrees);
        check("2,0.1,0.9\n", "2, 0.4, 0.6", true);
        check("2,0.1,0.9", "1,0.4,0.6", false);
        check("2,0.9,0.1", "2,0.4,0.6", false);
        check("cat\ndog\n", "cat\r\ndog\r\n", true);
        check("cat\ndog", "cat", false);
        check("3.5", "3.25", false);
    }

    #[test]
    fn other_answers_by_their_bytes() {
        check("application/x-npy", "1", "1", true);
        check("application/x-npy", "1", "2", false);
        assert_eq!(compared("image/png", "1", "1").distance, None);
    }

    #[test]
    fn how_far_apart_numbers_are() {
        let distance = |one, other| {
            let distance = compared("application/json", one, other).distance;
            distance.map(|it| (it.mean_absolute, it.max_relative))
        };
        assert_eq!(distance("[1,2.5]", "[1,2.0]"), Some((0.25, 0.2)));
        assert_eq!(distance(r#"{"a":{"b":-1}}"#, r#"{"a":{"b":1}}"#), Some((2.0, 2.0)));
        assert_eq!(distance("[0,0]", "[0,0]"), Some((0.0, 0.0)));
        assert_eq!(distance("[1]", "[1,2]"), None, "not of the same form");
        assert_eq!(distance(r#""a""#, r#""a""#), None);
    }
}
