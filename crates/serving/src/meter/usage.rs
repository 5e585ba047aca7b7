//! What the instances of variants take of the machine.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::metrics::{Labels, Registry};
use sagebrush_core::route::RouteTable;

use super::labels;

/// The CPU time of each instance at the last look, by its id.
#[derive(Default)]
pub(super) struct Usages(Mutex<HashMap<String, Duration>>);

impl Usages {
    /// Counts what instances have computed since the last look, and sets what memory they have.
    /// Those that cannot tell are left out.
    pub(super) fn look(&self, registry: &Registry, table: &RouteTable) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut now, mut memory) = (HashMap::new(), BTreeMap::<Labels, u64>::new());
        for route in table.iter() {
            for variant in &route.variants {
                let labels = || labels(&route.region, &route.name, &variant.id());
                for instance in &variant.instances {
                    let Some(usage) = instance.worker.usage() else { continue };
                    let before = last.get(&instance.id).copied().unwrap_or_default();
                    let new = usage.cpu.saturating_sub(before).as_nanos();
                    let cpu = registry.seconds(
                        "sagebrush_instance_cpu_seconds_total",
                        "What the instances of a variant have computed, of all cores together.",
                        labels(),
                    );
                    cpu.add(u64::try_from(new).unwrap_or(u64::MAX));
                    now.insert(instance.id.clone(), usage.cpu.max(before));
                    *memory.entry(labels()).or_default() += usage.memory_bytes;
                }
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
