//! The functions of metric math that are served.

use std::collections::BTreeMap;
use std::ops::Range;

use super::eval::{Scope, combine, evaluate, finite, is_true, map, wrong};
use super::{Expr, MathError, Series, Value};

/// As many points as a call may ask for.
const MAX_FILLED: i64 = 100_800;

pub(super) fn call(
    name: &str,
    arguments: &[Expr],
    scope: &mut dyn Scope,
) -> Result<Value, MathError> {
    match (name, arguments) {
        ("METRICS", []) => Ok(metrics("", scope)),
        ("METRICS", [Expr::Text(part)]) => Ok(metrics(part, scope)),
        ("AVG", [of]) => fold(evaluate(of, scope)?, |all| all.iter().sum::<f64>() / length(all)),
        ("SUM", [of]) => fold(evaluate(of, scope)?, |all| all.iter().sum()),
        ("MIN", [of]) => fold(evaluate(of, scope)?, |all| pick(all, f64::min)),
        ("MAX", [of]) => fold(evaluate(of, scope)?, |all| pick(all, f64::max)),
        ("ABS", [of]) => Ok(map(evaluate(of, scope)?, f64::abs)),
        ("CEIL", [of]) => Ok(map(evaluate(of, scope)?, f64::ceil)),
        ("FLOOR", [of]) => Ok(map(evaluate(of, scope)?, f64::floor)),
        ("DIFF", [of]) => each(evaluate(of, scope)?, |series| steps(&series, |rise, _| rise)),
        ("RATE", [of]) => {
            each(evaluate(of, scope)?, |series| steps(&series, |rise, run| rise / run))
        }
        ("RUNNING_SUM", [of]) => each(evaluate(of, scope)?, running_sum),
        ("PERIOD", [of]) => period(&evaluate(of, scope)?),
        ("TIME_SERIES", [of]) => time_series(&evaluate(of, scope)?, scope),
        ("FILL", [of, with]) => fill(of, with, scope),
        ("IF", [condition, then]) => choose(condition, then, None, scope),
        ("IF", [condition, then, otherwise]) => choose(condition, then, Some(otherwise), scope),
        (
            "METRICS" | "AVG" | "SUM" | "MIN" | "MAX" | "ABS" | "CEIL" | "FLOOR" | "DIFF" | "RATE"
            | "RUNNING_SUM" | "PERIOD" | "TIME_SERIES" | "FILL" | "IF",
            _,
        ) => Err(MathError::Wrong(format!("{name} takes other arguments"))),
        _ => Err(MathError::NoFunction(name.to_owned())),
    }
}

fn metrics(part: &str, scope: &mut dyn Scope) -> Value {
    let all = scope.metrics().into_iter().filter(|(id, _)| id.contains(part));
    Value::Array(all.map(|(_, series)| series).collect())
}

