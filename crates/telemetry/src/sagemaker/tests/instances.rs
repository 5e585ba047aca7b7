//! What instances take, told by endpoint, by instance and by job.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sagebrush_core::fleet::{GroupKey, InstanceState, Owner};
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::route::{EndpointRoute, MetricsConfig, ShadowRoute, VariantRoute};
use sagebrush_core::worker::{Call, Reply, Usage, Worker, WorkerError};
use tokio::time::Instant;

use super::super::{Gpu, Gpus};
use super::*;

const ENDPOINTS: &str = "/aws/sagemaker/Endpoints";

/// A worker that has computed so many milliseconds.
#[derive(Default)]
struct Computes(AtomicU64);

#[async_trait]
impl Worker for Computes {
    async fn invoke(&self, _calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        Vec::new()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn usage(&self) -> Option<Usage> {
        let cpu = Duration::from_millis(self.0.load(Ordering::Relaxed));
        Some(Usage { cpu, memory_bytes: 50 })
    }

    async fn stop(&self, _deadline: Instant) {}
}

impl Computes {
    fn add(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}

fn instance(id: &str) -> (Arc<Computes>, Arc<Instance>) {
    let worker = Arc::new(Computes::default());
    worker.add(1000); // Before anybody looked.
    let limits = Limits { waiting: 1, bytes: 1 };
    (worker.clone(), Instance::new(id.to_owned(), worker, limits))
}

fn variant(name: &str, metrics: MetricsConfig, instances: &[&Arc<Instance>]) -> VariantRoute {
    let instances = instances.iter().map(|it| Arc::clone(it)).collect();
    VariantRoute { metrics, ..VariantRoute::new(name, "c".into(), instances) }
}

impl World {
    fn route(&self, variant: VariantRoute) {
        let mut table = RouteTable::default();
        table.insert(Arc::new(EndpointRoute {
            region: Region::new("r"),
            name: "e".parse().unwrap(),
            closed: None,
            asynchronous: None,
            variants: vec![variant],
        }));
        self.route_table.publish(Arc::new(table));
        for (name, level) in [
            ("sagebrush_memory_limit_bytes", 1000),
            ("sagebrush_disk_used_bytes", 250),
            ("sagebrush_disk_size_bytes", 1000),
        ] {
            self.registry.gauge(name, "", Vec::new()).set(level);
        }
    }

    /// Ten seconds pass.
    async fn beat(&mut self) {
        tokio::time::advance(Duration::from_secs(10)).await;
        self.sagemaker.put().await;
    }

    fn sum(&self, name: &str, dimensions: &[(&str, &str)]) -> Option<f64> {
        self.read_of(ENDPOINTS, name, dimensions, Statistic::Sum)
    }

