//! Tables in Markdown, and how figures are written.

use crate::bench::figures::float;

pub(super) struct Table {
    text: String,
}

impl Table {
    /// The first column is left-aligned, the others are figures.
    pub(super) fn new(head: &[&str]) -> Self {
        let mut table = Self { text: String::new() };
        table.row(head.iter().map(ToString::to_string));
        table.row((0..head.len()).map(|n| if n == 0 { "---" } else { "---:" }.to_owned()));
        table
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.text.push('|');
        for cell in cells {
            self.text.push_str(&format!(" {cell} |"));
        }
        self.text.push('\n');
    }

    pub(super) fn end(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// Three digits at least, no more than make sense.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".to_owned(),
        100.0.. => grouped(value),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(super) fn count(value: u64) -> String {
    grouped(float(value))
}

pub(super) fn ratio(ours: f64, other: f64) -> String {
    let ratio = ours / other;
    if ratio.is_finite() { format!("{ratio:.2}") } else { "–".to_owned() }
}

pub(super) fn percent(part: f64) -> String {
    if part.is_finite() { format!("{:.0} %", part * 100.0) } else { "–".to_owned() }
}

pub(super) fn mebibytes(bytes: u64) -> String {
    figure(float(bytes) / f64::from(1 << 20))
}

/// Whole, with a comma at the thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::{figure, mebibytes, percent, ratio};

    #[test]
    fn figures_have_their_digits() {
        for (value, expected) in [
            (0.0224, "0.022"),
            (4.2, "4.20"),
            (15.26, "15.3"),
            (408.4, "408"),
            (35_762.4, "35,762"),
            (1_234_567.0, "1,234,567"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figure(value), expected);
        }
        assert_eq!((ratio(1.0, 3.0), ratio(1.0, 0.0)), ("0.33".to_owned(), "–".to_owned()));
        assert_eq!((mebibytes(30 << 20), percent(0.949)), ("30.0".to_owned(), "95 %".to_owned()));
    }
}
