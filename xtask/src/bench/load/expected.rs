//! What must come back.

use std::sync::OnceLock;

use bytes::Bytes;

/// Sides compute in another order, or decode pictures another way.
const TOLERANCE: f64 = 1e-4;

/// A rule for the first answer; those after it must say the same.
#[derive(Debug)]
pub(crate) struct Expected {
    rule: Rule,
    learnt: OnceLock<Bytes>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    /// Just these bytes.
    Exactly(Bytes),
    /// These bytes, somewhere.
    Holds(Bytes),
    /// These numbers, one after the other.
    Numbers(Vec<f64>),
}

impl Expected {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, learnt: OnceLock::new() }
    }

    /// True if `body` is a right answer. Comparing bytes is all that most answers need.
    pub(crate) fn is_met_by(&self, body: &[u8]) -> bool {
        if let Rule::Exactly(bytes) = &self.rule {
            return body == bytes;
        }
        let Some(learnt) = self.learnt.get() else {
            let is_met = self.rule.is_met_by(body);
            if is_met {
                // Another answer may have been quicker; it was right as well.
                let _kept = self.learnt.set(Bytes::copy_from_slice(body));
            }
            return is_met;
        };
        body == learnt || self.rule.is_met_by(body) && same(&numbers(body), &numbers(learnt))
    }
}

impl Rule {
    fn is_met_by(&self, body: &[u8]) -> bool {
        match self {
            Self::Exactly(bytes) => body == bytes,
            Self::Holds(bytes) => {
                body.len() >= bytes.len() && body.windows(bytes.len()).any(|part| part == bytes)
            }
            Self::Numbers(wanted) => {
                numbers(body).windows(wanted.len()).any(|part| same(part, wanted))
            }
        }
    }
}

/// All numbers of a text, strings included.
fn numbers(text: &[u8]) -> Vec<f64> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let parts = text.split(|byte| !is_of_number(byte));
    parts.filter_map(|part| std::str::from_utf8(part).ok()?.parse().ok()).collect()
}

fn same(some: &[f64], others: &[f64]) -> bool {
    let is_near = |(some, other): (&f64, &f64)| {
        (some - other).abs() <= TOLERANCE * some.abs().max(other.abs()).max(0.1)
    };
    some.len() == others.len() && some.iter().zip(others).all(is_near)
}

#[cfg(test)]
mod tests {
    use super::{Expected, Rule};

    fn check(rule: Rule, body: &str, expected: bool) {
        assert_eq!(Expected::new(rule.clone()).is_met_by(body.as_bytes()), expected, "{rule:?}");
    }

    #[test]
    fn rules() {
        check(Rule::Exactly("ab".into()), "ab", true);
        check(Rule::Exactly("ab".into()), "abc", false);
        check(Rule::Holds("ab".into()), "[\"ab\"]", true);
        check(Rule::Holds("ab".into()), "a", false);
        check(Rule::Numbers(vec![0.5, 0.25]), "{\"label\":1,\"p\":[[0.5,2.5e-1]]}", true);
        check(Rule::Numbers(vec![0.5, 0.25]), "[0.25,0.5]", false);
        check(Rule::Numbers(vec![0.5, 0.25]), "[0.500001,0.25]", true);
    }

    #[test]
    fn later_answers_say_the_same_as_the_first() {
        let expected = Expected::new(Rule::Numbers(vec![7.0]));
        assert!(expected.is_met_by(b"[7, 0.5]"));
        assert!(expected.is_met_by(b"[7, 0.50000001]"));
        assert!(!expected.is_met_by(b"[7, 0.6]"));
        assert!(!expected.is_met_by(b"[7]"));
    }
}
