//! Filter patterns: which messages a query wants.

mod json;

use self::json::Expression;

/// Which messages a query wants.
#[derive(Debug, PartialEq)]
pub(super) enum Pattern {
    Terms(Terms),
    /// `{ $.level = "ERROR" }`
    Json(Expression),
}

/// Words that a message has, or has not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads terms, or an expression over JSON. `None` for the rest: columns, regular
    /// expressions.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim().strip_prefix('{') {
            Some(rest) => Expression::parse(rest.strip_suffix('}')?).map(Self::Json),
            None => Terms::parse(text).map(Self::Terms),
        }
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Terms(terms) => terms.matches(message),
            Self::Json(expression) => {
                serde_json::from_str(message).is_ok_and(|value| expression.matches(&value))
            }
        }
    }
}

impl Terms {
    /// Reads `term`, `"quoted term"`, `?either ?or` and `-not`.
    fn parse(text: &str) -> Option<Self> {
        let mut pattern = Self::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (into, after) = match rest.as_bytes() {
                [b'?', ..] => (&mut pattern.any, &rest[1..]),
                [b'-', ..] => (&mut pattern.none, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (term, after) = term(after)?;
            into.push(term);
            rest = after.trim_start();
        }
        // CloudWatch passes over `?` beside other terms.
        if !(pattern.all.is_empty() && pattern.none.is_empty()) {
            pattern.any.clear();
        }
        Some(pattern)
    }

    fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has)
            && !self.none.iter().any(has)
            && (self.any.is_empty() || self.any.iter().any(has))
    }
}

/// Splits a term off.
fn term(text: &str) -> Option<(String, &str)> {
    let (term, rest) = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let (plain, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
            let is_plain = plain.chars().all(|char| char.is_alphanumeric() || char == '_');
            (is_plain.then(|| plain.to_owned())?, rest)
        }
    };
    let ends_here = rest.is_empty() || rest.starts_with(char::is_whitespace);
    (ends_here && !term.is_empty()).then_some((term, rest))
}

/// Reads up to the closing quote; a backslash takes the next character as it is.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut term = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((term, &text[at + 1..])),
            '\\' => term.push(chars.next()?.1),
            _ => term.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    fn check(pattern: &str, message: &str, expected: Option<bool>) {
        let matches = Pattern::parse(pattern).map(|pattern| pattern.matches(message));
        assert_eq!(matches, expected, "{pattern} on {message}");
    }

    #[test]
    fn terms() {
        check("", "anything", Some(true));
        check("ERROR", "an ERROR here", Some(true));
        check("error", "an ERROR here", Some(false));
        check("a b", "b a", Some(true));
        check("a b", "only a", Some(false));
        check("\"not found\"", "was not found", Some(true));
        check("\"say \\\"hi\\\"\"", "say \"hi\"", Some(true));
        check("?one ?two", "two", Some(true));
        check("?one ?two", "six", Some(false));
        check("a -b", "a c", Some(true));
        check("a -\"b c\"", "a b c", Some(false));
        check("?x a", "a", Some(true));
    }

    #[test]
    fn json() {
        let message = r#"{"level":"ERROR","n":4,"ok":true,"no":null,"a.b":1,"who":{"ip":"10.0.0.7"},"tags":["red","blue"],"parts":[{"size":1},{"size":9}]}"#;
        for (pattern, expected) in [
            (r#"{ $.level = "ERROR" }"#, true),
            ("{$.level=ERROR}", true),
            (r#"{ $.level = "WARN" }"#, false),
            (r#"{ $.level != "WARN" }"#, true),
            (r#"{ $.level = "ERR*" }"#, true),
            (r#"{ $.level = "ERROR" && $.n > 3 }"#, true),
            (r#"{ $.level = "ERROR" && $.n > 4 }"#, false),
            ("{ $.n >= 4 && $.n <= 4 && $.n < 4.5 && $.n = 4e0 && $.n != 5 }", true),
            ("{ $.n < -1 || $.n = 4 }", true),
            ("{ ($.n = 1 || $.n = 4) && ($.ok IS TRUE) }", true),
            ("{ $.n = 1 || $.n = 4 && $.ok IS FALSE }", false),
            ("{ $.no IS NULL }", true),
            ("{ $.n IS NULL }", false),
            ("{ $.gone NOT EXISTS }", true),
            ("{ $.n NOT EXISTS }", false),
            ("{ $.n EXISTS }", true),
            (r#"{ $.gone != "x" }"#, false),
            (r#"{ $.who.ip = "10.0.*" }"#, true),
            (r#"{ $.tags[1] = "blue" }"#, true),
            (r#"{ $.tags[2] = "blue" }"#, false),
            (r#"{ $.tags[*] = "blue" }"#, true),
            ("{ $.parts[*].size > 8 }", true),
            ("{ $.['a.b'] = 1 }", true),
            (r#"{ $["level"] = "ERROR" }"#, true),
        ] {
            check(pattern, message, Some(expected));
        }
        check(r#"{ $.level = "ERROR" }"#, "not JSON", Some(false));
        check(r#"{ $[0] = 1 }"#, "[1]", Some(true));
    }

    #[test]
    fn what_is_not_understood() {
        for pattern in [
            "[a, b]",
            "%re%",
            "\"open",
            "a-b",
            "-",
            "?",
            "\"a\"b",
            "\"\"",
            "{}",
            "{ $.x }",
            "{ $.x = }",
            "{ x = 1 }",
            "{ $.x > a }",
            "{ $.x = 1 && }",
            "{ ($.x = 1 }",
            "{ $.x = 1 ) }",
            "{ $.x = \"open }",
            "{ $.x = %re% }",
            "{ $.x[a] = 1 }",
            "{ $.x = 1",
        ] {
            check(pattern, "", None);
        }
        let deep = format!("{{ {}$.x = 1{} }}", "(".repeat(400), ")".repeat(400));
        check(&deep, "", None);
    }

    proptest! {
        #[test]
        fn never_panics(pattern in r#"[{}()\[\]$.'"\\*=!<>&|a-c0-9 é?-]{0,40}"#, message: String) {
            let _found = Pattern::parse(&pattern).map(|pattern| pattern.matches(&message));
        }

        #[test]
        fn never_panics_on_expressions(inside in r#"[()\[\]$.'"*=!<>&|a0 ]{0,40}"#) {
            let pattern = Pattern::parse(&format!("{{ $.a = 1 && {inside} }}"));
            let _found = pattern.map(|pattern| pattern.matches(r#"{"a":1}"#));
        }
    }
}