    fn count(&self, name: &str, dimensions: &[(&str, &str)]) -> Option<f64> {
        self.read_of(ENDPOINTS, name, dimensions, Statistic::SampleCount)
    }
}

#[tokio::test(start_paused = true)]
async fn each_instance_is_told_in_percent() {
    let mut world = world();
    let ((busy, first), (_idle, second)) = (instance("i-1"), instance("i-2"));
    world.route(variant("v", MetricsConfig::default(), &[&first, &second]));
    world.sagemaker.put().await;
    assert_eq!(world.sum("CPUUtilization", &V), None, "nothing is known of the time before");
    assert_eq!(world.sum("MemoryUtilization", &V), Some(10.0));
    assert_eq!(world.count("DiskUtilization", &V), Some(2.0));
    assert_eq!(world.sum("DiskUtilization", &V), Some(50.0));
    busy.add(15);
    world.beat().await;
    assert_eq!(world.sum("CPUUtilization", &V), Some(150.0));
    assert_eq!(world.count("CPUUtilization", &V), Some(2.0));
    let data = world.metrics.data();
    assert!(data.iter().all(|(_, it)| &*it.unit == "Percent" && it.high_resolution), "{data:?}");
    let by_instance = [V[0], V[1], ("InstanceId", "i-1")];
    assert_eq!(world.sum("CPUUtilization", &by_instance), None, "nobody asked for it");
    assert_eq!(world.sum("GPUUtilization", &V), None);
}

#[tokio::test(start_paused = true)]
async fn enhanced_metrics_are_told_by_instance() {
    let mut world = world();
    let ((busy, first), (_idle, second)) = (instance("i-1"), instance("i-2"));
    let enhanced = MetricsConfig { is_enhanced: true, ..MetricsConfig::default() };
    world.route(variant("v", enhanced, &[&first, &second]));
    world.sagemaker.put().await;
    busy.add(5);
    world.beat().await;
    for (id, cpu) in [("i-1", 50.0), ("i-2", 0.0)] {
        let dimensions = [V[0], V[1], ("InstanceId", id)];
        assert_eq!(world.sum("CPUUtilization", &dimensions), Some(cpu), "{id}");
        assert_eq!(world.sum("MemoryUtilization", &dimensions), Some(10.0), "{id}");
    }
    assert_eq!(world.sum("CPUUtilization", &V), Some(50.0));
}

#[tokio::test(start_paused = true)]
async fn they_are_told_as_often_as_is_asked_for() {
    let mut world = world();
    let (busy, first) = instance("i-1");
    let publish_each = Duration::from_secs(60);
    world.route(variant("v", MetricsConfig { publish_each, is_enhanced: false }, &[&first]));
    world.sagemaker.put().await;
    for beat in 1..=12 {
        busy.add(if beat <= 6 { 1 } else { 2 });
        world.beat().await;
    }
    assert_eq!(world.count("MemoryUtilization", &V), Some(3.0));
    assert_eq!(
        (world.count("CPUUtilization", &V), world.sum("CPUUtilization", &V)),
        (Some(2.0), Some(30.0))
    );
    assert!(world.metrics.data().iter().all(|(_, datum)| !datum.high_resolution));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_variant_is_told_by_its_own_name() {
    let mut world = world();
    let ((_, first), (busy, second)) = (instance("i-1"), instance("i-2"));
    let shadow = variant("s", MetricsConfig::default(), &[&second]);
    let shadow = Some(Arc::new(ShadowRoute { share: 1.0, variant: shadow }));
    world.route(VariantRoute { shadow, ..variant("v", MetricsConfig::default(), &[&first]) });
    world.sagemaker.put().await;
    busy.add(4);
    world.beat().await;
    let shadow = [("EndpointName", "e"), ("VariantName", "s")];
    assert_eq!(
        (world.sum("CPUUtilization", &shadow), world.sum("CPUUtilization", &V)),
        (Some(40.0), Some(0.0))
    );
}

#[tokio::test(start_paused = true)]
async fn jobs_are_told_by_host_while_they_run() {
    let mut world = world();
    world.registry.gauge("sagebrush_memory_limit_bytes", "", Vec::new()).set(1000);
    world.registry.gauge("sagebrush_disk_used_bytes", "", Vec::new()).set(1);
    world.registry.gauge("sagebrush_disk_size_bytes", "", Vec::new()).set(2);
    let (busy, first) = instance("i-1");
    let group = |owner| GroupKey {
        owner,
        region: Region::new("r"),
        name: "job".to_owned(),
        variant: "AllTraffic".to_owned(),
        revision: "1".to_owned(),
    };
    let states = vec![InstanceState::Ready(first), InstanceState::Starting];
    let (_, uncalled) = instance("i-2");
    world.fleet_view.send_replace(Arc::new(FleetView::from([
        (group(Owner::TransformJob), states),
        (group(Owner::Endpoint), vec![InstanceState::Ready(uncalled)]),
    ])));
    world.sagemaker.put().await;
    busy.add(7);
    world.beat().await;
    let told = |world: &World, name| {
        let host = [("Host", "job/i-1")];
        world.read_of("/aws/sagemaker/TransformJobs", name, &host, Statistic::Maximum)
    };
    assert_eq!(told(&world, "CPUUtilization"), Some(70.0));
    assert_eq!(told(&world, "MemoryUtilization"), Some(5.0));
    assert_eq!(told(&world, "DiskUtilization"), None, "nor does SageMaker tell it");
    world.fleet_view.send_replace(Arc::default());
    let n_told = world.metrics.data().len();
    assert_eq!(n_told, 3, "the endpoint's instance is not called yet");
    world.beat().await;
    assert_eq!(world.metrics.data().len(), n_told, "the job has ended");
}

struct TwoGpus;

#[async_trait]
impl Gpus for TwoGpus {
    async fn look(&self) -> Vec<Gpu> {
        vec![
            Gpu { utilization: Some(90.0), memory: Some(50.0) },
            Gpu { utilization: Some(30.0), memory: None },
        ]
    }
}

#[tokio::test(start_paused = true)]
async fn gpus_are_summed_up_and_told_one_by_one() {
    let mut world = world();
    world.sagemaker.parts.gpus = Some(Arc::new(TwoGpus));
    let ((_, first), (_, second)) = (instance("i-1"), instance("i-2"));
    let enhanced = MetricsConfig { is_enhanced: true, ..MetricsConfig::default() };
    world.route(variant("v", enhanced, &[&first, &second]));
    world.sagemaker.put().await;
    let average = |name, more: &[(&str, &str)]| {
        let dimensions = [&V[..], more].concat();
        world.read_of(ENDPOINTS, name, &dimensions, Statistic::Average)
    };
    let on = ("InstanceId", "i-2");
    for (name, more, wanted) in [
        ("GPUUtilization", &[][..], Some(120.0)),
        ("GPUMemoryUtilization", &[], Some(50.0)),
        ("GPUUtilization", &[on], Some(120.0)),
        ("GPUUtilization", &[on, ("AcceleratorId", "0")], Some(90.0)),
        ("GPUUtilization", &[on, ("AcceleratorId", "1")], Some(30.0)),
        ("GPUMemoryUtilization", &[on, ("AcceleratorId", "0")], Some(50.0)),
        ("GPUMemoryUtilization", &[on, ("AcceleratorId", "1")], None),
    ] {
        assert_eq!(average(name, more), wanted, "{name} {more:?}");
    }
}
