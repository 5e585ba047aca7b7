//! What is told of one step of a call.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::context::{SpanContext, SpanId};

/// A step that is over, in the words of OpenTelemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub context: SpanContext,
    pub parent: Option<SpanId>,
    /// `tracestate`, as it came.
    pub state: Option<Arc<str>>,
    pub name: Cow<'static, str>,
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub began: u64,
    pub took: Duration,
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans that were worked on together with it.
    pub links: Vec<SpanContext>,
    pub is_failed: bool,
}

/// Who asked whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Internal,
    Server,
    /// Goes on with what was put aside earlier.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
}

impl Span {
    pub(super) fn new(context: SpanContext, kind: Kind, name: &'static str, began: u64) -> Self {
        Self {
            context,
            parent: None,
            state: None,
            name: name.into(),
            kind,
            began,
            took: Duration::ZERO,
            attributes: Vec::new(),
            links: Vec::new(),
            is_failed: false,
        }
    }

    /// `kind` is one of few words.
    pub fn fail(&mut self, kind: impl Into<String>) {
        self.is_failed = true;
        self.attributes.push(("error.type", Value::Text(kind.into())));
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
