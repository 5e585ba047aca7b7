//! What the instances of variants take of the machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::{Labels, Registry};
use sagebrush_core::route::{RouteTable, VariantRoute};

use super::labels;

const CPU: &str = "sagebrush_instance_cpu_seconds_total";

/// The CPU time of each instance at the last look, by its id.
#[derive(Default)]
pub(super) struct Usages(Mutex<HashMap<String, Duration>>);

impl Usages {
    /// Counts what instances have computed since the last look, and sets what memory they have.
    /// Those that cannot tell are left out.
    pub(super) fn look(&self, registry: &Registry, table: &RouteTable) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut now, mut memory) = (HashMap::new(), BTreeMap::<Labels, u64>::new());
        let variants = table.iter().flat_map(|route| {
            let named = |variant: &VariantRoute| labels(&route.region, &route.name, &variant.id());
            route.variants.iter().map(move |variant| (named(variant), &variant.instances))
        });
        for (labels, instances) in variants {
            let told =
                |instance: &Arc<Instance>| Some((instance.id.clone(), instance.worker.usage()?));
            for (id, usage) in instances.iter().filter_map(told) {
                let before = last.get(&id).copied().unwrap_or_default();
                let new = usage.cpu.saturating_sub(before).as_nanos();
                let help = "What the instances of a variant have computed, on all cores together.";
                let cpu = registry.seconds(CPU, help, labels.clone());
                cpu.add(u64::try_from(new).unwrap_or(u64::MAX));
                now.insert(id, usage.cpu.max(before));
                *memory.entry(labels.clone()).or_default() += usage.memory_bytes;
            }
        }
        *last = now;
        let levels = memory.into_iter();
        registry.set_gauges(
            "sagebrush_instance_memory_bytes",
            "The memory that the instances of a variant have.",
            levels.map(|(labels, bytes)| (labels, i64::try_from(bytes).unwrap_or(i64::MAX))),
        );
    }
}
