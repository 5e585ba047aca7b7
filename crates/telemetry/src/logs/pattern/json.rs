//! Expressions over JSON messages: `$.level = "ERROR" && $.n > 3`.

use sagebrush_core::glob;
use serde_json::Value;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 32;

/// What a message is to be like. A path that leads nowhere fulfils nothing but `NOT EXISTS`.
#[derive(Debug, PartialEq)]
pub(crate) enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    Test { path: Vec<Step>, test: Test },
}

/// A step into a value.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Field(String),
    Item(usize),
    /// `[*]`
    Items,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Test {
    /// Stars in it stand for anything.
    Text {
        is_not: bool,
        text: String,
    },
    Number {
        compare: Compare,
        number: f64,
    },
    Is(Value),
    Exists,
    NotExists,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expression {
    /// Reads what stands between the braces.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text.trim_start(), depth: 0 };
        let expression = parser.any()?;
        parser.rest.is_empty().then_some(expression)
    }

    pub(super) fn matches(&self, value: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(value)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(value)),
            Self::Test { path, test } => {
                let mut found = Vec::new();
                follow(value, path, &mut found);
                match test {
                    Test::NotExists => found.is_empty(),
                    Test::Text { .. } | Test::Number { .. } | Test::Is(_) | Test::Exists => {
                        found.iter().any(|value| test.holds(value))
                    }
                }
            }
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Text { is_not, text } => {
                value.as_str().is_some_and(|value| glob::matches(text, value) != *is_not)
            }
            Self::Number { compare, number } => {
                value.as_f64().is_some_and(|value| compare.holds(value, *number))
            }
            Self::Is(wanted) => value == wanted,
            Self::Exists => true,
            Self::NotExists => false,
        }
    }
}

impl Compare {
    #[expect(clippy::float_cmp, reason = "equal is what the pattern asks for")]
    fn holds(self, value: f64, number: f64) -> bool {
        match self {
            Self::Equal => value == number,
            Self::NotEqual => value != number,
            Self::Less => value < number,
            Self::LessOrEqual => value <= number,
            Self::Greater => value > number,
            Self::GreaterOrEqual => value >= number,
        }
    }
}

/// The values that `path` leads to.
fn follow<'a>(value: &'a Value, path: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    let next = match step {
        Step::Field(name) => value.get(name),
        Step::Item(index) => value.get(*index),
        Step::Items => {
            value.as_array().into_iter().flatten().for_each(|item| follow(item, rest, found));
            None
        }
    };
    if let Some(next) = next {
        follow(next, rest, found);
    }
}

struct Parser<'a> {
    /// Starts with no white space.
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Option<Expression> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Some(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Option<Expression> {
        let mut parts = vec![self.part()?];
        while self.takes("&&") {
            parts.push(self.part()?);
        }
        Some(one_or(parts, Expression::All))
    }

    fn part(&mut self) -> Option<Expression> {
        if !self.takes("(") {
            let path = self.path()?;
            return Some(Expression::Test { path, test: self.test()? });
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let inner = self.any()?;
        self.depth -= 1;
        self.takes(")").then_some(inner)
    }

    fn path(&mut self) -> Option<Vec<Step>> {
        let mut rest = self.rest.strip_prefix('$')?;
        let mut path = Vec::new();
        loop {
            let after_dot = rest.strip_prefix('.');
            if let Some(inside) = after_dot.unwrap_or(rest).strip_prefix('[') {
                let (step, after) = inside.split_once(']')?;
                path.push(bracketed(step)?);
                rest = after;
            } else if let Some(named) = after_dot {
                let is_name = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-');
                let end = named.find(|char| !is_name(char)).unwrap_or(named.len());
                let (name, after) = named.split_at(end);
                if name.is_empty() {
                    return None;
                }
                path.push(Step::Field(name.to_owned()));
                rest = after;
            } else {
                break;
            }
        }
        self.rest = rest.trim_start();
        (!path.is_empty()).then_some(path)
    }

    fn test(&mut self) -> Option<Test> {
        for (words, test) in [
            (&["IS", "NULL"][..], Test::Is(Value::Null)),
            (&["IS", "TRUE"], Test::Is(Value::Bool(true))),
            (&["IS", "FALSE"], Test::Is(Value::Bool(false))),
            (&["NOT", "EXISTS"], Test::NotExists),
            (&["EXISTS"], Test::Exists),
        ] {
            let before = self.rest;
            if words.iter().all(|word| self.takes(word)) {
                return Some(test);
            }
            self.rest = before;
        }
        let compare = self.compare()?;
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (text, rest) = super::unquote(quoted)?;
            self.rest = rest.trim_start();
            return text_test(compare, text);
        }
        let is_end = |char: char| char.is_whitespace() || matches!(char, '&' | '|' | '(' | ')');
        let (word, rest) = self.rest.split_at(self.rest.find(is_end).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        match word.parse() {
            Ok(number) if f64::is_finite(number) => Some(Test::Number { compare, number }),
            Ok(_) | Err(_) => {
                let is_plain = |char: char| char.is_alphanumeric() || "*_-.:/#@".contains(char);
                let is_word = !word.is_empty() && word.chars().all(is_plain);
                is_word.then(|| text_test(compare, word.to_owned()))?
            }
        }
    }

    fn compare(&mut self) -> Option<Compare> {
        let words = [
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("=", Compare::Equal),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        words.into_iter().find_map(|(word, compare)| self.takes(word).then_some(compare))
    }

    fn takes(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            many(parts)
        }
    }
}

/// `*`, `3`, `'a name'` or `"a name"`.
fn bracketed(step: &str) -> Option<Step> {
    let step = step.trim();
    if step == "*" {
        return Some(Step::Items);
    }
    let quoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| step.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote)));
    match quoted {
        Some(name) => Some(Step::Field(name.to_owned())),
        None => step.parse().ok().map(Step::Item),
    }
}

fn text_test(compare: Compare, text: String) -> Option<Test> {
    match compare {
        Compare::Equal => Some(Test::Text { is_not: false, text }),
        Compare::NotEqual => Some(Test::Text { is_not: true, text }),
        Compare::Less | Compare::LessOrEqual | Compare::Greater | Compare::GreaterOrEqual => None,
    }
}
