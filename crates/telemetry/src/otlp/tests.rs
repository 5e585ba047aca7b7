//! Metrics on their way to a collector.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::metrics::{Gauge, Registry};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::testing::FakeCollector;
use super::*;

const MINUTE: Duration = Duration::from_mins(1);

struct World {
    collector: Arc<FakeCollector>,
    registry: Registry,
    clock: Arc<FakeClock>,
    exporter: Arc<MetricExporter>,
}

/// A server that counts its looks.
fn world(answers: Vec<Untold>) -> World {
    let collector = Arc::new(FakeCollector { answers: answers.into(), ..FakeCollector::default() });
    let registry = Registry::default();
    let clock = Arc::new(FakeClock::at(Timestamp(1000)));
    let looks: Arc<Gauge> = registry.gauge("looks", "Looks.", Vec::new());
    let n_looks = AtomicI64::new(0);
    let look = Box::new(move || looks.set(n_looks.fetch_add(1, Ordering::Relaxed) + 1));
    let parts = Parts {
        destination: Destination {
            url: Uri::from_static("http://127.0.0.1:4318/v1/metrics"),
            headers: HeaderMap::new(),
            service: "mine".to_owned(),
            version: "1",
        },
        every: MINUTE,
        registry: registry.clone(),
        clock: clock.clone(),
        look,
    };
    let exporter = MetricExporter::to(collector.clone(), parts);
    World { collector, registry, clock, exporter }
}

impl World {
    fn n_asked(&self) -> usize {
        *self.collector.asked.lock().unwrap()
    }

    /// A metric of the last request.
    fn metric(&self, name: &str) -> Value {
        let taken = self.collector.taken.lock().unwrap();
        let metrics = &taken.last().unwrap()["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let found = metrics.as_array().unwrap().iter().find(|metric| metric["name"] == name);
        found.unwrap_or_else(|| panic!("{name} in {metrics}")).clone()
    }

    fn counts(&self, series: &str, n: usize) {
        let (text, line) = (self.registry.render(), format!("sagebrush_{series} {n}\n"));
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_are_written_as_the_specification_says() {
    let world = world(Vec::new());
    world.registry.counter("a_total", "As.", vec![("e", "x".to_owned())]).add(3);
    world.registry.seconds("b_seconds_total", "Bs.", Vec::new()).add(1_500_000_000);
    let times = world.registry.histogram("c_seconds", "Cs.", Vec::new());
    times.observe(Duration::from_micros(200));
    times.observe(Duration::from_mins(2));
    world.clock.advance(Duration::from_secs(7));
    world.exporter.stop(MINUTE).await;
    let (began, now) = ("1000000000", "8000000000");
    assert_eq!(
        world.metric("a_total"),
        json!({"name": "a_total", "description": "As.", "sum": {
            "aggregationTemporality": 2, "isMonotonic": true,
            "dataPoints": [{
                "attributes": [{"key": "e", "value": {"stringValue": "x"}}],
                "startTimeUnixNano": began, "timeUnixNano": now, "asInt": "3",
            }],
        }})
    );
    let of_time = world.metric("b_seconds_total");
    assert_eq!(
        (&of_time["unit"], &of_time["sum"]["dataPoints"][0]["asDouble"]),
        (&json!("s"), &json!(1.5))
    );
    assert_eq!(
        world.metric("looks")["gauge"],
        json!({"dataPoints": [{"attributes": [], "timeUnixNano": now, "asInt": "1"}]})
    );
    let histogram = &world.metric("c_seconds")["histogram"];
    assert_eq!(histogram["aggregationTemporality"], 2);
    let point = &histogram["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&json!("2"), &json!(120.0002)));
    let (buckets, bounds) = (&point["bucketCounts"], &point["explicitBounds"]);
    let n = |list: &Value| list.as_array().unwrap().len();
    assert_eq!(
        (n(buckets), &buckets[1], &buckets[n(bounds)]),
        (n(bounds) + 1, &json!("1"), &json!("1"))
    );
    assert_eq!((&bounds[0], &bounds[n(bounds) - 1]), (&json!(0.0001), &json!(60.0)));
    let taken = world.collector.taken.lock().unwrap();
    let service = json!({"key": "service.name", "value": {"stringValue": "mine"}});
    assert_eq!(taken[0]["resourceMetrics"][0]["resource"]["attributes"][0], service);
}

#[tokio::test(start_paused = true)]
async fn metrics_are_told_each_minute_and_at_the_end() {
    let world = world(Vec::new());
    sleep(MINUTE - Duration::from_secs(1)).await;
    assert_eq!(world.n_asked(), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.n_asked(), 1);
    sleep(2 * MINUTE).await;
    assert_eq!(world.n_asked(), 3);
    world.exporter.stop(MINUTE).await;
    assert_eq!(
        (world.n_asked(), &world.metric("looks")["gauge"]["dataPoints"][0]["asInt"]),
        (4, &json!("4"))
    );
    sleep(2 * MINUTE).await;
    assert_eq!(world.n_asked(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_collector_does_not_take_is_dropped_and_counted() {
    let away = || Untold::ForNow { reason: "away".to_owned(), after: None };
    let world = world((0..4).map(|_| away()).collect());
    sleep(MINUTE + Duration::from_secs(30)).await;
    assert_eq!((world.n_asked(), world.collector.taken.lock().unwrap().len()), (4, 0));
    // The gauge, and the three counters of what becomes of points.
    world.counts("dropped_points_total{reason=\"unreachable\"}", 4);
    sleep(MINUTE).await;
    assert_eq!(world.n_asked(), 5);
    world.counts("exported_points_total", 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_collector_that_is_away() {
    let away = || Untold::ForNow { reason: "away".to_owned(), after: None };
    let world = world((0..100).map(|_| away()).collect());
    sleep(MINUTE + Duration::from_millis(500)).await; // It waits for its second attempt.
    let began = tokio::time::Instant::now();
    world.exporter.stop(Duration::from_secs(1)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    let n_asked = world.n_asked();
    sleep(MINUTE).await;
    assert_eq!(world.n_asked(), n_asked);
}

#[tokio::test(start_paused = true)]
async fn many_series_are_told_in_several_requests() {
    let world = world(Vec::new());
    for n in 0..1300 {
        world.registry.counter("many_total", "Many.", vec![("n", n.to_string())]).add(n);
    }
    world.exporter.stop(MINUTE).await;
    let n_points = |request: &Value| -> usize {
        let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
        let points = |metric: &Value| {
            let data = metric.get("sum").or_else(|| metric.get("gauge")).unwrap();
            data["dataPoints"].as_array().unwrap().len()
        };
        metrics.as_array().unwrap().iter().map(points).sum()
    };
    let found: Vec<_> = world.collector.taken.lock().unwrap().iter().map(n_points).collect();
    assert_eq!(found.iter().sum::<usize>(), 1304);
    assert!(found.iter().all(|n| *n <= 512), "{found:?}");
}
