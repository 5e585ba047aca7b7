//! Spans on their way to a collector.

use http::{HeaderMap, Uri};
use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::trace::{Kind, Tracer};
use serde_json::Value;

use super::*;
use crate::otlp::Untold;
use crate::otlp::testing::FakeCollector;

struct World {
    collector: Arc<FakeCollector>,
    traces: Arc<Traces>,
    tracer: Tracer,
    registry: Registry,
}

fn world(answers: Vec<Untold>) -> World {
    let collector = Arc::new(FakeCollector { answers: answers.into(), ..FakeCollector::default() });
    let destination = Destination {
        url: Uri::from_static("http://127.0.0.1:4318/v1/traces"),
        headers: HeaderMap::new(),
        service: "mine".to_owned(),
        version: "1",
    };
    let registry = Registry::default();
    let traces = Traces::to(collector.clone(), (destination, Duration::from_secs(5)), &registry);
    let clock = Arc::new(FakeClock::at(Timestamp(1000)));
    let tracer = Tracer::new(1.0, || 1, clock, traces.clone());
    World { collector, traces, tracer, registry }
}

impl World {
    fn call(&self) {
        let mut open = self.tracer.begin(Kind::Server, "call", |_| None).unwrap();
        open.set("n", 7_usize);
        open.fail("Bad");
        let context = open.context();
        open.part("model", Duration::from_millis(1), Duration::from_millis(2)).links =
            vec![context];
    }

    fn n_taken(&self) -> usize {
        let spans = |request: &Value| {
            request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
        };
        self.collector.taken.lock().unwrap().iter().map(spans).sum()
    }

    fn counts(&self, series: &str, n: usize) {
        let (text, line) = (self.registry.render(), format!("sagebrush_{series} {n}\n"));
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_is_written_as_the_specification_says() {
    let world = world(Vec::new());
    world.call();
    world.traces.stop(Duration::from_secs(1)).await;
    let taken = world.collector.taken.lock().unwrap();
    let trace = "00000001000000010000000000000001";
    let of = &taken[0]["resourceSpans"][0];
    let service = serde_json::json!({"key": "service.name", "value": {"stringValue": "mine"}});
    assert_eq!(of["resource"]["attributes"][0], service);
    let [model, call] = &of["scopeSpans"][0]["spans"].as_array().unwrap()[..] else {
        panic!("two spans")
    };
    assert_eq!(
        *model,
        serde_json::json!({
            "traceId": trace,
            "spanId": "0000000000000001",
            "parentSpanId": "0000000000000001",
            "name": "model",
            "kind": 1,
            "startTimeUnixNano": "1001000000",
            "endTimeUnixNano": "1003000000",
            "attributes": [],
            "links": [{"traceId": trace, "spanId": "0000000000000001"}],
            "status": {},
        })
    );
    assert_eq!((&call["kind"], &call["status"]["code"]), (&2.into(), &2.into()));
    let number = serde_json::json!({"key": "n", "value": {"intValue": "7"}});
    assert_eq!(call["attributes"][0], number);
    assert_eq!(call.get("parentSpanId"), None);
}

#[tokio::test(start_paused = true)]
async fn a_span_waits_for_others_but_not_for_long() {
    let world = world(Vec::new());
    world.call();
    tokio::time::sleep(Duration::from_millis(4900)).await;
    assert_eq!(world.n_taken(), 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.n_taken(), 2);
    for _ in 0..256 {
        world.call();
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(world.n_taken(), 514);
    world.counts("exported_spans_total", 514);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_sent_again_and_else_counted() {
    let busy = |after| Untold::ForNow { reason: "busy".to_owned(), after };
    let check = |answers: Vec<Untold>, n_asked, n_taken, series: &'static str| async move {
        let world = world(answers);
        world.call();
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!((*world.collector.asked.lock().unwrap(), world.n_taken()), (n_asked, n_taken));
        world.counts(series, 2);
    };
    check(vec![busy(None), busy(None)], 3, 2, "exported_spans_total").await;
    check(vec![busy(Some(Duration::from_secs(20)))], 2, 2, "exported_spans_total").await;
    let unreachable = "dropped_spans_total{reason=\"unreachable\"}";
    check((0..4).map(|_| busy(None)).collect(), 4, 0, unreachable).await;
    check(vec![busy(Some(Duration::from_hours(1)))], 1, 0, unreachable).await;
    let refused = "dropped_spans_total{reason=\"refused\"}";
    check(vec![Untold::ForGood("no".to_owned())], 1, 0, refused).await;
}

#[tokio::test(start_paused = true)]
async fn more_than_there_is_room_for_is_dropped_and_counted() {
    let world = world(Vec::new());
    for _ in 0..ROOM + 3 {
        world.call();
    }
    world.counts("dropped_spans_total{reason=\"full\"}", 6);
    world.traces.stop(Duration::from_secs(1)).await;
    assert_eq!(world.n_taken(), 2 * ROOM);
    world.call();
    world.counts("dropped_spans_total{reason=\"full\"}", 8);
}
