//! The names of traces and spans, as headers carry them: W3C Trace Context, and X-Ray's own.

use std::fmt;

use super::{AMAZON_TRACE_ID, TRACEPARENT, TRACESTATE};

/// Of one trace; not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Of one span; not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

/// Which span of which trace, and whether it is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanContext {
    pub trace: TraceId,
    pub span: SpanId,
    pub is_sampled: bool,
}

impl TraceId {
    /// From the epoch's seconds, and chance.
    pub(super) fn of(seconds: u32, high: u64, low: u64) -> Self {
        let middle = u128::from(high & 0xffff_ffff) << 64;
        Self((u128::from(seconds) << 96 | middle | u128::from(low)).max(1))
    }

    /// The part that is chance in any trace.
    pub(super) fn low(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 32 && is_lower_hex(text);
        let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then_some(Self(id))
    }
}

impl SpanId {
    pub(super) fn of(chance: u64) -> Self {
        Self(chance.max(1))
    }

    fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 16 && is_lower_hex(text);
        let id = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten()?;
        (id != 0).then_some(Self(id))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl SpanContext {
    /// Reads a `traceparent`. Versions to come may add fields at its end.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut fields = value.split('-');
        let (version, trace) = (fields.next()?, TraceId::parse(fields.next()?)?);
        let (span, flags) = (SpanId::parse(fields.next()?)?, fields.next()?);
        let is_two = |text: &str| text.len() == 2 && is_lower_hex(text);
        let is_known = match version {
            "00" => fields.next().is_none(),
            "ff" => false,
            _ => is_two(version),
        };
        let flags = u8::from_str_radix(flags, 16).ok().filter(|_| is_two(flags) && is_known)?;
        Some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }

    /// As a `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }

    /// The headers by which the trace goes on; `state` is what vendors keep of it.
    #[must_use]
    pub fn headers(&self, state: Option<&str>) -> Vec<(&'static str, String)> {
        let state = state.map(|state| (TRACESTATE, state.to_owned()));
        let ours = [(TRACEPARENT, self.traceparent()), (AMAZON_TRACE_ID, self.amazon_trace_id())];
        ours.into_iter().chain(state).collect()
    }

    /// As an `X-Amzn-Trace-Id`.
    #[must_use]
    pub fn amazon_trace_id(&self) -> String {
        let trace = self.trace.to_string();
        let (seconds, rest) = trace.split_at(8);
        format!(
            "Root=1-{seconds}-{rest};Parent={};Sampled={}",
            self.span,
            u8::from(self.is_sampled)
        )
    }
}

/// What a call came with. Headers that cannot be read are like none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    Alone,
    W3c(SpanContext),
    /// `X-Amzn-Trace-Id`. A load balancer names a trace and leaves the rest open.
    Amazon {
        trace: TraceId,
        parent: Option<SpanId>,
        is_sampled: Option<bool>,
    },
}

impl Came {
    /// W3C's header counts before X-Ray's.
    #[inline]
    pub fn read<'h>(header: impl Fn(&'static str) -> Option<&'h str>) -> Self {
        if let Some(context) = header(TRACEPARENT).and_then(SpanContext::parse) {
            return Self::W3c(context);
        }
        header(AMAZON_TRACE_ID).and_then(Self::of_amazon).unwrap_or(Self::Alone)
    }

    pub(super) fn traceparent(self) -> Option<SpanContext> {
        match self {
            Self::W3c(context) => Some(context),
            Self::Alone | Self::Amazon { .. } => None,
        }
    }

    pub(super) fn trace(self) -> Option<TraceId> {
        match self {
            Self::Alone => None,
            Self::W3c(context) => Some(context.trace),
            Self::Amazon { trace, .. } => Some(trace),
        }
    }

    pub(super) fn parent(self) -> Option<SpanId> {
        match self {
            Self::Alone => None,
            Self::W3c(context) => Some(context.span),
            Self::Amazon { parent, .. } => parent,
        }
    }

    /// What its sender decided, if anything.
    pub(super) fn is_sampled(self) -> Option<bool> {
        match self {
            Self::Alone => None,
            Self::W3c(context) => Some(context.is_sampled),
            Self::Amazon { is_sampled, .. } => is_sampled,
        }
    }

    fn of_amazon(value: &str) -> Option<Self> {
        let (mut root, mut parent, mut is_sampled) = (None, None, None);
        for field in value.split(';') {
            match field.trim().split_once('=') {
                Some(("Root", id)) => root = of_x_ray(id),
                Some(("Parent", id)) => parent = SpanId::parse(id),
                Some(("Sampled", "1")) => is_sampled = Some(true),
                Some(("Sampled", "0")) => is_sampled = Some(false),
                Some(_) | None => {} // `Self`, `Lineage`, `Sampled=?`.
            }
        }
        root.map(|trace| Self::Amazon { trace, parent, is_sampled })
    }
}

/// `1-5759e988-bd862e3fe1be46a994272793`.
fn of_x_ray(id: &str) -> Option<TraceId> {
    let (seconds, rest) = id.strip_prefix("1-")?.split_once('-')?;
    let is_whole = seconds.len() == 8 && rest.len() == 24;
    is_whole.then(|| TraceId::parse(&format!("{seconds}{rest}"))).flatten()
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
