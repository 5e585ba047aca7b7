//! Copies of calls, through the invoker. Time stands still unless awaited.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::AccountId;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::cloudwatch::MemoryMetrics;
use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{ShadowRoute, VariantRoute};
use sagebrush_core::worker::WorkerError;
use tokio::time::Instant;

use super::{MOST_OF_ONE, Parts, Shadows};
use crate::beside::Beside;
use crate::capture::tests as capturing;
use crate::invoke::Invoker;
use crate::tests::{Does, ask, instance, invoker, routed};

const LABELS: &str = "{region=\"r\",endpoint=\"e\",variant=\"v\",shadow_variant=\"s\"";

struct World {
    invoker: Invoker,
    registry: Registry,
    metrics: Arc<MemoryMetrics>,
    captured: capturing::World,
}

impl World {
    /// A production variant that echoes, with a shadow variant on these instances.
    fn new(share: f32, shadow: Vec<Arc<Instance>>) -> Self {
        let captured = capturing::World::new();
        let (registry, metrics) = (Registry::default(), Arc::new(MemoryMetrics::default()));
        let shadows = Shadows::start(Parts {
            capture: Some(captured.capture.clone()),
            chance: || 0.5,
            account: AccountId("1".into()),
            clock: Arc::new(FakeClock::default()),
            registry: registry.clone(),
            metrics: metrics.clone(),
        });
        let capture = Some(Arc::new(capturing::config()));
        let shadow = VariantRoute { capture, ..VariantRoute::new("s", "c".into(), shadow) };
        let production = instance(Does::Echo, 1000);
        let variant = VariantRoute {
            shadow: Some(Arc::new(ShadowRoute { share, variant: shadow })),
            ..VariantRoute::new("v", "c".into(), vec![production])
        };
        let (mut invoker, _) = invoker(routed(variant));
        invoker.chance = || 0.5;
        invoker.beside = Beside { capture: None, shadows: Some(shadows) };
        Self { invoker, registry, metrics, captured }
    }

    /// Answers so many calls, and waits for what comes of their copies.
    async fn ask(&self, n: usize) {
        let began = Instant::now();
        for _ in 0..n {
            assert_eq!(ask(&self.invoker).await.unwrap().outcome.unwrap().payload.body, "x");
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "no call waits for its copy");
        tokio::time::sleep(Duration::from_secs(120)).await;
    }

    #[track_caller]
    fn check(&self, counters: &[(&str, usize)]) {
        let text = self.registry.render();
        for (name, n) in counters {
            let (name, reason) = name.split_once('/').unwrap_or((name, ""));
            let reason = if reason.is_empty() { reason } else { &format!(",reason=\"{reason}\"") };
            let line = format!("sagebrush_shadow_{name}{LABELS}{reason}}} {n}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    /// The sum and the count of a metric of CloudWatch's.
    fn told(&self, name: &str) -> (f64, f64) {
        let data = self.metrics.data();
        let of = data.iter().map(|(_, datum)| datum).filter(|datum| &*datum.metric.name == name);
        of.fold((0.0, 0.0), |(sum, count), datum| {
            let namespace = if datum.metric.dimensions().len() == 3 {
                "sagebrush/Shadow"
            } else {
                let dimensions = datum.metric.dimensions().iter();
                let named: Vec<_> = dimensions.map(|(_, value)| &**value).collect();
                assert_eq!(named, ["e", "s"]);
                "AWS/SageMaker"
            };
            assert_eq!(&*datum.metric.namespace, namespace);
            (sum + datum.values.sum(), count + datum.values.count())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn copies_are_compared_and_captured() {
    let world = World::new(1.0, vec![instance(Does::Echo, 1000)]);
    world.ask(3).await;
    world.check(&[("copies_total", 3), ("agreements_total", 3), ("errors_total", 0)]);
    assert_eq!(world.told("Agreement"), (3.0, 3.0));
    let captured = world.captured.lines();
    assert_eq!(captured.iter().map(|(_, lines)| lines.len()).sum::<usize>(), 3);
    assert!(captured.iter().all(|(uri, _)| uri.starts_with("s3://b/p/e/s/")));
}

#[tokio::test(start_paused = true)]
async fn other_answers_and_errors_are_counted_and_harm_nobody() {
    let world = World::new(1.0, vec![instance(Does::Answer(9), 1000)]);
    world.ask(2).await;
    world.check(&[("copies_total", 2), ("agreements_total", 0), ("errors_total", 0)]);
    assert_eq!((world.told("Agreement"), world.told("ShadowErrors")), ((0.0, 2.0), (0.0, 2.0)));

    let world = World::new(1.0, vec![instance(Does::Fail(WorkerError::TimedOut), 1000)]);
    world.ask(2).await;
    world.check(&[("copies_total", 2), ("errors_total", 2)]);
    assert_eq!((world.told("Agreement"), world.told("ShadowErrors")), ((0.0, 0.0), (2.0, 2.0)));
}

#[tokio::test(start_paused = true)]
async fn sagemakers_metrics_are_told_by_the_shadows_own_name() {
    let took = Duration::from_millis(20);
    let slow = || instance(Does::Take(took), 1000);
    let world = World::new(1.0, vec![slow(), slow()]);
    world.ask(4).await;
    for (name, wanted) in [
        ("Invocations", (4.0, 4.0)),
        ("InvocationsPerInstance", (2.0, 4.0)),
        ("Invocation4XXErrors", (0.0, 4.0)),
        ("Invocation5XXErrors", (0.0, 4.0)),
        ("InvocationModelErrors", (0.0, 4.0)),
        ("ModelLatency", (80_000.0, 4.0)),
    ] {
        assert_eq!(world.told(name), wanted, "{name}");
    }
    assert!(!world.registry.render().contains("sagebrush_invocations_total"));

    for (error, wanted) in [
        (WorkerError::TimedOut, (0.0, 3.0, 3.0)),
        (WorkerError::Invalid { message: "no".to_owned() }, (3.0, 0.0, 0.0)),
    ] {
        let world = World::new(1.0, vec![instance(Does::Fail(error), 1000)]);
        world.ask(3).await;
        let told = |name| world.told(name).0;
        let errors = (
            told("Invocation4XXErrors"),
            told("Invocation5XXErrors"),
            told("InvocationModelErrors"),
        );
        assert_eq!(errors, wanted);
        assert_eq!(world.told("Invocations"), (3.0, 3.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_shadow_delays_nobody_and_gets_no_more_than_it_may() {
    let world = World::new(1.0, vec![instance(Does::Take(Duration::from_millis(500)), 1000)]);
    world.ask(1).await;
    world.check(&[("copies_total", 1)]);
    assert_eq!(world.told("LatencyDifference"), (500_000.0, 1.0));
    world.ask(MOST_OF_ONE + 20).await;
    world.check(&[("copies_total", 1 + MOST_OF_ONE), ("dropped_total/full", 20)]);
}

#[tokio::test(start_paused = true)]
async fn only_a_part_is_copied_and_none_without_an_instance() {
    let world = World::new(0.4, vec![instance(Does::Echo, 1000)]);
    world.ask(2).await;
    assert!(!world.registry.render().contains("shadow"));
    let world = World::new(0.6, Vec::new());
    world.ask(2).await;
    world.check(&[("copies_total", 0), ("dropped_total/no_instance", 2)]);
}