/// Of a time series a number; of an array a time series, from what there is at each time.
fn fold(value: Value, of: impl Fn(&[f64]) -> f64) -> Result<Value, MathError> {
    match value {
        Value::Number(_) => Err(wrong("A time series or an array is wanted, not a number")),
        Value::Series(series) if series.points.is_empty() => Ok(Value::Series(series)),
        Value::Series(series) => {
            Ok(Value::Number(of(&series.points.into_values().collect::<Vec<_>>())))
        }
        Value::Array(all) => {
            let period = all.iter().map(|series| series.period).max().unwrap_or_default();
            let mut times = BTreeMap::<i64, Vec<f64>>::new();
            for (at, value) in all.into_iter().flat_map(|series| series.points) {
                times.entry(at).or_default().push(value);
            }
            let points = finite(times.into_iter().map(|(at, values)| (at, of(&values))));
            Ok(Value::Series(Series { period, points }))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "small")]
fn length(all: &[f64]) -> f64 {
    all.len() as f64
}

fn pick(all: &[f64], better: fn(f64, f64) -> f64) -> f64 {
    all.iter().copied().reduce(better).unwrap_or(f64::NAN)
}

/// Each time series, changed.
fn each(value: Value, change: impl Fn(Series) -> Series) -> Result<Value, MathError> {
    match value {
        Value::Number(_) => Err(wrong("A time series is wanted, not a number")),
        Value::Series(series) => Ok(Value::Series(change(series))),
        Value::Array(all) => Ok(Value::Array(all.into_iter().map(change).collect())),
    }
}

/// From each point to the next: how much it rises, in how many seconds.
#[expect(clippy::cast_precision_loss, reason = "small")]
fn steps(series: &Series, of: impl Fn(f64, f64) -> f64) -> Series {
    let next = series.points.iter().skip(1);
    let steps = series
        .points
        .iter()
        .zip(next)
        .map(|((before, low), (at, high))| (*at, of(high - low, (at - before) as f64)));
    Series { period: series.period, points: finite(steps) }
}

fn running_sum(series: Series) -> Series {
    let mut sum = 0.0;
    let sums = series.points.into_iter().map(|(at, value)| {
        sum += value;
        (at, sum)
    });
    Series { period: series.period, points: finite(sums) }
}

#[expect(clippy::cast_precision_loss, reason = "small")]
fn period(value: &Value) -> Result<Value, MathError> {
    match value {
        Value::Series(series) => Ok(Value::Number(series.period as f64)),
        Value::Number(_) | Value::Array(_) => Err(wrong("PERIOD takes a time series")),
    }
}

fn time_series(value: &Value, scope: &dyn Scope) -> Result<Value, MathError> {
    match value {
        Value::Number(number) => {
            let period = scope.period();
            let points = finite(times(scope.times(period), period)?.map(|at| (at, *number)));
            Ok(Value::Series(Series { period, points }))
        }
        Value::Series(_) | Value::Array(_) => Err(wrong("TIME_SERIES takes a number")),
    }
}

/// When the periods begin.
fn times(range: Range<i64>, period: i64) -> Result<impl Iterator<Item = i64>, MathError> {
    let step = usize::try_from(period).ok().filter(|step| *step > 0);
    let step = step.ok_or(MathError::TooMuch)?;
    if (range.end - range.start) / period > MAX_FILLED {
        return Err(MathError::TooMuch);
    }
    Ok(range.step_by(step))
}

/// Puts points where there are none.
fn fill(of: &Expr, with: &Expr, scope: &mut dyn Scope) -> Result<Value, MathError> {
    let word = if let Expr::Text(word) = with { Some(&**word) } else { None };
    let filler = match word {
        Some("REPEAT") => Filler::Repeat,
        Some("LINEAR") => Filler::Linear,
        Some(_) | None => match evaluate(with, scope)? {
            Value::Number(number) => Filler::Number(number),
            Value::Series(other) => Filler::Series(other),
            Value::Array(_) => return Err(wrong("FILL takes a number, REPEAT or LINEAR")),
        },
    };
    let value = evaluate(of, scope)?;
    let fill = |series: Series| {
        let range = scope.times(series.period);
        filler.fill(series, range)
    };
    match value {
        Value::Number(_) => Err(wrong("FILL takes a time series")),
        Value::Series(series) => fill(series).map(Value::Series),
        Value::Array(all) => all.into_iter().map(fill).collect::<Result<_, _>>().map(Value::Array),
    }
}

enum Filler {
    Repeat,
    Linear,
    Number(f64),
    Series(Series),
}

impl Filler {
    fn fill(&self, series: Series, range: Range<i64>) -> Result<Series, MathError> {
        let known = &series.points;
        let all = times(range, series.period)?.filter_map(|at| {
            Some((at, known.get(&at).copied().or_else(|| self.point(known, at))?))
        });
        Ok(Series { period: series.period, points: finite(all) })
    }

    #[expect(clippy::cast_precision_loss, reason = "small")]
    fn point(&self, known: &BTreeMap<i64, f64>, at: i64) -> Option<f64> {
        let before = || known.range(..at).next_back();
        match self {
            Self::Number(number) => Some(*number),
            Self::Series(other) => other.points.get(&at).copied(),
            Self::Repeat => before().map(|(_, value)| *value),
            Self::Linear => {
                let (start, low) = before()?;
                let (end, high) = known.range(at..).next()?;
                let share = (at - start) as f64 / (end - start) as f64;
                Some(low + (high - low) * share)
            }
        }
    }
}

/// `IF(condition, then, otherwise)`, at each time; without `otherwise` there is no point.
fn choose(
    condition: &Expr,
    then: &Expr,
    otherwise: Option<&Expr>,
    scope: &mut dyn Scope,
) -> Result<Value, MathError> {
    let condition = evaluate(condition, scope)?;
    let then = evaluate(then, scope)?;
    let otherwise = otherwise.map(|it| evaluate(it, scope)).transpose()?;
    let otherwise = otherwise.unwrap_or(Value::Number(f64::NAN));
    if let Value::Number(condition) = condition {
        return Ok(if is_true(condition) { then } else { otherwise });
    }
    // What is not chosen leaves a hole, which the other half fills.
    let half = |value: &Value, is_for: bool| {
        combine(
            &condition,
            value,
            |condition, value| {
                if is_true(condition) == is_for { value } else { f64::NAN }
            },
        )
    };
    match (half(&then, true)?, half(&otherwise, false)?) {
        (Value::Series(mut one), Value::Series(other)) => {
            one.points.extend(other.points);
            Ok(Value::Series(one))
        }
        (Value::Array(_), _) | (_, Value::Array(_)) => {
            Err(wrong("IF takes time series and numbers, not arrays"))
        }
        (one @ (Value::Number(_) | Value::Series(_)), _) => Ok(one),
    }
}
