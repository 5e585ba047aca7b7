//! What is counted, and the metrics that come of it.

mod instances;

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::clock::FakeClock;
use sagebrush_core::cloudwatch::{MemoryMetrics, MetricId, MetricQuery, Metrics, Statistic};
use sagebrush_core::fleet::FleetView;
use sagebrush_core::metrics::{Labels, Registry};
use sagebrush_core::route::{self, RouteTable, RoutesSender};
use sagebrush_core::{Region, Timestamp};
use tokio::sync::watch;

use super::{Parts, SageMakerMetrics};

struct World {
    registry: Registry,
    metrics: Arc<MemoryMetrics>,
    sagemaker: SageMakerMetrics,
    route_table: RoutesSender,
    fleet_view: watch::Sender<Arc<FleetView>>,
}

fn world() -> World {
    let (registry, metrics) = (Registry::default(), Arc::new(MemoryMetrics::default()));
    let clock = Arc::new(FakeClock::at(Timestamp(60_000)));
    let (route_table, routes) = route::channel(RouteTable::default());
    let (fleet_view, fleet) = watch::channel(Arc::default());
    let sagemaker = SageMakerMetrics::new(Parts {
        registry: registry.clone(),
        metrics: metrics.clone(),
        clock,
        look: Box::new(|| {}),
        routes,
        fleet,
        gpus: None,
    });
    World { registry, metrics, sagemaker, route_table, fleet_view }
}

fn labels(variant: &str, config: &str) -> Labels {
    vec![
        ("region", "r".to_owned()),
        ("endpoint", "e".to_owned()),
        ("variant", variant.to_owned()),
        ("config", config.to_owned()),
    ]
}

impl World {
    fn add(&self, counter: &'static str, labels: Labels, n: u64) {
        self.registry.counter(counter, "", labels).add(n);
    }

    /// A statistic of a metric of `AWS/SageMaker`.
    fn read(&self, name: &str, dimensions: &[(&str, &str)], statistic: Statistic) -> Option<f64> {
        self.read_of("AWS/SageMaker", name, dimensions, statistic)
    }

    fn read_of(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[(&str, &str)],
        statistic: Statistic,
    ) -> Option<f64> {
        let dimensions = dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let query = MetricQuery {
            metric: MetricId::new(namespace, name, dimensions),
            unit: None,
            from: Timestamp(0),
            to: Timestamp(i64::MAX),
            period: Duration::from_mins(1),
            statistic,
        };
        self.metrics.read(&Region::new("r"), &query).first().map(|point| point.value)
    }
}

const ALL: [(&str, &str); 2] = [("EndpointName", "e"), ("VariantName", "AllTraffic")];
const V: [(&str, &str); 2] = [("EndpointName", "e"), ("VariantName", "v")];

#[tokio::test]
async fn calls_are_told_by_variant_by_all_and_by_configuration() {
    let mut world = world();
    let [old, new, other] = [labels("v", "old"), labels("v", "new"), labels("w", "old")];
    world.add("sagebrush_invocations_total", old.clone(), 6);
    world.add("sagebrush_invocations_total", new.clone(), 2);
    world.add("sagebrush_invocations_total", other, 8);
    world.add("sagebrush_invocations_total", labels("", ""), 4);
    world.add("sagebrush_invocation_4xx_errors_total", labels("", ""), 4);
    world.add("sagebrush_invocation_5xx_errors_total", new, 1);
    world.sagemaker.put().await;
    let of = |config| [V[0], V[1], ("EndpointConfigName", config)];
    for (dimensions, n_calls, rate) in
        [(&V[..], 8.0, 0.125), (&of("old"), 6.0, 0.0), (&of("new"), 2.0, 0.5), (&ALL, 20.0, 0.05)]
    {
        assert_eq!(world.read("Invocations", dimensions, Statistic::Sum), Some(n_calls));
        let errors = world.read("Invocation5XXErrors", dimensions, Statistic::Average);
        assert_eq!(errors, Some(rate), "{dimensions:?}");
    }
    assert_eq!(world.read("Invocation4XXErrors", &ALL, Statistic::Sum), Some(4.0));
    assert_eq!(world.read("Invocation4XXErrors", &V, Statistic::Sum), Some(0.0));
    // What was told is not told again.
    let n_told = world.metrics.data().len();
    world.sagemaker.put().await;
    assert_eq!(world.metrics.data().len(), n_told);
    world.add("sagebrush_invocations_total", old, 1);
    world.sagemaker.put().await;
    assert_eq!(world.read("Invocations", &V, Statistic::Sum), Some(9.0));
}

#[tokio::test]
async fn an_endpoint_that_is_made_anew_counts_from_zero() {
    let mut world = world();
    world.add("sagebrush_invocations_total", labels("v", "c"), 5);
    world.sagemaker.put().await;
    world.registry.retain(|_| false);
    world.add("sagebrush_invocations_total", labels("v", "c"), 2);
    world.sagemaker.put().await;
    assert_eq!(world.read("Invocations", &V, Statistic::Sum), Some(7.0));
}

