//! The time format of signatures: `20150830T123600Z`.

use jiff::civil;
use jiff::tz::TimeZone;
use sagebrush_core::Timestamp;

/// Reads exactly that form.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range].iter().try_fold(0_i16, |sum, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + i16::from(byte - b'0'))
        })
    };
    let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
    let date = civil::Date::new(number(0..4)?, small(4..6)?, small(6..8)?).ok()?;
    let time = civil::Time::new(small(9..11)?, small(11..13)?, small(13..15)?, 0).ok()?;
    let at = TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?;
    Some(Timestamp(at.as_millisecond()))
}

pub(super) fn format(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The `Date` header, for clients that send no `X-Amz-Date`, in the form of signatures.
pub(super) fn from_http_date(text: &str) -> Option<String> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(format(Timestamp(at.timestamp().as_millisecond())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_form_only() {
        assert_eq!(parse("20150830T123600Z"), Some(Timestamp(1_440_938_160_000)));
        assert_eq!(format(Timestamp(1_440_938_160_000)), "20150830T123600Z");
        let http = from_http_date("Sun, 30 Aug 2015 12:36:00 GMT");
        assert_eq!(http.as_deref(), Some("20150830T123600Z"));
        for bad in [
            "",
            "20150830",
            "20150830T123600",
            "20151330T123600Z",
            "20150832T123600Z",
            "20150830T253600Z",
            "2015083aT123600Z",
            "20150830 123600Z",
            "-0150830T123600Z",
            "20150830T12360٠Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
