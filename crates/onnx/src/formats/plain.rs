//! JSON arrays of plain numbers, which nearly all payloads are, in one pass.
//!
//! What is not plain (strings, bools, `null`, empty or ragged arrays, errors) is left to
//! [`super::nested`], which knows all of JSON and says what is wrong.

use crate::tensor::{Element, Shape};

/// The arrays of tensors nest a few levels deep.
const MAX_DEPTH: usize = 16;

/// A JSON text from where it is read on.
pub(super) struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Self { rest }
    }

    /// Skips white space, and then `mark` if it comes next.
    pub(super) fn take(&mut self, mark: &str) -> Option<()> {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
        self.rest = self.rest.strip_prefix(mark)?;
        Some(())
    }

    /// Whether nothing but white space is left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.take("").is_some() && self.rest.is_empty()
    }

    /// Reads nested arrays of numbers, or a number. On `None` some values may have been added.
    pub(super) fn array<T: Element>(&mut self, values: &mut Vec<T>) -> Option<Shape> {
        let mut shape = Shape::new();
        while self.take("[").is_some() {
            shape.push(0);
        }
        if shape.len() > MAX_DEPTH {
            return None;
        }
        let mut sizes = Shape::from_elem(0, shape.len());
        loop {
            values.push(self.number()?);
            let mut closed = shape.len(); // The level of the array that the last value ended in.
            while closed > 0 {
                sizes[closed - 1] += 1;
                if self.take("]").is_none() {
                    break;
                }
                closed -= 1;
                end_of_array(&mut shape[closed], &mut sizes[closed])?;
            }
            if closed == 0 {
                return Some(shape);
            }
            self.take(",")?;
            for _ in closed..shape.len() {
                self.take("[")?;
            }
        }
    }

    /// Reads what JSON calls a number.
    fn number<T: Element>(&mut self) -> Option<T> {
        self.take("")?;
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
        };
        let start = usize::from(bytes.first() == Some(&b'-'));
        let mut end = digits(start);
        if end == start || (bytes[start] == b'0' && end > start + 1) {
            return None;
        }
        if bytes.get(end) == Some(&b'.') {
            let fraction = end + 1;
            end = digits(fraction);
            if end == fraction {
                return None;
            }
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = digits(exponent);
            if end == exponent {
                return None;
            }
        }
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        T::from_plain(number)
    }
}

/// All arrays of one level must be as long as the first of them.
fn end_of_array(first: &mut usize, counted: &mut usize) -> Option<()> {
    let n = std::mem::take(counted);
    if *first == 0 {
        *first = n;
    }
    (*first == n).then_some(())
}

#[cfg(test)]
mod tests {
    use super::Text;

    fn check(json: &str, expected: Option<(&[usize], &[f32])>) {
        let mut values: Vec<f32> = Vec::new();
        let mut text = Text::new(json);
        let shape = text.array(&mut values).filter(|_| text.is_at_end());
        let found = shape.as_ref().map(|shape| (shape.as_slice(), values.as_slice()));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn reads_arrays_of_numbers() {
        check("7", Some((&[], &[7.0])));
        check("[1]", Some((&[1], &[1.0])));
        check(" [ 1 , -2.5e1 ] ", Some((&[2], &[1.0, -25.0])));
        check("[[1,2],[3,4],[5,6]]", Some((&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])));
        check("[[[1],[2]],[[3],[4]]]", Some((&[2, 2, 1], &[1.0, 2.0, 3.0, 4.0])));
        check("[0.5,-0,0e0,1E+2]", Some((&[4], &[0.5, 0.0, 0.0, 100.0])));
    }

    #[test]
    fn leaves_the_rest_to_others() {
        for json in [
            "",
            "[",
            "[]",
            "[[]]",
            "[1,]",
            "[1 2]",
            "[1]]",
            "[[1],2]",
            "[1,[2]]",
            "[[1,2],[3]]",
            "[+1]",
            "[01]",
            "[.5]",
            "[5.]",
            "[1e]",
            "[-]",
            "[nan]",
            "[1e999]",
            "[1e39]",
            "[null]",
            "[\"1\"]",
            "[true]",
            "[{}]",
            "[1}",
            "[[1],[2]],",
        ] {
            check(json, None);
        }
        let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
        check(&deep, None);
    }
}
