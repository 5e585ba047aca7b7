//! Numbers that are none, or without end. AWS JSON has words for them; no operation takes one.

use sagebrush_wire::Shape;
use serde_json::{Number, Value};

const NOT_A_NUMBER: &str = "NaN";
const WITHOUT_END: [&str; 2] = ["Infinity", "-Infinity"];

/// A number as AWS JSON has it.
pub(crate) fn float(value: f64) -> Value {
    let [infinity, minus_infinity] = WITHOUT_END;
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => NOT_A_NUMBER.into(),
        None if value > 0.0 => infinity.into(),
        None => minus_infinity.into(),
    }
}

/// The first number of `value` that is none, and where: `MetricData.member.1.Value`.
pub(super) fn offender<'a>(shape: &Shape, value: &'a Value) -> Option<(String, &'a str)> {
    let within = |step: String, (path, word): (String, &'a str)| {
        (if path.is_empty() { step } else { format!("{step}.{path}") }, word)
    };
    match (shape, value) {
        (Shape::Structure(members), Value::Object(fields)) => members.iter().find_map(|member| {
            let found = offender(member.shape, fields.get(member.name)?)?;
            Some(within(member.name.to_owned(), found))
        }),
        (Shape::List { member, .. }, Value::Array(items)) => {
            items.iter().enumerate().find_map(|(index, item)| {
                let found = offender(member, item)?;
                Some(within(format!("member.{}", index + 1), found))
            })
        }
        (Shape::Map { value: entry, .. }, Value::Object(entries)) => entries
            .iter()
            .find_map(|(key, value)| Some(within(key.clone(), offender(entry, value)?))),
        (Shape::Float { .. }, Value::String(word)) => {
            let is_word = *word == NOT_A_NUMBER || WITHOUT_END.contains(&word.as_str());
            is_word.then(|| (String::new(), word.as_str()))
        }
        _ => None,
    }
}
