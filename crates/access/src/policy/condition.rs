//! The conditions of a statement.

use std::net::IpAddr;

use sagebrush_core::network::Network;

use super::facts::Facts;
use super::parse::PolicyError;
use super::pattern::Pattern;

/// One key of one operator, with the values of which one must fit.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// In lower case.
    key: String,
    test: Test,
    /// `StringNotEquals`: no value may fit.
    is_not: bool,
    on_missing: bool,
}

#[derive(Debug, Clone)]
enum Test {
    Text(Vec<Pattern>),
    /// Each part of an ARN for itself.
    Arn(Vec<Vec<Pattern>>),
    Number(Compare, Vec<f64>),
    /// Milliseconds since 1970.
    Date(Compare, Vec<i64>),
    Ip(Vec<Network>),
    /// Whether the key must be missing.
    Null(Vec<bool>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Condition {
    pub(super) fn parse(operator: &str, key: &str, values: &[String]) -> Result<Self, PolicyError> {
        let unserved = || PolicyError::Unserved(format!("The condition operator {operator}"));
        let any = operator.strip_prefix("ForAnyValue:");
        let all = operator.strip_prefix("ForAllValues:");
        let plain = any.or(all).unwrap_or(operator);
        let if_exists = plain.strip_suffix("IfExists");
        let plain = if_exists.unwrap_or(plain);
        let (plain, is_not) = positive(plain);
        if plain == "Null" && (any.is_some() || all.is_some() || if_exists.is_some()) {
            return Err(unserved());
        }
        let test = Test::parse(plain, values).ok_or_else(unserved)?;
        let test = test.ok_or_else(|| PolicyError::Element(format!("{operator} of {key}")))?;
        // A key that is missing has no value that could break a rule on all of them or a "not".
        let on_missing = if_exists.is_some() || all.is_some() || (is_not && any.is_none());
        Ok(Self { key: key.to_ascii_lowercase(), test, is_not, on_missing })
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let value = facts.value(&self.key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&value.is_none());
        }
        value.map_or(self.on_missing, |value| self.test.fits(&value, facts) != self.is_not)
    }
}

/// The operator without its `Not`, and whether it had one.
fn positive(operator: &str) -> (&str, bool) {
    match operator {
        "StringNotEquals" => ("StringEquals", true),
        "StringNotEqualsIgnoreCase" => ("StringEqualsIgnoreCase", true),
        "StringNotLike" => ("StringLike", true),
        "NumericNotEquals" => ("NumericEquals", true),
        "DateNotEquals" => ("DateEquals", true),
        "NotIpAddress" => ("IpAddress", true),
        "ArnNotEquals" | "ArnNotLike" => ("ArnLike", true),
        positive => (positive, false),
    }
}

impl Test {
    /// The outer `None`: there is no such operator. The inner: a value is not what it should be.
    fn parse(operator: &str, values: &[String]) -> Option<Option<Self>> {
        let texts = |pattern: fn(&str) -> Pattern| {
            Some(Self::Text(values.iter().map(|value| pattern(value)).collect()))
        };
        let test = match operator {
            "StringEquals" => texts(Pattern::plain),
            "StringLike" => texts(Pattern::wild),
            "StringEqualsIgnoreCase" => texts(|value| Pattern::plain(value).ignoring_case()),
            "ArnEquals" | "ArnLike" => Some(Self::Arn(values.iter().map(|v| arn(v)).collect())),
            "Bool" => truths(values).and_then(|_| texts(|v| Pattern::plain(v).ignoring_case())),
            "Null" => truths(values).map(Self::Null),
            "IpAddress" => {
                values.iter().map(|v| v.parse().ok()).collect::<Option<_>>().map(Self::Ip)
            }
            other => return Self::compared(other, values),
        };
        Some(test)
    }

    fn compared(operator: &str, values: &[String]) -> Option<Option<Self>> {
        let numeric = operator.strip_prefix("Numeric");
        let compare = match numeric.or_else(|| operator.strip_prefix("Date"))? {
            "Equals" => Compare::Equal,
            "LessThan" => Compare::Less,
            "LessThanEquals" => Compare::LessEqual,
            "GreaterThan" => Compare::Greater,
            "GreaterThanEquals" => Compare::GreaterEqual,
            _ => return None,
        };
        Some(if numeric.is_some() {
            let numbers = values.iter().map(|value| number(value)).collect::<Option<_>>();
            numbers.map(|numbers| Self::Number(compare, numbers))
        } else {
            let dates = values.iter().map(|value| date(value)).collect::<Option<_>>();
            dates.map(|dates| Self::Date(compare, dates))
        })
    }

    /// Whether one of the values fits.
    fn fits(&self, value: &str, facts: &Facts<'_>) -> bool {
        match self {
            Self::Text(patterns) => patterns.iter().any(|pattern| pattern.matches(value, facts)),
            Self::Arn(arns) => arns.iter().any(|wanted| arn_fits(wanted, value, facts)),
            Self::Number(compare, wanted) => {
                number(value).is_some_and(|seen| wanted.iter().any(|one| compare.holds(&seen, one)))
            }
            Self::Date(compare, wanted) => {
                date(value).is_some_and(|seen| wanted.iter().any(|one| compare.holds(&seen, one)))
            }
            Self::Ip(networks) => value
                .parse::<IpAddr>()
                .is_ok_and(|ip| networks.iter().any(|network| network.has(ip))),
            Self::Null(_) => false,
        }
    }
}

impl Compare {
    fn holds<T: PartialOrd>(self, seen: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => seen == wanted,
            Self::Less => seen < wanted,
            Self::LessEqual => seen <= wanted,
            Self::Greater => seen > wanted,
            Self::GreaterEqual => seen >= wanted,
        }
    }
}