#[tokio::test]
async fn times_are_told_in_their_units_with_their_percentiles() {
    let mut world = world();
    let name = ("sagebrush_model_latency_seconds", "");
    let latency = world.registry.recorded(name, labels("v", "c"), Duration::from_micros(1));
    for millis in 1..=100 {
        latency.observe(Duration::from_millis(millis));
    }
    world.sagemaker.put().await;
    let told = |statistic| world.read("ModelLatency", &V, statistic).unwrap();
    assert_eq!((told(Statistic::SampleCount), told(Statistic::Average)), (100.0, 50_500.0));
    assert_eq!((told(Statistic::Minimum), told(Statistic::Maximum)), (1000.0, 100_000.0));
    for (percent, wanted) in [(50.0, 50_000.0), (99.0, 99_000.0)] {
        let found = told(Statistic::Percentile(percent));
        assert!((found - wanted).abs() <= wanted * 0.01, "p{percent}: {found}");
    }
    let (_, datum) = &world.metrics.data()[0];
    assert_eq!((&*datum.unit, datum.high_resolution), ("Microseconds", true));
}

#[tokio::test]
async fn what_is_told_by_instance() {
    let mut world = world();
    for config in ["old", "new"] {
        world.registry.gauge("sagebrush_instances", "", labels("v", config)).set(2);
        world.registry.gauge("sagebrush_outstanding_calls", "", labels("v", config)).set(3);
        world.add("sagebrush_invocations_total", labels("v", config), 10);
    }
    world.sagemaker.put().await;
    let calls = |world: &World| {
        [Statistic::Sum, Statistic::SampleCount]
            .map(|statistic| world.read("InvocationsPerInstance", &V, statistic).unwrap())
    };
    assert_eq!(calls(&world), [5.0, 20.0]);
    world.sagemaker.put().await;
    assert_eq!(calls(&world), [5.0, 21.0], "nobody called, and that is told");
    let concurrent = world.read("ConcurrentRequestsPerModel", &V, Statistic::Average);
    assert_eq!(concurrent, Some(1.5));
}

#[tokio::test]
async fn calls_of_an_instance_are_told_by_its_id() {
    let mut world = world();
    let mut labels = labels("v", "c");
    labels.push(("instance", "i-1".to_owned()));
    world.add("sagebrush_instance_invocations_total", labels.clone(), 4);
    world.add("sagebrush_instance_invocation_5xx_errors_total", labels, 1);
    world.sagemaker.put().await;
    let dimensions = [V[0], V[1], ("InstanceId", "i-1")];
    assert_eq!(world.read("Invocations", &dimensions, Statistic::Sum), Some(4.0));
    assert_eq!(world.read("Invocation5XXErrors", &dimensions, Statistic::Average), Some(0.25));
    assert_eq!(world.read("Invocations", &V, Statistic::Sum), None, "these are told as before");
}

#[tokio::test]
async fn models_are_told_by_instance() {
    let mut world = world();
    world.registry.gauge("sagebrush_instances", "", labels("v", "c")).set(2);
    let variant = labels("v", "").into_iter().filter(|(name, _)| *name != "config").collect();
    world.registry.gauge("sagebrush_loaded_models", "", variant).set(3);
    world.sagemaker.put().await;
    let namespace = "/aws/sagemaker/Endpoints";
    let told = world.read_of(namespace, "LoadedModelCount", &V, Statistic::Average);
    assert_eq!(told, Some(1.5));
}

#[tokio::test(start_paused = true)]
async fn serverless_variants_are_told_of_their_concurrency() {
    let mut world = world();
    let variant = |name: &str| labels(name, "")[..3].to_vec();
    let gauge = |name, variant: &str, level| {
        let name = match name {
            "calls" => "sagebrush_serverless_concurrent_executions",
            "most" => "sagebrush_serverless_max_concurrency",
            _ => "sagebrush_serverless_provisioned_concurrency",
        };
        world.registry.gauge(name, "", labels(variant, "")[..3].to_vec()).set(level);
    };
    for (name, calls) in [("v", 3), ("idle", 0), ("on-demand", 2)] {
        gauge("calls", name, calls);
        gauge("most", name, 8);
    }
    gauge("provisioned", "v", 4);
    gauge("provisioned", "idle", 4);
    world.add("sagebrush_serverless_provisioned_invocations_total", variant("v"), 6);
    world.add("sagebrush_serverless_spillover_invocations_total", variant("v"), 2);
    world.sagemaker.put().await;
    let told = |variant, name: &str, statistic| {
        let name = format!("Serverless{name}");
        world.read(&name, &[("EndpointName", "e"), ("VariantName", variant)], statistic)
    };
    for (variant, of_most, of_provisioned, executions) in [
        ("v", Some(0.375), Some(0.75), Some(3.0)),
        ("idle", Some(0.0), Some(0.0), Some(0.0)),
        ("on-demand", Some(0.25), None, None),
    ] {
        let average = |name| told(variant, name, Statistic::Average);
        assert_eq!(average("ConcurrentExecutionsUtilization"), of_most, "{variant}");
        assert_eq!(average("ProvisionedConcurrencyUtilization"), of_provisioned, "{variant}");
        assert_eq!(average("ProvisionedConcurrencyExecutions"), executions, "{variant}");
    }
    let calls = |name| told("v", name, Statistic::Sum);
    assert_eq!(calls("ProvisionedConcurrencyInvocations"), Some(6.0));
    assert_eq!(calls("ProvisionedConcurrencySpilloverInvocations"), Some(2.0));
}
