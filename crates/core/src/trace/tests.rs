//! Headers that carry traces, and what is traced.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::Timestamp;
use crate::clock::FakeClock;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_traceparent_is_read_and_written() {
    assert_eq!(SpanContext::parse(PARENT).unwrap().traceparent(), PARENT);
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(SpanContext::parse(unsampled).unwrap().traceparent(), unsampled);
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more";
    assert_eq!(SpanContext::parse(later).unwrap().traceparent(), PARENT);
}

#[test]
fn what_is_no_traceparent() {
    for bad in [
        "",
        "00",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    ] {
        assert_eq!(SpanContext::parse(bad), None, "{bad}");
    }
}

#[test]
fn the_header_of_x_ray_names_the_same_trace() {
    let check = |value: &str, wanted: Option<(&str, Option<&str>, Option<bool>)>| {
        let came = Came::read(|name| (name == AMAZON_TRACE_ID).then_some(value));
        let found = came.trace().map(|trace| trace.to_string());
        let parent = came.parent().map(|parent| parent.to_string());
        let found = found.as_deref().map(|trace| (trace, parent.as_deref(), came.is_sampled()));
        assert_eq!(found, wanted, "{value}");
    };
    let (root, trace) = ("1-5759e988-bd862e3fe1be46a994272793", "5759e988bd862e3fe1be46a994272793");
    let span = "53995c3f42cd8ad8";
    check(&format!("Root={root};Parent={span};Sampled=1"), Some((trace, Some(span), Some(true))));
    check(&format!("Root={root}; Sampled=0"), Some((trace, None, Some(false))));
    check(&format!("Self=1-67891234-0;Root={root};Sampled=?"), Some((trace, None, None)));
    for bad in ["", "Root=", "Root=2-5759e988-bd862e3fe1be46a994272793", "Root=1-5759e98-8", "x"] {
        check(bad, None);
    }
    let context = SpanContext::parse(&format!("00-{trace}-{span}-01")).unwrap();
    assert_eq!(context.amazon_trace_id(), format!("Root={root};Parent={span};Sampled=1"));
}

/// A tracer of a known time and no chance: half of 2^63 is what it draws.
fn tracer(ratio: f64) -> (Tracer, Arc<MemorySpans>) {
    let (clock, spans) =
        (Arc::new(FakeClock::at(Timestamp(5000))), Arc::new(MemorySpans::default()));
    (Tracer::new(ratio, || 1 << 62, clock, spans.clone()), spans)
}

#[test]
fn who_sent_the_call_decides_and_else_chance() {
    let unsampled = PARENT.replace("-01", "-00");
    let x_ray = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let sampled = format!("{x_ray};Sampled=1");
    for (ratio, name, value, wanted) in [
        (0.0, TRACEPARENT, PARENT, true),
        (1.0, TRACEPARENT, &unsampled, false),
        (0.0, AMAZON_TRACE_ID, &sampled, true),
        (1.0, AMAZON_TRACE_ID, x_ray, true),
        (0.0, AMAZON_TRACE_ID, x_ray, false),
        (0.49, "", "", false),
        (0.51, "", "", true),
        (1.0, TRACEPARENT, "nonsense", true),
    ] {
        let header = |wanted: &str| (wanted == name).then_some(value);
        let is_traced = tracer(ratio).0.begin(Kind::Server, "x", header).is_some();
        assert_eq!(is_traced, wanted, "{ratio} {name}: {value}");
    }
    assert!(Tracer::default().begin(Kind::Server, "x", |_| Some(PARENT)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_span_is_recorded_with_its_parts_when_it_ends() {
    let (tracer, spans) = tracer(1.0);
    let header = |name: &str| match name {
        TRACEPARENT => Some(PARENT),
        TRACESTATE => Some("v=1"),
        _ => None,
    };
    let mut open = tracer.begin(Kind::Server, "call", header).unwrap();
    open.part("queue", Duration::from_millis(1), Duration::from_millis(2));
    tokio::time::advance(Duration::from_millis(7)).await;
    let root = open.context();
    assert_eq!(spans.spans(), []);
    drop(open);
    let [queue, call] = &spans.spans()[..] else { panic!("two spans") };
    assert_eq!((call.began, call.took), (5_000_000_000, Duration::from_millis(7)));
    assert_eq!((queue.began, queue.took), (5_001_000_000, Duration::from_millis(2)));
    assert_eq!(call.parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!(queue.parent, Some(root.span));
    assert_eq!((call.state.as_deref(), queue.state.as_deref()), (Some("v=1"), Some("v=1")));
    for span in [queue, call] {
        assert_eq!(span.context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}

#[test]
fn a_trace_of_our_own_begins_with_the_time() {
    let (tracer, _spans) = tracer(1.0);
    let trace = tracer.begin(Kind::Server, "x", |_| None).unwrap().context().trace.to_string();
    assert!(trace.starts_with("00000005"), "{trace}");
}
