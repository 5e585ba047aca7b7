//! What an operator wants to know of the process and of what it runs on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use sagebrush_aws::BodyMemory;
use sagebrush_control::instance::LocalFleet;
use sagebrush_core::fleet::{Fleet as _, InstanceState, Owner};
use sagebrush_core::metrics::{Counter, Gauge, Labels, Registry};
use sagebrush_telemetry::logs::LogStore;
use tokio::time::Instant;

use super::ground::Ground;
use crate::server::limits;

/// Sets the gauges of the process, the machine and the fleet, whenever it is asked to.
pub(super) struct Machine {
    registry: Registry,
    data: PathBuf,
    started: Instant,
    memory: BodyMemory,
    logs: Arc<LogStore>,
    fleet: Arc<LocalFleet>,
    uptime: Arc<Gauge>,
    body_bytes: Arc<Gauge>,
    resident: Arc<Gauge>,
    virtual_bytes: Arc<Gauge>,
    threads: Arc<Gauge>,
    files: Arc<Gauge>,
    disk: Arc<Gauge>,
    disk_used: Arc<Gauge>,
    cpu: Arc<Counter>,
    dropped_lines: Arc<Counter>,
}

impl Machine {
    pub(super) fn new(ground: &Ground, memory: BodyMemory, fleet: Arc<LocalFleet>) -> Self {
        let registry = ground.metrics.clone();
        let gauge = |name, help| registry.gauge(name, help, Vec::new());
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        registry.gauge("sagebrush_build_info", "Always 1; what runs.", version).set(1);
        let started = ground.clock.now().0 / 1000;
        gauge("process_start_time_seconds", "When the process was started.").set(started);
        gauge(
            "sagebrush_memory_limit_bytes",
            "The memory that the server and its models may have.",
        )
        .set(signed(limits::memory()));
        let dropped_lines = "Log lines that were dropped for want of room.";
        Self {
            uptime: gauge("sagebrush_uptime_seconds", "How long the server has run."),
            body_bytes: gauge("sagebrush_body_memory_bytes", "What bodies of calls hold."),
            resident: gauge("process_resident_memory_bytes", "Memory that is resident."),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Memory that is mapped."),
            threads: gauge("process_threads", "Threads of the server."),
            files: gauge("process_open_fds", "Open file descriptors."),
            disk: gauge("sagebrush_disk_size_bytes", "The size of the data directory's disk."),
            disk_used: gauge("sagebrush_disk_used_bytes", "What is used of that disk."),
            cpu: registry.seconds("process_cpu_seconds_total", "CPU time.", Vec::new()),
            dropped_lines: registry.counter(
                "sagebrush_dropped_log_lines_total",
                dropped_lines,
                Vec::new(),
            ),
            data: ground.data.clone(),
            started: Instant::now(),
            logs: ground.logs.clone(),
            registry,
            memory,
            fleet,
        }
    }

    pub(super) fn look(&self) {
        self.uptime.set(signed(self.started.elapsed().as_secs()));
        self.body_bytes.set(i64::try_from(self.memory.held()).unwrap_or(i64::MAX));
        raise(&self.dropped_lines, self.logs.dropped());
        if let Some(process) = Process::look() {
            self.resident.set(signed(process.resident));
            self.virtual_bytes.set(signed(process.mapped));
            self.threads.set(signed(process.threads));
            raise(&self.cpu, u64::try_from(process.cpu.as_nanos()).unwrap_or(u64::MAX));
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.files.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.data) {
            let size = disk.f_blocks.saturating_mul(disk.f_frsize);
            self.disk.set(signed(size));
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            self.disk_used.set(signed(size.saturating_sub(free)));
        }
        self.look_at_fleet();
    }

    fn look_at_fleet(&self) {
        let mut counts = BTreeMap::<(&str, &str), i64>::new();
        for (group, instances) in self.fleet.watch().borrow().iter() {
            let owner = match group.owner {
                Owner::Endpoint => "endpoint",
                Owner::TransformJob => "transform_job",
            };
            for instance in instances {
                let state = match instance {
                    InstanceState::Starting => "starting",
                    InstanceState::Ready(_) => "ready",
                    InstanceState::Failed { .. } => "failed",
                    InstanceState::Draining => "draining",
                };
                *counts.entry((owner, state)).or_default() += 1;
            }
        }
        let level = |((owner, state), count): ((&str, &str), i64)| -> (Labels, i64) {
            (vec![("owner", owner.to_owned()), ("state", state.to_owned())], count)
        };
        let help = "Instances of endpoints and jobs, by their state.";
        self.registry.set_gauges("sagebrush_fleet_instances", help, counts.into_iter().map(level));
    }
}

/// Our own process, as `/proc/self/stat` shows it.
struct Process {
    cpu: Duration,
    threads: u64,
    mapped: u64,
    resident: u64,
}

impl Process {
    fn look() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of a program may hold spaces; the fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let ticks = number(11)? + number(12)?;
        let each = 1_000_000_000 / clock_ticks_per_second().max(1);
        Some(Self {
            cpu: Duration::from_nanos(ticks.saturating_mul(each)),
            threads: number(17)?,
            mapped: number(20)?,
            resident: number(21)?.saturating_mul(page_size() as u64),
        })
    }
}

/// Brings a counter up to what was counted elsewhere.
fn raise(counter: &Counter, to: u64) {
    counter.add(to.saturating_sub(counter.get()));
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn our_own_process_is_there() {
        let process = Process::look().unwrap();
        assert!(process.threads > 0 && process.resident > 1 << 20);
        assert!(process.mapped > process.resident);
    }
}
