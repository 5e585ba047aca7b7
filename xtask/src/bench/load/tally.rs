//! What was seen of the calls of one load.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use super::answer::Answer;
use super::expected::Expected;

const LONGEST: u64 = 120_000_000;
const CLIPPED: usize = 300;

#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Microseconds from when a call was to begin to its right answer.
    pub(crate) latencies: Histogram<u64>,
    /// Of the right answers those that came after the load's end.
    pub(crate) after_end: u64,
    /// The answers with 200 that were not right.
    pub(crate) wrong: u64,
    /// Answers with another status.
    pub(crate) refused: BTreeMap<u16, u64>,
    pub(crate) refused_with_retry_after: u64,
    /// Microseconds from when a call was sent to its refusal.
    pub(crate) refusals: Histogram<u64>,
    /// Connections that broke amid a call.
    pub(crate) broken: u64,
    /// Calls that were sent and not answered in time.
    pub(crate) hung: u64,
    /// Calls whose time to begin passed while no connection was free.
    pub(crate) unsent: u64,
    /// What the first trouble looked like.
    pub(crate) trouble: Option<String>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            latencies: histogram()?,
            after_end: 0,
            wrong: 0,
            refused: BTreeMap::new(),
            refused_with_retry_after: 0,
            refusals: histogram()?,
            broken: 0,
            hung: 0,
            unsent: 0,
            trouble: None,
        })
    }

    pub(crate) fn right(&self) -> u64 {
        self.latencies.len()
    }

    pub(crate) fn n_refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Calls that did not end as they should.
    pub(crate) fn errors(&self) -> u64 {
        self.wrong + self.n_refused() + self.broken + self.hung + self.unsent
    }

    /// Takes in what came of a call that was to begin `since_planned` ago and was sent
    /// `since_sent` ago.
    pub(super) fn take(
        &mut self,
        answer: &Result<Answer<'_>>,
        expected: &Expected,
        since_planned: Duration,
        since_sent: Duration,
    ) {
        match answer {
            Ok(answer) if answer.status == 200 && expected.is_met_by(answer.body) => {
                self.latencies.saturating_record(micros(since_planned));
            }
            Ok(answer) if answer.status == 200 => {
                self.wrong += 1;
                self.note(|| format!("a wrong answer: {}", clipped(answer.body)));
            }
            Ok(answer) => {
                *self.refused.entry(answer.status).or_default() += 1;
                self.refused_with_retry_after += u64::from(answer.has_retry_after);
                self.refusals.saturating_record(micros(since_sent));
                self.note(|| format!("status {}: {}", answer.status, clipped(answer.body)));
            }
            Err(error) => {
                self.broken += 1;
                self.note(|| format!("{error:#}"));
            }
        }
    }

    fn note(&mut self, trouble: impl FnOnce() -> String) {
        if self.trouble.is_none() {
            self.trouble = Some(trouble());
        }
    }
}

fn clipped(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..CLIPPED).unwrap_or(body)).into_owned()
}

/// Microseconds, to three digits.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

pub(super) fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::answer::Answer;
    use super::super::expected::{Expected, Rule};
    use super::Tally;

    #[test]
    fn each_outcome_has_its_place() {
        let mut tally = Tally::new().unwrap();
        let expected = Expected::new(Rule::Exactly("right".into()));
        let (planned, sent) = (Duration::from_millis(5), Duration::from_millis(2));
        let answer = |status, body, has_retry_after| Answer { status, has_retry_after, body };
        for answer in [
            Ok(answer(200, b"right".as_slice(), false)),
            Ok(answer(200, b"wrong", false)),
            Ok(answer(429, b"later", true)),
            Ok(answer(503, b"no", false)),
            Err(anyhow::anyhow!("gone")),
        ] {
            tally.take(&answer, &expected, planned, sent);
        }
        assert_eq!((tally.right(), tally.wrong, tally.n_refused(), tally.broken), (1, 1, 2, 1));
        assert_eq!((tally.refused_with_retry_after, tally.errors()), (1, 4));
        assert!((4_990..=5_010).contains(&tally.latencies.max()));
        assert!((1_990..=2_010).contains(&tally.refusals.max()));
        assert_eq!(tally.trouble.as_deref(), Some("a wrong answer: wrong"));
    }
}
