//! Filter patterns: the part of CloudWatch's language that is about plain text.

/// Which messages a query wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads `term`, `"quoted term"`, `?either ?or` and `-not`. `None` for the rest: JSON,
    /// columns, regular expressions.
    pub(super) fn parse(text: &str) -> Option<Self> {
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

    pub(super) fn matches(&self, message: &str) -> bool {
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
    fn what_is_not_understood() {
        for pattern in
            ["{ $.x = 1 }", "[a, b]", "%re%", "\"open", "a-b", "-", "?", "\"a\"b", "\"\""]
        {
            check(pattern, "", None);
        }
    }
}
