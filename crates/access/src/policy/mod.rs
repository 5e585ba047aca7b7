//! Policies in IAM's language, and what they say of a request. Pure.
//!
//! [`Policy::parse`] compiles a document once; [`mod@decide`] asks compiled policies. Nothing is
//! allowed unless a statement allows it, and one that denies it wins.

mod condition;
mod decide;
mod facts;
mod parse;
mod pattern;
mod principal;
#[cfg(test)]
mod tests;

pub use decide::{Decision, decide};
pub use facts::Facts;
pub use parse::{Kind, PolicyError};

use self::condition::Condition;
use self::pattern::Pattern;
use self::principal::Principals;

/// A document, compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
struct Statement {
    effect: Effect,
    /// Of trust policies alone.
    principals: Option<Principals>,
    actions: Either,
    /// Trust policies have none: their resource is the role.
    resources: Option<Either>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone)]
enum Either {
    AnyOf(Vec<Pattern>),
    NoneOf(Vec<Pattern>),
}
