//! The rule of a composite alarm: `ALARM("x") AND (OK(y) OR NOT INSUFFICIENT_DATA(z))`.

use sagebrush_core::alarms::AlarmState;

/// How deep expressions may be nested.
const MAX_DEPTH: usize = 50;
/// `CloudWatch`'s bounds.
const MAX_ELEMENTS: usize = 500;
const MAX_CHILDREN: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    Constant(bool),
    /// The alarm of this name is in this state.
    In(AlarmState, String),
    Not(Box<Rule>),
    And(Vec<Rule>),
    Or(Vec<Rule>),
}

impl Rule {
    pub(super) fn parse(text: &str) -> Result<Self, RuleError> {
        let mut parser = Parser { tokens: tokens(text)?, next: 0 };
        let rule = parser.or(0)?;
        if let Some(token) = parser.peek() {
            return Err(RuleError::Unexpected(token.to_string()));
        }
        match rule.children().len() {
            n if n > MAX_CHILDREN => Err(RuleError::TooLarge),
            _ => Ok(rule),
        }
    }

    /// Whether it holds. An alarm that is not there is in no state.
    pub(super) fn holds(&self, state: &impl Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::In(wanted, name) => state(name) == Some(*wanted),
            Self::Not(rule) => !rule.holds(state),
            Self::And(rules) => rules.iter().all(|rule| rule.holds(state)),
            Self::Or(rules) => rules.iter().any(|rule| rule.holds(state)),
        }
    }

    /// The names of the alarms that it speaks of, each once.
    pub(super) fn children(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Constant(_) => {}
            Self::In(_, name) => names.push(name),
            Self::Not(rule) => rule.collect(names),
            Self::And(rules) | Self::Or(rules) => {
                rules.iter().for_each(|rule| rule.collect(names));
            }
        }
    }
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleError {
    #[error("it ends too early")]
    End,
    #[error("`{0}` is not expected there")]
    Unexpected(String),
    #[error("a quoted name has no end")]
    OpenQuote,
    #[error("`{0}` is not served here")]
    NotServed(String),
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("it has at most {MAX_ELEMENTS} elements and {MAX_CHILDREN} alarms")]
    TooLarge,
}

/// The name of an alarm that is named by its ARN or by its name.
pub(super) fn name_of(alarm: &str) -> &str {
    let resource = alarm.strip_prefix("arn:").and_then(|rest| rest.splitn(5, ':').nth(4));
    resource.and_then(|resource| resource.strip_prefix("alarm:")).unwrap_or(alarm)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
            Self::Word(word) | Self::Quoted(word) => f.write_str(word),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, RuleError> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        let token = match first {
            _ if first.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '"' => Token::Quoted(quoted(&mut rest)?),
            _ => {
                let mut word = String::from(first);
                let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"');
                while let Some(next) = rest.next_if(|&c| !ends(c)) {
                    word.push(next);
                }
                Token::Word(word)
            }
        };
        tokens.push(token);
        if tokens.len() > 4 * MAX_ELEMENTS {
            return Err(RuleError::TooLarge);
        }
    }
    Ok(tokens)
}

