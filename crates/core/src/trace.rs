//! Traces: which calls are traced, and what is told of them.
//!
//! A call is traced as a whole or not at all, which is decided when it comes in: by whoever sent
//! it, if it goes on with a trace of theirs, else by chance. What is not traced costs a look.

mod context;
mod span;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Clock;
use crate::worker::Call;
pub use context::{Came, SpanContext, SpanId, TraceId};
pub use span::{Kind, Span, Value};

/// The headers that carry a trace, by their lower-case names.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";
pub const AMAZON_TRACE_ID: &str = "x-amzn-trace-id";

/// Takes the spans of calls that are over. Never waits; drops and counts when it is behind.
pub trait SpanSink: Send + Sync + 'static {
    fn record(&self, spans: Vec<Span>);
}

/// Decides what is traced. Clones are one; the default traces nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Tracing>>);

struct Tracing {
    /// Of 2^63: below it a call that nobody decided on is traced.
    threshold: u64,
    random: fn() -> u64,
    clock: Arc<dyn Clock>,
    sink: Arc<dyn SpanSink>,
}

impl Tracer {
    /// Traces this `ratio` of the calls that come without a decision, `0.0..=1.0`.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2^63, which need not be exact"
    )]
    pub fn new(
        ratio: f64,
        random: fn() -> u64,
        clock: Arc<dyn Clock>,
        sink: Arc<dyn SpanSink>,
    ) -> Self {
        let threshold = (ratio.clamp(0.0, 1.0) * (1_u64 << 63) as f64) as u64;
        Self(Some(Arc::new(Tracing { threshold, random, clock, sink })))
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a call, if it is traced. `header` finds the headers that it came with.
    #[inline]
    pub fn begin<'h>(
        &self,
        kind: Kind,
        name: &'static str,
        header: impl Fn(&'static str) -> Option<&'h str>,
    ) -> Option<Box<Open>> {
        let tracing = self.0.as_ref()?;
        let came = Came::read(&header);
        let low = came.trace().map_or_else(tracing.random, TraceId::low);
        let is_sampled = came.is_sampled().unwrap_or(low & (u64::MAX >> 1) < tracing.threshold);
        is_sampled.then(|| {
            let trace = came.trace().unwrap_or_else(|| tracing.new_trace(low));
            let state = came.traceparent().and_then(|_| header(TRACESTATE)).map(Arc::from);
            tracing.clone().open(kind, name, (trace, came.parent(), state))
        })
    }

    /// Begins a span below `parent`, which may have ended before this server was started.
    #[must_use]
    pub fn go_on(
        &self,
        kind: Kind,
        name: &'static str,
        parent: SpanContext,
        state: Option<&str>,
    ) -> Option<Box<Open>> {
        let tracing = self.0.as_ref().filter(|_| parent.is_sampled)?;
        let of = (parent.trace, Some(parent.span), state.map(Arc::from));
        Some(tracing.clone().open(kind, name, of))
    }
}

impl Tracing {
    /// X-Ray wants the seconds first.
    fn new_trace(&self, low: u64) -> TraceId {
        let seconds = u32::try_from(self.clock.now().0 / 1000).unwrap_or(u32::MAX);
        TraceId::of(seconds, (self.random)(), low)
    }

    fn open(
        self: Arc<Self>,
        kind: Kind,
        name: &'static str,
        (trace, parent, state): (TraceId, Option<SpanId>, Option<Arc<str>>),
    ) -> Box<Open> {
        let context = SpanContext { trace, span: SpanId::of((self.random)()), is_sampled: true };
        let began = self.clock.nanos();
        let span = Span { parent, state, ..Span::new(context, kind, name, began) };
        Box::new(Open {
            tracing: self,
            since: Instant::now(),
            span,
            parts: Vec::new(),
            is_told: true,
        })
    }
}

/// A span under way. It ends, and is recorded with its parts, when it is dropped.
pub struct Open {
    tracing: Arc<Tracing>,
    since: Instant,
    span: Span,
    parts: Vec<Span>,
    is_told: bool,
}

impl Open {
    /// Ends it untold.
    pub fn forget(mut self: Box<Self>) {
        self.is_told = false;
    }

    #[must_use]
    pub fn context(&self) -> SpanContext {
        self.span.context
    }

    /// What vendors keep of the trace.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.span.state.as_deref()
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Moves the beginning back: it began before it was known.
    pub fn began_before(&mut self, by: Duration) {
        self.span.began = self.span.began.saturating_sub(nanos(by));
        self.since = self.since.checked_sub(by).unwrap_or(self.since);
    }

    pub fn rename(&mut self, name: String) {
        self.span.name = name.into();
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.attributes.push((name, value.into()));
    }

    /// The call failed; `kind` is one of few words.
    pub fn fail(&mut self, kind: impl Into<String>) {
        self.span.fail(kind);
    }

    /// An id for a part that is told later.
    #[must_use]
    pub fn next_id(&self) -> SpanContext {
        SpanContext { span: SpanId::of((self.tracing.random)()), ..self.span.context }
    }

    /// Adds a part that began so long after the beginning.
    pub fn part(&mut self, name: &'static str, after: Duration, took: Duration) -> &mut Span {
        let id = self.next_id();
        self.part_of(id, name, (after, took))
    }

    /// Adds the part that `id` was taken for.
    pub fn part_of(
        &mut self,
        id: SpanContext,
        name: &'static str,
        (after, took): (Duration, Duration),
    ) -> &mut Span {
        let began = self.span.began.saturating_add(nanos(after));
        let mut part = Span::new(id, Kind::Internal, name, began);
        part.parent = Some(self.span.context.span);
        part.state.clone_from(&self.span.state);
        part.took = took;
        self.parts.push(part);
        let last = self.parts.len() - 1;
        &mut self.parts[last]
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_told {
            return;
        }
        self.span.took = self.since.elapsed();
        let mut spans = std::mem::take(&mut self.parts);
        spans.push(self.span.clone());
        self.tracing.sink.record(spans);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The spans that the calls of a batch are traced by; `None` if there are fewer than two.
pub(crate) fn traced_together(calls: &[Call]) -> Option<Arc<[SpanContext]>> {
    let is_traced = |call: &Call| !call.headers.is_empty() && span_of(call).is_some();
    if calls.iter().filter(|call| is_traced(call)).count() < 2 {
        return None;
    }
    Some(calls.iter().filter_map(span_of).collect())
}

/// The span that a call to a worker is traced by.
fn span_of(call: &Call) -> Option<SpanContext> {
    let (_, value) = call.headers.iter().find(|(name, _)| *name == TRACEPARENT)?;
    SpanContext::parse(value).filter(|span| span.is_sampled)
}

/// Keeps spans in memory, for tests.
#[derive(Debug, Default)]
pub struct MemorySpans(Mutex<Vec<Span>>);

impl MemorySpans {
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SpanSink for MemorySpans {
    fn record(&self, spans: Vec<Span>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    }
}
