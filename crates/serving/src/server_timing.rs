//! The `Server-Timing` header: where the time of a call went, in milliseconds.

use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::reply::Spent;

/// Room for times of up to an hour each.
type Text = SmallVec<[u8; 192]>;

/// The header's value. The batch is described by its size. Written on every call, so without the
/// machinery of `format!`.
pub(crate) fn value(spent: &Spent) -> HeaderValue {
    let mut text = Text::new();
    part(&mut text, "queue;dur=", spent.queued);
    part(&mut text, ", batch;dur=", spent.gathered);
    text.extend_from_slice(b";desc=");
    number(&mut text, u64::try_from(spent.batch_size).unwrap_or(u64::MAX));
    part(&mut text, ", pre;dur=", spent.timings.pre);
    part(&mut text, ", model;dur=", spent.timings.model);
    part(&mut text, ", post;dur=", spent.timings.post);
    part(&mut text, ", overhead;dur=", spent.overhead());
    part(&mut text, ", total;dur=", spent.total);
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Milliseconds with three digits.
fn part(text: &mut Text, name: &str, took: Duration) {
    text.extend_from_slice(name.as_bytes());
    let micros = took.as_secs().saturating_mul(1_000_000) + u64::from(took.subsec_micros());
    number(text, micros / 1000);
    text.push(b'.');
    for digit in [micros / 100 % 10, micros / 10 % 10, micros % 10] {
        text.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

fn number(text: &mut Text, n: u64) {
    if n >= 10 {
        number(text, n / 10);
    }
    text.push(b'0' + u8::try_from(n % 10).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::value;
    use crate::reply::Spent;

    #[test]
    fn milliseconds_with_three_digits() {
        let spent = Spent {
            total: Duration::from_micros(12_345),
            model_latency: Duration::from_millis(12),
            queued: Duration::from_secs(60),
            gathered: Duration::from_nanos(1_007_999),
            batch_size: 120,
            ..Spent::default()
        };
        assert_eq!(
            value(&spent).to_str().unwrap(),
            "queue;dur=60000.000, batch;dur=1.007;desc=120, pre;dur=0.000, model;dur=0.000, \
             post;dur=0.000, overhead;dur=0.345, total;dur=12.345"
        );
    }
}