fn quoted(rest: &mut impl Iterator<Item = char>) -> Result<String, RuleError> {
    let mut name = String::new();
    loop {
        match rest.next().ok_or(RuleError::OpenQuote)? {
            '"' => return Ok(name),
            '\\' => name.push(rest.next().ok_or(RuleError::OpenQuote)?),
            other => name.push(other),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Result<Token, RuleError> {
        let token = self.peek().cloned().ok_or(RuleError::End)?;
        self.next += 1;
        Ok(token)
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let is_wanted = matches!(self.peek(), Some(Token::Word(word)) if word == wanted);
        self.next += usize::from(is_wanted);
        is_wanted
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), RuleError> {
        let token = self.take()?;
        if token == *wanted { Ok(()) } else { Err(RuleError::Unexpected(token.to_string())) }
    }

    fn or(&mut self, depth: usize) -> Result<Rule, RuleError> {
        let mut rules = vec![self.and(depth)?];
        while self.takes_word("OR") {
            rules.push(self.and(depth)?);
        }
        Ok(one_or(rules, Rule::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Rule, RuleError> {
        let mut rules = vec![self.not(depth)?];
        while self.takes_word("AND") {
            rules.push(self.not(depth)?);
        }
        Ok(one_or(rules, Rule::And))
    }

    fn not(&mut self, depth: usize) -> Result<Rule, RuleError> {
        if depth > MAX_DEPTH {
            return Err(RuleError::TooDeep);
        }
        if self.takes_word("NOT") {
            return Ok(Rule::Not(Box::new(self.not(depth + 1)?)));
        }
        self.term(depth)
    }

    fn term(&mut self, depth: usize) -> Result<Rule, RuleError> {
        let state = match self.take()? {
            Token::Open => {
                let rule = self.or(depth + 1)?;
                self.expect(&Token::Close)?;
                return Ok(rule);
            }
            Token::Word(word) => match word.as_str() {
                "TRUE" => return Ok(Rule::Constant(true)),
                "FALSE" => return Ok(Rule::Constant(false)),
                "ALARM" => AlarmState::Alarm,
                "OK" => AlarmState::Ok,
                "INSUFFICIENT_DATA" => AlarmState::InsufficientData,
                "AT_LEAST" => return Err(RuleError::NotServed(word)),
                _ => return Err(RuleError::Unexpected(word)),
            },
            token @ (Token::Close | Token::Quoted(_)) => {
                return Err(RuleError::Unexpected(token.to_string()));
            }
        };
        self.expect(&Token::Open)?;
        let name = match self.take()? {
            Token::Word(name) | Token::Quoted(name) if !name.is_empty() => name,
            token @ (Token::Open | Token::Close | Token::Word(_) | Token::Quoted(_)) => {
                return Err(RuleError::Unexpected(token.to_string()));
            }
        };
        self.expect(&Token::Close)?;
        Ok(Rule::In(state, name_of(&name).to_owned()))
    }
}

fn one_or(mut rules: Vec<Rule>, several: fn(Vec<Rule>) -> Rule) -> Rule {
    match (rules.pop(), rules.is_empty()) {
        (Some(only), true) => only,
        (last, _) => several(rules.into_iter().chain(last).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Alarms named after their states.
    fn state(name: &str) -> Option<AlarmState> {
        match name {
            "a" | "an alarm" | "q\"(" => Some(AlarmState::Alarm),
            "o" => Some(AlarmState::Ok),
            "i" => Some(AlarmState::InsufficientData),
            _ => None,
        }
    }

    #[test]
    fn rules_hold_or_do_not() {
        for (text, expected) in [
            ("TRUE", true),
            ("FALSE", false),
            ("ALARM(a)", true),
            ("ALARM(\"an alarm\")", true),
            (r#"ALARM("q\"(")"#, true),
            ("ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:a)", true),
            ("OK( o ) AND INSUFFICIENT_DATA(i)", true),
            ("OK(a) OR OK(o)", true),
            ("NOT ALARM(a)", false),
            ("NOT NOT ALARM(a)", true),
            ("NOT OK(a) AND ALARM(a)", true),
            ("TRUE OR TRUE AND FALSE", true),
            ("(TRUE OR TRUE) AND FALSE", false),
            ("ALARM(a) AND (OK(a) OR NOT INSUFFICIENT_DATA(o))", true),
            ("ALARM(gone) OR OK(gone) OR INSUFFICIENT_DATA(gone)", false),
        ] {
            let rule = Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.holds(&state), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "ALARM",
            "ALARM(",
            "ALARM()",
            "ALARM(\"\")",
            "ALARM(a",
            "ALARM(\"a)",
            "a",
            "(TRUE",
            "TRUE)",
            "TRUE TRUE",
            "AND TRUE",
            "NOT",
            "alarm(a)",
            "\"a\"",
            "ALARM((a))",
        ] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
        let at_least = Rule::parse("AT_LEAST(1, ALARM, (a, b))");
        assert_eq!(at_least, Err(RuleError::NotServed("AT_LEAST".to_owned())));
    }

    #[test]
    fn depth_and_size_have_bounds() {
        let deep = format!("{}TRUE{}", "(".repeat(500), ")".repeat(500));
        assert_eq!(Rule::parse(&deep), Err(RuleError::TooDeep));
        assert_eq!(Rule::parse(&format!("{}TRUE", "NOT ".repeat(500))), Err(RuleError::TooDeep));
        let many: Vec<_> = (0..101).map(|n| format!("OK(a{n})")).collect();
        assert_eq!(Rule::parse(&many.join(" OR ")), Err(RuleError::TooLarge));
    }

    #[test]
    fn children_are_told_once() {
        let rule = Rule::parse("ALARM(b) AND NOT (OK(a) OR ALARM(b) OR TRUE)").unwrap();
        assert_eq!(rule.children(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            Rule::parse(&text).ok();
        }

        #[test]
        fn no_sequence_of_words_makes_the_parser_panic(
            words in proptest::collection::vec(
                proptest::sample::select(vec![
                    "ALARM", "OK", "INSUFFICIENT_DATA", "TRUE", "FALSE", "AND", "OR", "NOT", "(",
                    ")", "\"", "\\", "a", "\"b\"", "AT_LEAST", ",",
                ]),
                0..60,
            ),
        ) {
            if let Ok(rule) = Rule::parse(&words.join(" ")) {
                rule.holds(&state);
            }
        }
    }
}
