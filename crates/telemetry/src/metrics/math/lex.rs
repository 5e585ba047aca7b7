//! The words of an expression.

use super::{MathError, Operator};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Word(String),
    Text(String),
    Operator(Operator),
    Open,
    Close,
    OpenArray,
    CloseArray,
    Comma,
}

/// Longer signs stand before those that they begin with.
const SIGNS: [(&str, Token); 18] = [
    ("&&", Token::Operator(Operator::And)),
    ("||", Token::Operator(Operator::Or)),
    ("==", Token::Operator(Operator::Equal)),
    ("!=", Token::Operator(Operator::NotEqual)),
    ("<=", Token::Operator(Operator::LessOrEqual)),
    (">=", Token::Operator(Operator::GreaterOrEqual)),
    ("<", Token::Operator(Operator::Less)),
    (">", Token::Operator(Operator::Greater)),
    ("+", Token::Operator(Operator::Add)),
    ("-", Token::Operator(Operator::Subtract)),
    ("*", Token::Operator(Operator::Multiply)),
    ("/", Token::Operator(Operator::Divide)),
    ("^", Token::Operator(Operator::Power)),
    ("(", Token::Open),
    (")", Token::Close),
    ("[", Token::OpenArray),
    ("]", Token::CloseArray),
    (",", Token::Comma),
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, MathError> {
    let mut tokens = Vec::new();
    let mut left = text.trim_start();
    while let Some(first) = left.chars().next() {
        let (token, rest) = match first {
            '"' | '\'' => quoted(left, first)?,
            '0'..='9' | '.' => number(left)?,
            'a'..='z' | 'A'..='Z' | '_' => word(left),
            _ => sign(left).ok_or_else(|| MathError::Unexpected(format!("character {first}")))?,
        };
        tokens.push(token);
        left = rest.trim_start();
    }
    Ok(tokens)
}

fn sign(text: &str) -> Option<(Token, &str)> {
    SIGNS.iter().find_map(|(sign, token)| Some((token.clone(), text.strip_prefix(sign)?)))
}

fn quoted(text: &str, quote: char) -> Result<(Token, &str), MathError> {
    let inner = &text[1..];
    let end = inner.find(quote).ok_or_else(|| MathError::Unexpected("end of a string".into()))?;
    Ok((Token::Text(inner[..end].to_owned()), &inner[end + 1..]))
}

/// Digits with a point and an exponent.
fn number(text: &str) -> Result<(Token, &str), MathError> {
    let digits =
        |text: &str| text.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(text.len());
    let mut end = digits(text);
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let n_digits = signed.find(|it: char| !it.is_ascii_digit()).unwrap_or(signed.len());
        if n_digits > 0 {
            end = text.len() - signed.len() + n_digits;
        }
    }
    let (number, rest) = text.split_at(end);
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite());
    let value = value.ok_or_else(|| MathError::Unexpected(format!("number {number}")))?;
    Ok((Token::Number(value), rest))
}

fn word(text: &str) -> (Token, &str) {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let end = text.find(|it| !is_part(it)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let token = match word {
        "AND" => Token::Operator(Operator::And),
        "OR" => Token::Operator(Operator::Or),
        _ => Token::Word(word.to_owned()),
    };
    (token, rest)
}
