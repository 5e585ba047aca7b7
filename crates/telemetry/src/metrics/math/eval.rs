//! Computes an expression. What is not a number, as after a division by zero, is no data point.

use std::ops::Range;

use super::{Expr, MathError, Operator, Series, Value, functions};

/// CloudWatch's bounds: queries in a call, and data points.
const MAX_SERIES: usize = 500;
const MAX_POINTS: usize = 1_000_000;

/// What an expression may refer to.
pub(in super::super) trait Scope {
    /// The result of the query of that id.
    fn value(&mut self, id: &str) -> Result<Value, MathError>;

    /// The results of all queries of metrics, in their order, with their ids.
    fn metrics(&mut self) -> Vec<(String, Series)>;

    /// The time that is asked for. Its beginning is the beginning of a period of that length.
    fn times(&self, period: i64) -> Range<i64>;

    /// The period of what has none of its own.
    fn period(&self) -> i64;
}

pub(in super::super) fn evaluate(expr: &Expr, scope: &mut dyn Scope) -> Result<Value, MathError> {
    let value = match expr {
        Expr::Number(number) => Value::Number(*number),
        Expr::Text(text) => return Err(MathError::Unexpected(format!("string {text}"))),
        Expr::Id(id) => scope.value(id)?,
        Expr::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match evaluate(item, scope)? {
                    Value::Series(series) => all.push(series),
                    Value::Array(more) => all.extend(more),
                    Value::Number(_) => return Err(wrong("An array holds time series only")),
                }
                check_size(&all)?;
            }
            Value::Array(all)
        }
        Expr::Negative(inner) => map(evaluate(inner, scope)?, |value| -value),
        Expr::Binary(left, operator, right) => {
            let (left, right) = (evaluate(left, scope)?, evaluate(right, scope)?);
            combine(&left, &right, |left, right| operator.of(left, right))?
        }
        Expr::Call(name, arguments) => functions::call(name, arguments, scope)?,
    };
    if let Value::Array(all) = &value {
        check_size(all)?;
    }
    Ok(value)
}

fn check_size(all: &[Series]) -> Result<(), MathError> {
    let n_points: usize = all.iter().map(|series| series.points.len()).sum();
    let fits = all.len() <= MAX_SERIES && n_points <= MAX_POINTS;
    if fits { Ok(()) } else { Err(MathError::TooMuch) }
}

impl Operator {
    fn of(self, left: f64, right: f64) -> f64 {
        let truth = |is_true: bool| f64::from(u8::from(is_true));
        match self {
            Self::Or => truth(is_true(left) || is_true(right)),
            Self::And => truth(is_true(left) && is_true(right)),
            #[expect(clippy::float_cmp, reason = "it is what was asked for")]
            Self::Equal => truth(left == right),
            #[expect(clippy::float_cmp, reason = "it is what was asked for")]
            Self::NotEqual => truth(left != right),
            Self::Less => truth(left < right),
            Self::LessOrEqual => truth(left <= right),
            Self::Greater => truth(left > right),
            Self::GreaterOrEqual => truth(left >= right),
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Power => left.powf(right),
        }
    }
}

pub(super) fn is_true(value: f64) -> bool {
    value != 0.0
}

/// Each value of what is given, changed.
pub(super) fn map(value: Value, change: impl Fn(f64) -> f64) -> Value {
    let of_series = |series: Series| Series {
        points: finite(series.points.into_iter().map(|(at, value)| (at, change(value)))),
        ..series
    };
    match value {
        Value::Number(number) => Value::Number(change(number)),
        Value::Series(series) => Value::Series(of_series(series)),
        Value::Array(all) => Value::Array(all.into_iter().map(of_series).collect()),
    }
}

/// Two values put together, where both have a data point.
pub(super) fn combine(
    left: &Value,
    right: &Value,
    of: impl Fn(f64, f64) -> f64,
) -> Result<Value, MathError> {
    let with_number = |series: &Series, of: &dyn Fn(f64) -> f64| Series {
        points: finite(series.points.iter().map(|(at, value)| (*at, of(*value)))),
        ..*series
    };
    let two = |left: &Series, right: &Series| {
        let both = left
            .points
            .iter()
            .filter_map(|(at, left)| Some((*at, of(*left, *right.points.get(at)?))));
        Series { period: left.period.max(right.period), points: finite(both) }
    };
    Ok(match (left, right) {
        (Value::Number(left), Value::Number(right)) => Value::Number(of(*left, *right)),
        (Value::Series(left), Value::Number(right)) => {
            Value::Series(with_number(left, &|left| of(left, *right)))
        }
        (Value::Number(left), Value::Series(right)) => {
            Value::Series(with_number(right, &|right| of(*left, right)))
        }
        (Value::Series(left), Value::Series(right)) => Value::Series(two(left, right)),
        (Value::Array(all), Value::Number(right)) => Value::Array(
            all.iter().map(|left| with_number(left, &|left| of(left, *right))).collect(),
        ),
        (Value::Number(left), Value::Array(all)) => Value::Array(
            all.iter().map(|right| with_number(right, &|right| of(*left, right))).collect(),
        ),
        (Value::Array(all), Value::Series(right)) => {
            Value::Array(all.iter().map(|left| two(left, right)).collect())
        }
        (Value::Series(left), Value::Array(all)) => {
            Value::Array(all.iter().map(|right| two(left, right)).collect())
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            Value::Array(left.iter().zip(right).map(|(left, right)| two(left, right)).collect())
        }
        (Value::Array(_), Value::Array(_)) => {
            return Err(wrong("Arrays that are put together must be of the same length"));
        }
    })
}

/// The points that are numbers.
pub(super) fn finite(
    points: impl Iterator<Item = (i64, f64)>,
) -> std::collections::BTreeMap<i64, f64> {
    points.filter(|(_, value)| value.is_finite()).collect()
}

pub(super) fn wrong(message: &str) -> MathError {
    MathError::Wrong(message.to_owned())
}
