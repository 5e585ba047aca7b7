//! From words to an expression. The loosest operator binds last: `OR`, `AND`, comparisons, sums,
//! products, signs, powers.

use super::lex::{Token, tokens};
use super::{Expr, MathError, Operator};

/// How deep brackets, signs and powers may nest.
const MAX_DEPTH: usize = 50;

/// How many operators may stand in a row: `1 + 1 + 1` nests to the left.
const MAX_OPERATORS: usize = 200;

/// Words that stand for themselves: what `FILL` takes.
const WORDS: [&str; 2] = ["REPEAT", "LINEAR"];

/// Reads an expression.
pub(in super::super) fn parse(text: &str) -> Result<Expr, MathError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.binary(1)?;
    match parser.next() {
        None => Ok(expr),
        Some(token) => Err(unexpected(Some(&token))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    /// An expression of operators that bind at least as tightly as `tightness`.
    fn binary(&mut self, tightness: u8) -> Result<Expr, MathError> {
        let mut left = self.deeper(Self::unary)?;
        let mut n_operators = 0;
        while let Some(Token::Operator(operator)) = self.peek() {
            let operator = *operator;
            if operator.tightness() < tightness {
                break;
            }
            self.at += 1;
            n_operators += 1;
            if n_operators > MAX_OPERATORS {
                return Err(MathError::TooDeep);
            }
            let right = self.deeper(|parser| parser.binary(operator.tightness() + 1))?;
            left = Expr::Binary(Box::new(left), operator, Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, MathError> {
        if self.take(&Token::Operator(Operator::Subtract)) {
            return Ok(Expr::Negative(Box::new(self.deeper(Self::unary)?)));
        }
        let base = self.primary()?;
        if !self.take(&Token::Operator(Operator::Power)) {
            return Ok(base);
        }
        let exponent = self.deeper(Self::unary)?;
        Ok(Expr::Binary(Box::new(base), Operator::Power, Box::new(exponent)))
    }

    fn primary(&mut self) -> Result<Expr, MathError> {
        match self.next() {
            Some(Token::Number(number)) => Ok(Expr::Number(number)),
            Some(Token::Text(text)) => Ok(Expr::Text(text)),
            Some(Token::Open) => {
                let inner = self.deeper(|parser| parser.binary(1))?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Some(Token::OpenArray) => self.list(&Token::CloseArray).map(Expr::Array),
            Some(Token::Word(word)) if self.take(&Token::Open) => {
                Ok(Expr::Call(word, self.list(&Token::Close)?))
            }
            Some(Token::Word(word)) if WORDS.contains(&&*word) => Ok(Expr::Text(word)),
            Some(Token::Word(word)) => Ok(Expr::Id(word)),
            token @ (None
            | Some(Token::Operator(_) | Token::Close | Token::CloseArray | Token::Comma)) => {
                Err(unexpected(token.as_ref()))
            }
        }
    }

    /// Expressions between commas, up to `end`.
    fn list(&mut self, end: &Token) -> Result<Vec<Expr>, MathError> {
        let mut items = Vec::new();
        if self.take(end) {
            return Ok(items);
        }
        loop {
            items.push(self.deeper(|parser| parser.binary(1))?);
            if !self.take(&Token::Comma) {
                self.expect(end)?;
                return Ok(items);
            }
        }
    }

    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, MathError>,
    ) -> Result<T, MathError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(MathError::TooDeep);
        }
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, token: &Token) -> Result<(), MathError> {
        if self.take(token) { Ok(()) } else { Err(unexpected(self.peek())) }
    }
}

impl Operator {
    fn tightness(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide => 5,
            Self::Power => 6,
        }
    }
}

fn unexpected(token: Option<&Token>) -> MathError {
    MathError::Unexpected(match token {
        None => "end of the expression".to_owned(),
        Some(Token::Number(number)) => format!("number {number}"),
        Some(Token::Word(word)) => format!("word {word}"),
        Some(Token::Text(text)) => format!("string {text}"),
        Some(Token::Operator(operator)) => format!("operator {operator:?}"),
        Some(Token::Open | Token::Close) => "bracket".to_owned(),
        Some(Token::OpenArray | Token::CloseArray) => "square bracket".to_owned(),
        Some(Token::Comma) => "comma".to_owned(),
    })
}
