use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// Some series, by minute.
struct Given(Vec<(&'static str, Vec<Option<f64>>)>);

impl Given {
    fn series(points: &[Option<f64>]) -> Series {
        let at = |index: usize| i64::try_from(index).unwrap() * 60;
        let points = points.iter().enumerate();
        Series { period: 60, points: points.filter_map(|(i, it)| Some((at(i), (*it)?))).collect() }
    }
}

impl Scope for Given {
    fn value(&mut self, id: &str) -> Result<Value, MathError> {
        let found = self.0.iter().find(|(name, _)| *name == id);
        let (_, points) = found.ok_or_else(|| MathError::NoId(id.to_owned()))?;
        Ok(Value::Series(Self::series(points)))
    }

    fn metrics(&mut self) -> Vec<(String, Series)> {
        self.0.iter().map(|(id, points)| ((*id).to_owned(), Self::series(points))).collect()
    }

    fn times(&self, _: i64) -> Range<i64> {
        0..240
    }

    fn period(&self) -> i64 {
        60
    }
}

fn given() -> Given {
    Given(vec![
        ("a1", vec![Some(1.0), Some(2.0), None, Some(8.0)]),
        ("a2", vec![Some(10.0), None, Some(30.0), Some(0.0)]),
        ("none", vec![None; 4]),
    ])
}

fn value(text: &str) -> Result<Value, MathError> {
    evaluate(&parse(text)?, &mut given())
}

fn number(text: &str, expected: f64) {
    assert_eq!(value(text), Ok(Value::Number(expected)), "{text}");
}

/// `-` where there is no point.
fn series(text: &str, expected: &str) {
    let read = |word: &str| word.parse().ok();
    let points: Vec<Option<f64>> = expected.split_whitespace().map(read).collect();
    assert_eq!(value(text), Ok(Value::Series(Given::series(&points))), "{text}");
}

fn refused(text: &str, expected: &str) {
    let error = value(text).expect_err(text).to_string();
    assert!(error.contains(expected), "{text}: {error}");
}

#[test]
fn numbers() {
    number("1 + 2 * 3 - 4 / 2", 5.0);
    number("(1+2)*3", 9.0);
    number("2^3^2", 512.0);
    number("-2^2", -4.0);
    number("2^-1", 0.5);
    number("--1.5e2", 150.0);
    number("10 - 4 - 3", 3.0);
    number("1 < 2 AND 2 <= 2 && 3 != 3 || 1 == 1", 1.0);
    number("1 > 2 OR 2 >= 3", 0.0);
    number("IF(0, 1, 2)", 2.0);
    number("CEIL(1.2) + FLOOR(-1.2) + ABS(-3)", 3.0);
}

#[test]
fn series_with_numbers_and_series() {
    series("a1 * 100", "100 200 - 800");
    series("100 - a1", "99 98 - 92");
    series("a1 + a2", "11 - - 8");
    series("a1 / a2", "0.1 - - -"); // A division by zero is no point.
    series("a1 > 1", "0 1 - 1");
    series("IF(a1 > 1, a1)", "- 2 - 8");
    series("IF(a1 > 1, a1, 0)", "0 2 - 8");
    series("IF(a1 > 1, 7, -a2)", "-10 7 - 7");
    series("IF(1, a1, a2)", "1 2 - 8");
}

#[test]
fn functions_of_series() {
    number("AVG(a2)", 40.0 / 3.0);
    number("SUM(a1)", 11.0);
    number("MIN(a1) + MAX(a2)", 31.0);
    number("PERIOD(a1)", 60.0);
    series("SUM(none)", "- - - -");
    series("DIFF(a1)", "- 1 - 6");
    series("RATE(a1) * 60", "- 1 - 3");
    series("RUNNING_SUM(a1)", "1 3 - 11");
    series("FILL(a1, 0)", "1 2 0 8");
    series("FILL(a1, REPEAT)", "1 2 2 8");
    series("FILL(a1, LINEAR)", "1 2 5 8");
    series("FILL(a1, a2)", "1 2 30 8");
    series("FILL(none, LINEAR)", "- - - -");
    series("TIME_SERIES(4)", "4 4 4 4");
    series("a1 / SUM(a1) * 11", "1 2 - 8");
}

#[test]
fn arrays() {
    series("SUM([a1, a2])", "11 2 30 8");
    series("AVG(METRICS())", "5.5 2 30 4");
    series("MAX(METRICS(\"2\"))", "10 - 30 0");
    series("MIN([a1, a2] * 2)", "2 4 60 0");
    let Ok(Value::Array(all)) = value("[a1, a2] - a1") else { panic!("not an array") };
    assert_eq!(all[0], Given::series(&[Some(0.0), Some(0.0), None, Some(0.0)]));
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    refused("SEARCH('{N,D} m', 'Sum', 60)", "The function SEARCH is not supported");
    refused("ANOMALY_DETECTION_BAND(a1)", "ANOMALY_DETECTION_BAND");
    refused("b1 + 1", "no metric or expression with the id b1");
    refused("AVG(1)", "not a number");
    refused("AVG(a1, a2)", "AVG takes other arguments");
    refused("IF([a1], 1, 2)", "not arrays");
    refused("[a1] + [a1, a2]", "same length");
    refused("[1]", "time series only");
    refused("FILL(1, 2)", "FILL takes a time series");
    refused("TIME_SERIES(a1)", "takes a number");
}

#[test]
fn what_is_no_expression_is_refused() {
    for (text, expected) in [
        ("", "end of the expression"),
        ("1 +", "end of the expression"),
        ("(1", "end of the expression"),
        ("1 2", "number 2"),
        ("a1 a2", "word a2"),
        ("1..2", "number 1..2"),
        ("\"a", "end of a string"),
        ("a1 % 2", "character %"),
        ("*", "operator Multiply"),
        ("SUM(a1,)", "bracket"),
        ("é", "character é"),
        ("'x'", "string x"),
    ] {
        refused(text, expected);
    }
    for part in ["(", "-", "[", "SUM(", "2^", "1+(", "1 OR -"] {
        refused(&part.repeat(1000), "");
    }
    refused(&"(".repeat(60), "nested too deep");
    number(&vec!["1"; 200].join("+"), 200.0);
    refused(&vec!["1"; 1000].join("+"), "nested too deep");
}

proptest! {
    #[test]
    fn never_panics(text in "[a-zA-Z0-9 ()\\[\\],.+*/^<>=!&|\"'e-]{0,60}", other: String) {
        drop(value(&text));
        drop(value(&other));
    }

    #[test]
    fn expressions_of_known_words_do_not_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a1", "none", "1", "0", "-", "+", "/", "^", "(", ")", "[", "]", ",", "SUM(", "FILL(",
                "IF(", "RATE(", "METRICS()", "REPEAT", "AND", "<",
            ]),
            0..20,
        ),
    ) {
        drop(value(&words.join(" ")));
    }
}
