//! What is told of a period's values, under CloudWatch's names.

use std::fmt;
use std::str::FromStr;

use crate::sketch::Sketch;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    /// `p99.9`: 99.9.
    Percentile(f64),
    /// `tm90`, `TM(10%:90%)`: the average of the values within bounds. `IQM` is `TM(25%:75%)`.
    TrimmedMean(Bounds),
    /// `wm90`: the average, with values beyond a bound counting as the bound.
    WinsorizedMean(Bounds),
    /// `tc90`: how many values are within bounds.
    TrimmedCount(Bounds),
    /// `ts90`: their sum.
    TrimmedSum(Bounds),
    /// `PR(:300)`: which share of the values is within bounds, in percent.
    PercentileRank(Bounds),
}

/// Which values count. What is missing does not bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bounds {
    /// By their rank among all values, in percent.
    Percent(Option<f64>, Option<f64>),
    /// By themselves: above the first, and not above the second.
    Value(Option<f64>, Option<f64>),
}

impl Statistic {
    /// Of `values`; `None` if it cannot be told.
    #[must_use]
    pub fn of(self, values: &Sketch) -> Option<f64> {
        match self {
            Self::SampleCount => (!values.is_empty()).then(|| values.count()),
            Self::Average => values.average(),
            Self::Sum => (!values.is_empty()).then(|| values.sum()),
            Self::Minimum => values.min(),
            Self::Maximum => values.max(),
            Self::Percentile(percent) => values.quantile(percent / 100.0),
            Self::TrimmedMean(bounds) => {
                let within = bounds.within(values)?;
                let n_values = count(&within);
                (n_values > 0.0).then(|| sum(&within) / n_values)
            }
            Self::TrimmedCount(bounds) => bounds.within(values).map(|within| count(&within)),
            Self::TrimmedSum(bounds) => bounds.within(values).map(|within| sum(&within)),
            Self::WinsorizedMean(bounds) => {
                let (low, high) = bounds.as_values(values);
                let low = low.unwrap_or(f64::NEG_INFINITY);
                let high = high.unwrap_or(f64::INFINITY).max(low);
                let bins = values.bins()?.into_iter();
                let bounded: Vec<_> =
                    bins.map(|(value, count)| (value.clamp(low, high), count)).collect();
                Some(sum(&bounded) / count(&bounded))
            }
            Self::PercentileRank(bounds) => {
                Some(count(&bounds.within(values)?) / values.count() * 100.0)
            }
        }
    }
}

impl Bounds {
    /// The bins of the values that count; of a bin that a bound cuts, a part.
    fn within(self, values: &Sketch) -> Option<Vec<(f64, f64)>> {
        let bins = values.bins()?;
        match self {
            Self::Value(low, high) => {
                let counts = |value: &f64| {
                    low.is_none_or(|low| *value > low) && high.is_none_or(|high| *value <= high)
                };
                Some(bins.into_iter().filter(|(value, _)| counts(value)).collect())
            }
            Self::Percent(low, high) => {
                let rank = |percent: f64| percent / 100.0 * values.count();
                let (from, to) = (rank(low.unwrap_or(0.0)), rank(high.unwrap_or(100.0)));
                let mut below = 0.0;
                let part = |(value, count): (f64, f64)| {
                    let (start, end) = (below, below + count);
                    below = end;
                    (value, (end.min(to) - start.max(from)).max(0.0))
                };
                let parts = bins.into_iter().map(part);
                Some(parts.filter(|(_, count)| *count > 0.0).collect())
            }
        }
    }

    /// The bounds as values.
    fn as_values(self, values: &Sketch) -> (Option<f64>, Option<f64>) {
        match self {
            Self::Value(low, high) => (low, high),
            Self::Percent(low, high) => {
                let value = |percent: f64| values.quantile(percent / 100.0);
                (low.and_then(value), high.and_then(value))
            }
        }
    }
}

fn count(bins: &[(f64, f64)]) -> f64 {
    bins.iter().map(|(_, count)| count).sum()
}

fn sum(bins: &[(f64, f64)]) -> f64 {
    bins.iter().map(|(value, count)| value * count).sum()
}

impl FromStr for Statistic {
    type Err = UnknownStatistic;

    fn from_str(word: &str) -> Result<Self, UnknownStatistic> {
        let known = match word {
            "SampleCount" => Some(Self::SampleCount),
            "Average" => Some(Self::Average),
            "Sum" => Some(Self::Sum),
            "Minimum" => Some(Self::Minimum),
            "Maximum" => Some(Self::Maximum),
            "IQM" => Some(Self::TrimmedMean(Bounds::Percent(Some(25.0), Some(75.0)))),
            _ => bounded(word)
                .or_else(|| word.strip_prefix('p').and_then(percent).map(Self::Percentile)),
        };
        known.ok_or_else(|| UnknownStatistic(word.to_owned()))
    }
}

/// `tm90` or `TM(10%:90%)`, and so on.
fn bounded(word: &str) -> Option<Statistic> {
    let name = word.get(..2)?;
    let rest = &word[2..];
    let in_brackets = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let bounds = match in_brackets {
        Some(text) if name.bytes().all(|it| it.is_ascii_uppercase()) => bounds(text)?,
        None if name.bytes().all(|it| it.is_ascii_lowercase()) => {
            Bounds::Percent(None, Some(percent(rest)?))
        }
        Some(_) | None => return None,
    };
    match name {
        "tm" | "TM" => Some(Statistic::TrimmedMean(bounds)),
        "wm" | "WM" => Some(Statistic::WinsorizedMean(bounds)),
        "tc" | "TC" => Some(Statistic::TrimmedCount(bounds)),
        "ts" | "TS" => Some(Statistic::TrimmedSum(bounds)),
        "PR" if matches!(bounds, Bounds::Value(..)) => Some(Statistic::PercentileRank(bounds)),
        _ => None,
    }
}