fn truths(values: &[String]) -> Option<Vec<bool>> {
    values.iter().map(|value| value.to_ascii_lowercase().parse().ok()).collect()
}

fn number(value: &str) -> Option<f64> {
    value.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// ISO 8601, or seconds since 1970.
fn date(value: &str) -> Option<i64> {
    if let Ok(seconds) = value.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    if let Ok(at) = value.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let day = value.parse::<jiff::civil::Date>().ok()?;
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(midnight.timestamp().as_millisecond())
}

/// `arn:partition:service:region:account:resource`; colons belong to the resource from there on.
fn arn(text: &str) -> Vec<Pattern> {
    arn_parts(text).map(Pattern::wild).collect()
}

/// A variable like `${aws:username}` has a colon that divides nothing.
fn arn_parts(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.splitn(6, move |character| {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        character == ':' && depth == 0
    })
}

fn arn_fits(wanted: &[Pattern], value: &str, facts: &Facts<'_>) -> bool {
    let parts: Vec<&str> = value.splitn(6, ':').collect();
    parts.len() == wanted.len()
        && parts.iter().zip(wanted).all(|(part, pattern)| pattern.matches(part, facts))
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;
    use sagebrush_core::access::Asked;

    use super::*;

    fn holds(operator: &str, key: &str, values: &[&str]) -> bool {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let more = [("s3:prefix", "home/ann"), ("x:n", "7"), ("x:arn", "arn:aws:s3:::b/k:1")];
        let asked = Asked {
            region: "eu-west-1",
            source_ip: Some("10.1.2.3".parse().unwrap()),
            more: &more,
            ..Asked::new("", "")
        };
        let now = Timestamp(1_700_000_000_000);
        let facts = Facts { user_name: Some("ann"), ..Facts::new(&asked, "1", "arn:x", now) };
        Condition::parse(operator, key, &values).unwrap().holds(&facts)
    }

    fn check(operator: &str, key: &str, values: &[&str], expected: bool) {
        assert_eq!(holds(operator, key, values), expected, "{operator} {key} {values:?}");
    }

    #[test]
    fn texts() {
        check("StringEquals", "S3:Prefix", &["x", "home/ann"], true);
        check("StringEquals", "s3:prefix", &["home/*"], false);
        check("StringEquals", "s3:prefix", &["home/${aws:username}"], true);
        check("StringLike", "s3:prefix", &["home/*"], true);
        check("StringNotLike", "s3:prefix", &["home/*", "x"], false);
        check("StringNotEquals", "s3:prefix", &["x"], true);
        check("StringEqualsIgnoreCase", "s3:prefix", &["HOME/ANN"], true);
        check("StringNotEqualsIgnoreCase", "s3:prefix", &["HOME/ANN"], false);
        check("Bool", "aws:SecureTransport", &["False"], true);
        check("Bool", "aws:SecureTransport", &["true"], false);
    }

    #[test]
    fn missing_keys() {
        check("StringEquals", "x:none", &["x"], false);
        check("StringEqualsIfExists", "x:none", &["x"], true);
        check("StringNotEquals", "x:none", &["x"], true);
        check("ForAllValues:StringEquals", "x:none", &["x"], true);
        check("ForAnyValue:StringEquals", "x:none", &["x"], false);
        check("ForAnyValue:StringNotEquals", "x:none", &["x"], false);
        check("ForAnyValue:StringLike", "s3:prefix", &["home/*"], true);
        check("Null", "x:none", &["true"], true);
        check("Null", "s3:prefix", &["true"], false);
        check("Null", "s3:prefix", &["false"], true);
    }

    #[test]
    fn numbers_dates_addresses_and_arns() {
        check("NumericLessThan", "x:n", &["8"], true);
        check("NumericGreaterThanEquals", "x:n", &["7.0"], true);
        check("NumericNotEquals", "x:n", &["7"], false);
        check("NumericEquals", "s3:prefix", &["7"], false);
        check("DateGreaterThan", "aws:CurrentTime", &["2023-11-14T00:00:00Z"], true);
        check("DateLessThan", "aws:CurrentTime", &["2023-11-14"], false);
        check("DateEquals", "aws:EpochTime", &["1700000000"], true);
        check("IpAddress", "aws:SourceIp", &["10.0.0.0/8"], true);
        check("IpAddress", "aws:SourceIp", &["10.1.2.3"], true);
        check("IpAddress", "aws:SourceIp", &["0.0.0.0/0"], true);
        check("NotIpAddress", "aws:SourceIp", &["10.1.0.0/16"], false);
        check("IpAddress", "aws:SourceIp", &["2001:db8::/32", "10.2.0.0/16"], false);
        check("ArnLike", "x:arn", &["arn:aws:*:::b/*"], true);
        check("ArnEquals", "x:arn", &["arn:*"], false);
        check("ArnNotLike", "x:arn", &["arn:aws:s3:::b/k:1"], false);
    }

    #[test]
    fn what_is_not_served_is_named() {
        for operator in ["BinaryEquals", "StringSounds", "NullIfExists", "Numeric", "IpAddresses"] {
            let error = Condition::parse(operator, "k", &["1".to_owned()]).unwrap_err();
            assert!(error.to_string().contains(operator), "{error}");
        }
        for (operator, value) in [
            ("IpAddress", "10.0.0.0/33"),
            ("Bool", "perhaps"),
            ("NumericEquals", "NaN"),
            ("DateEquals", "soon"),
        ] {
            let error = Condition::parse(operator, "k", &[value.to_owned()]).unwrap_err();
            assert!(matches!(error, PolicyError::Element(_)), "{operator}");
        }
    }
}
