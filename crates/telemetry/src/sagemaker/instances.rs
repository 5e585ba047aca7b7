//! What instances take of the machine: those of endpoints, and those of transform jobs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::Region;
use sagebrush_core::cloudwatch::MetricId;
use sagebrush_core::fleet::{FleetView, InstanceState, Owner};
use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::{Reading, Registry};
use sagebrush_core::route::{MetricsConfig, RouteTable};
use sagebrush_core::sketch::Sketch;
use sagebrush_core::worker::Usage;
use tokio::time::Instant;

use super::gpus::Gpu;
use super::{EACH, level_of};

const ENDPOINTS: &str = "/aws/sagemaker/Endpoints";
const TRANSFORM_JOBS: &str = "/aws/sagemaker/TransformJobs";

/// SageMaker's dimensions and their values.
type Dimensions = Vec<(&'static str, String)>;

/// What instances took when it was told last, by their ids.
#[derive(Default)]
pub(super) struct Instances(HashMap<String, Told>);

struct Told {
    at: Instant,
    cpu: Option<Duration>,
}

/// An instance that takes calls.
pub(super) struct Running {
    region: Region,
    namespace: &'static str,
    dimensions: Dimensions,
    config: MetricsConfig,
    instance: Arc<Instance>,
}

/// What is known of the machine, in percent.
pub(super) struct Machine<'a> {
    memory_bytes: Option<f64>,
    disk: Option<f64>,
    gpus: &'a [Gpu],
}

/// Values of metrics in percent; true: more often than by the minute.
pub(super) type Percents = BTreeMap<(Region, MetricId), (bool, Sketch)>;

/// All instances of endpoints that take calls, shadow variants' among them, and those of jobs.
pub(super) fn running(table: &RouteTable, fleet: &FleetView) -> Vec<Running> {
    let variants = table.iter().flat_map(|route| {
        let variants = route.all_variants();
        variants.map(move |variant| (route, variant))
    });
    let of_endpoints = variants.flat_map(|(route, variant)| {
        variant.instances.iter().map(move |instance| Running {
            region: route.region.clone(),
            namespace: ENDPOINTS,
            dimensions: vec![
                ("EndpointName", route.name.to_string()),
                ("VariantName", variant.name.to_string()),
            ],
            config: variant.metrics,
            instance: instance.clone(),
        })
    });
    let jobs = fleet.iter().filter(|(group, _)| match group.owner {
        Owner::TransformJob => true,
        Owner::Endpoint => false, // Some of them are not called yet.
    });
    let of_jobs = jobs.flat_map(|(group, instances)| {
        let ready = instances.iter().filter_map(InstanceState::ready);
        ready.map(move |instance| Running {
            region: group.region.clone(),
            namespace: TRANSFORM_JOBS,
            dimensions: vec![("Host", format!("{}/{}", group.name, instance.id))],
            config: MetricsConfig::default(),
            instance: instance.clone(),
        })
    });
    of_endpoints.chain(of_jobs).collect()
}

impl Instances {
    /// What is to be told now of those that are `running`.
    pub(super) fn look(&mut self, running: &[Running], machine: &Machine<'_>) -> Percents {
        let ids: HashSet<&str> = running.iter().map(|it| it.instance.id.as_str()).collect();
        self.0.retain(|id, _| ids.contains(id.as_str()));
        let mut percents = Percents::new();
        for running in running {
            self.tell(running, machine, &mut percents);
        }
        percents
    }

    fn tell(&mut self, running: &Running, machine: &Machine<'_>, percents: &mut Percents) {
        let (now, each) = (Instant::now(), running.config.publish_each);
        let told = self.0.get(&running.instance.id);
        // A beat is never early, but may be late, and is not to drift into the one after.
        if told.is_some_and(|told| now - told.at + EACH / 2 < each) {
            return;
        }
        let usage = running.instance.worker.usage();
        let cpu = told.and_then(|told| cpu(usage?, told.cpu?, now - told.at));
        let memory = |usage: Usage| Some(percent(usage.memory_bytes, machine.memory_bytes?));
        let of_endpoint = running.namespace == ENDPOINTS;
        let values = [
            ("CPUUtilization", cpu),
            ("MemoryUtilization", usage.and_then(memory)),
            // SageMaker does not tell it of batch transform jobs.
            ("DiskUtilization", machine.disk.filter(|_| of_endpoint)),
            ("GPUUtilization", sum(machine.gpus.iter().map(|gpu| gpu.utilization))),
            ("GPUMemoryUtilization", sum(machine.gpus.iter().map(|gpu| gpu.memory))),
        ];
        let mut add = |name, value, more: Dimensions| running.add(percents, name, value, more);
        let known = values.into_iter().filter_map(|(name, value)| Some((name, value?)));
        for (name, value) in known {
            add(name, value, Vec::new());
            if running.config.is_enhanced {
                add(name, value, vec![running.instance_id()]);
            }
        }
        if running.config.is_enhanced {
            for (number, gpu) in machine.gpus.iter().enumerate() {
                let gpu_only =
                    || vec![running.instance_id(), ("AcceleratorId", number.to_string())];
                let values =
                    [("GPUUtilization", gpu.utilization), ("GPUMemoryUtilization", gpu.memory)];
                for (name, value) in values {
                    value.into_iter().for_each(|value| add(name, value, gpu_only()));
                }
            }
        }
        let told = Told { at: now, cpu: usage.map(|usage| usage.cpu) };
        self.0.insert(running.instance.id.clone(), told);
    }
}

impl Running {
    fn instance_id(&self) -> (&'static str, String) {
        ("InstanceId", self.instance.id.clone())
    }

    fn add(&self, percents: &mut Percents, name: &str, value: f64, more: Dimensions) {
        let dimensions = self.dimensions.iter().cloned().chain(more);
        let dimensions = dimensions.map(|(name, value)| (name.into(), value.into()));
        let metric = MetricId::new(self.namespace, name, dimensions);
        let is_often = self.config.publish_each < Duration::from_mins(1);
        let (often, sketch) = percents.entry((self.region.clone(), metric)).or_default();
        *often |= is_often;
        sketch.add(value, 1.0);
    }
}

impl<'a> Machine<'a> {
    pub(super) fn read(registry: &Registry, gpus: &'a [Gpu]) -> Self {
        let level = |name| {
            let readings = registry.readings(name);
            readings.into_iter().find_map(|(_, reading)| match reading {
                Reading::Gauge(level) if level > 0 => Some(level_of(level)),
                Reading::Gauge(_) | Reading::Counter(_) | Reading::Times(_) => None,
            })
        };
        let disk = level("sagebrush_disk_used_bytes").zip(level("sagebrush_disk_size_bytes"));
        Self {
            memory_bytes: level("sagebrush_memory_limit_bytes"),
            disk: disk.map(|(used, size)| used / size * 100.0),
            gpus,
        }
    }
}

/// In percent of one core.
fn cpu(usage: Usage, before: Duration, passed: Duration) -> Option<f64> {
    let computed = usage.cpu.saturating_sub(before);
    (!passed.is_zero()).then(|| computed.as_secs_f64() / passed.as_secs_f64() * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
fn percent(bytes: u64, of: f64) -> f64 {
    bytes as f64 / of * 100.0
}

/// Of those that tell; `None` if none does.
fn sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|sum, value| sum + value)
}