/// `10%:90%`, `:300`, `5%:`.
fn bounds(text: &str) -> Option<Bounds> {
    let (low, high) = text.split_once(':')?;
    if low.is_empty() && high.is_empty() {
        return None;
    }
    let is_percent = |text: &str| text.is_empty() || text.ends_with('%');
    let is_increasing =
        |low: Option<f64>, high: Option<f64>| low.zip(high).is_none_or(|(low, high)| low < high);
    if is_percent(low) && is_percent(high) {
        let read = |text: &str| match text.strip_suffix('%') {
            Some(text) => percent(text).map(Some),
            None => Some(None),
        };
        let (low, high) = (read(low)?, read(high)?);
        return is_increasing(low, high).then_some(Bounds::Percent(low, high));
    }
    let read = |text: &str| if text.is_empty() { Some(None) } else { number(text).map(Some) };
    let (low, high) = (read(low)?, read(high)?);
    is_increasing(low, high).then_some(Bounds::Value(low, high))
}

fn percent(text: &str) -> Option<f64> {
    number(text).filter(|percent| (0.0..=100.0).contains(percent))
}

/// Digits with a point: Rust knows more numbers than CloudWatch.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|it| it.is_ascii_digit() || matches!(it, b'.' | b'-'));
    text.parse().ok().filter(|_| is_plain)
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SampleCount => f.write_str("SampleCount"),
            Self::Average => f.write_str("Average"),
            Self::Sum => f.write_str("Sum"),
            Self::Minimum => f.write_str("Minimum"),
            Self::Maximum => f.write_str("Maximum"),
            Self::Percentile(percent) => write!(f, "p{percent}"),
            Self::TrimmedMean(bounds) => write!(f, "TM({bounds})"),
            Self::WinsorizedMean(bounds) => write!(f, "WM({bounds})"),
            Self::TrimmedCount(bounds) => write!(f, "TC({bounds})"),
            Self::TrimmedSum(bounds) => write!(f, "TS({bounds})"),
            Self::PercentileRank(bounds) => write!(f, "PR({bounds})"),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high, sign) = match self {
            Self::Percent(low, high) => (low, high, "%"),
            Self::Value(low, high) => (low, high, ""),
        };
        if let Some(low) = low {
            write!(f, "{low}{sign}")?;
        }
        f.write_str(":")?;
        high.map_or(Ok(()), |high| write!(f, "{high}{sign}"))
    }
}

/// No statistic is called so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no statistic {0}")]
pub struct UnknownStatistic(pub String);

#[cfg(test)]
mod tests {
    use super::{Sketch, Statistic};

    #[test]
    fn statistics_are_told_by_their_words() {
        for word in [
            "SampleCount",
            "Average",
            "Sum",
            "Minimum",
            "Maximum",
            "p50",
            "p99.9",
            "TM(10%:90%)",
            "WM(5%:)",
            "TC(:0.5)",
            "TS(80:500)",
            "PR(:300)",
        ] {
            let statistic: Statistic = word.parse().expect(word);
            assert_eq!(statistic.to_string(), word);
        }
        for (word, long) in [("tm99", "TM(:99%)"), ("wm99.9", "WM(:99.9%)"), ("IQM", "TM(25%:75%)")]
        {
            assert_eq!(word.parse::<Statistic>(), long.parse(), "{word}");
        }
        for word in [
            "",
            "p",
            "p101",
            "p-1",
            "pNaN",
            "pinf",
            "average",
            "px",
            "é",
            "tm",
            "tm101",
            "TM99",
            "TM()",
            "TM(:)",
            "TM(90%:10%)",
            "TM(10%:5)",
            "PR(1%:2%)",
            "pr90",
            "xx90",
            "TM(1e3:)",
            "tm(1:2)",
        ] {
            assert!(word.parse::<Statistic>().is_err(), "{word}");
        }
    }

    #[test]
    fn statistics_of_the_numbers_up_to_a_hundred() {
        let mut values = Sketch::default();
        (1..=100).for_each(|value| values.add(f64::from(value), 1.0));
        for (word, expected) in [
            ("tm90", 45.5),
            ("TM(10%:90%)", 50.5),
            ("TM(20.5:30.5)", 25.5),
            ("IQM", 50.5),
            ("tc90", 90.0),
            ("TC(20.5:30.5)", 10.0),
            ("ts10", 55.0),
            ("wm90", 50.0),
            ("WM(:50)", 37.75),
            ("PR(:30.5)", 30.0),
            ("PR(30.5:90.5)", 60.0),
        ] {
            let statistic: Statistic = word.parse().expect(word);
            let value = statistic.of(&values).expect(word);
            assert!((value - expected).abs() <= 0.02 * expected, "{word}: {value}");
        }
        let none: Statistic = "TM(200:)".parse().expect("is one");
        assert_eq!(none.of(&values), None);
        assert_eq!(none.of(&Sketch::default()), None);
    }
}
