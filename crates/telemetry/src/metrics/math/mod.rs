//! Metric math: expressions over the results of other queries.
//!
//! [`lex`] and [`mod@parse`] make an [`Expr`] of a text, [`eval`] computes one, [`functions`] are what it
//! calls. Pure, and bounded in depth and size.

mod eval;
mod functions;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(super) use eval::{Scope, evaluate};
pub(super) use parse::parse;

/// What an expression is, or the result of a query.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Series(Series),
    Array(Vec<Series>),
}

/// Values by the beginning of their period, in seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series {
    pub(super) period: i64,
    pub(super) points: BTreeMap<i64, f64>,
}

/// An expression, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(f64),
    /// A word in quotes, or one that a function knows.
    Text(String),
    /// The id of another query.
    Id(String),
    Array(Vec<Expr>),
    Negative(Box<Expr>),
    Binary(Box<Expr>, Operator, Box<Expr>),
    Call(String, Vec<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum MathError {
    #[error("Unexpected {0}")]
    Unexpected(String),
    #[error("The expression is nested too deep")]
    TooDeep,
    #[error("The function {0} is not supported")]
    NoFunction(String),
    #[error("There is no metric or expression with the id {0}")]
    NoId(String),
    #[error("The expression {0} refers to itself")]
    Circular(String),
    #[error("{0}")]
    Wrong(String),
    #[error("The expression has too many time series or data points")]
    TooMuch,
}
