//! Text with `*`, `?` and policy variables.

use super::facts::Facts;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    ignores_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(Box<str>),
    /// `?`.
    One,
    /// `*`.
    Many,
    /// `${aws:username}`, by its name in lower case.
    Variable(Box<str>),
}

impl Pattern {
    /// A pattern with wildcards and variables.
    pub(super) fn wild(text: &str) -> Self {
        Self { tokens: tokens(text, true), ignores_case: false }
    }

    /// A pattern with variables, in which `*` and `?` are themselves.
    pub(super) fn plain(text: &str) -> Self {
        Self { tokens: tokens(text, false), ignores_case: false }
    }

    pub(super) fn ignoring_case(self) -> Self {
        Self { ignores_case: true, ..self }
    }

    /// The variables it has, by their names in lower case.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Variable(name) => Some(&**name),
            Token::Text(_) | Token::One | Token::Many => None,
        })
    }

    /// Whether all of `text` fits. A variable that the request does not have fits nothing.
    pub(super) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        if self.variables().next().is_some() {
            return self.resolved(facts).is_some_and(|resolved| resolved.fits(text));
        }
        self.fits(text)
    }

    /// The same with the values of its variables, in which wildcards are themselves.
    fn resolved(&self, facts: &Facts<'_>) -> Option<Self> {
        let resolve = |token: &Token| match token {
            Token::Variable(name) => facts.value(name).map(|value| Token::Text((*value).into())),
            Token::Text(_) | Token::One | Token::Many => Some(token.clone()),
        };
        let tokens = self.tokens.iter().map(resolve).collect::<Option<_>>()?;
        Some(Self { tokens, ignores_case: self.ignores_case })
    }

    /// Goes through both at once. What does not fit is tried again one character later after the
    /// last `*`; an earlier `*` need not take more, so the work is bounded by both lengths.
    fn fits(&self, text: &str) -> bool {
        let (mut token, mut rest) = (0, text);
        let mut again: Option<(usize, &str)> = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Many) => {
                    token += 1;
                    again = Some((token, rest));
                    continue;
                }
                None if rest.is_empty() => return true,
                Some(wanted) => {
                    if let Some(behind) = self.taken(wanted, rest) {
                        (token, rest) = (token + 1, behind);
                        continue;
                    }
                }
                None => {}
            }
            let Some((after, skipped)) = again else { return false };
            let later = without_first(skipped).and_then(|later| self.next_place(after, later));
            let Some(later) = later else { return false };
            again = Some((after, later));
            (token, rest) = (after, later);
        }
    }

    /// `text` from where the token at this place may begin; most patterns have text after a `*`.
    fn next_place<'t>(&self, token: usize, text: &'t str) -> Option<&'t str> {
        match self.tokens.get(token) {
            Some(Token::Text(wanted)) if !self.ignores_case => {
                text.find(&**wanted).map(|at| &text[at..])
            }
            Some(_) => Some(text),
            None => text.get(text.len()..), // The last `*` takes all.
        }
    }

    /// What is behind `token` at the beginning of `text`.
    fn taken<'t>(&self, token: &Token, text: &'t str) -> Option<&'t str> {
        match token {
            Token::One => without_first(text),
            Token::Text(wanted) if self.ignores_case => {
                let (head, rest) = text.split_at_checked(wanted.len())?;
                head.eq_ignore_ascii_case(wanted).then_some(rest)
            }
            Token::Text(wanted) => text.strip_prefix(&**wanted),
            Token::Many | Token::Variable(_) => None,
        }
    }
}

fn without_first(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next().map(|_| chars.as_str())
}

fn tokens(text: &str, has_wildcards: bool) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let variable = rest.strip_prefix("${").and_then(|rest| rest.split_once('}'));
        let (token, behind) = match (first, variable) {
            (_, Some((name, behind))) => (special(name), behind),
            ('*', None) if has_wildcards => (Token::Many, &rest[1..]),
            ('?', None) if has_wildcards => (Token::One, &rest[1..]),
            (other, None) => {
                plain.push(other);
                rest = &rest[other.len_utf8()..];
                continue;
            }
        };
        if let Token::Text(text) = token {
            plain.push_str(&text);
        } else {
            flush(&mut tokens, &mut plain);
            let is_again = token == Token::Many && tokens.last() == Some(&Token::Many);
            if !is_again {
                tokens.push(token);
            }
        }
        rest = behind;
    }
    flush(&mut tokens, &mut plain);
    tokens
}

/// `${*}`, `${?}` and `${$}` are the characters themselves.
fn special(name: &str) -> Token {
    match name {
        "*" | "?" | "$" => Token::Text(name.into()),
        name => Token::Variable(name.to_ascii_lowercase().into()),
    }
}

fn flush(tokens: &mut Vec<Token>, plain: &mut String) {
    if !plain.is_empty() {
        tokens.push(Token::Text(std::mem::take(plain).into()));
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;
    use sagebrush_core::access::Asked;

    use super::*;

    fn check(pattern: &str, text: &str, fits: bool) {
        let asked = Asked::new("", "");
        let facts =
            Facts { user_name: Some("a*n"), ..Facts::new(&asked, "1", "arn:x", Timestamp(0)) };
        assert_eq!(Pattern::wild(pattern).matches(text, &facts), fits, "{pattern} {text}");
    }

    #[test]
    fn wildcards() {
        check("*", "", true);
        check("", "", true);
        check("", "a", false);
        check("a?c", "abc", true);
        check("a?c", "a\u{e9}c", true);
        check("a?c", "ac", false);
        check("*ab*ab", "abxabab", true);
        check("*ab*ab", "ab", false);
        check("s3:Get*", "s3:GetObject", true);
        check("**a**", "a", true);
        check("a*", "ba", false);
        check("${*}", "*", true);
        check("${*}", "x", false);
        check("${x", "${x", true);
    }

    #[test]
    fn variables_have_no_wildcards() {
        check("home/${aws:username}/*", "home/a*n/x", true);
        check("home/${aws:UserName}/*", "home/ann/x", false);
        check("${aws:nothing}*", "x", false);
    }

    #[test]
    fn hostile_patterns_end_soon() {
        let pattern = "*a".repeat(3000);
        check(&pattern, &"a".repeat(2999), false);
        check(&format!("{pattern}b"), &"a".repeat(4000), false);
    }
}
