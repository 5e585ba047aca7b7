//! The workloads, each measured through the server and bare, and the table of both.

mod bare;
mod load;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Args;
use crate::interrupt::Interrupt;
use crate::process::step;
use crate::server::Server;
use crate::workspace::{cargo, root, target};
use crate::{scenarios, venv};
use report::Row;

/// Calls before the measured ones.
const WARM_UP: u64 = 200;

/// What is called with what.
struct Workload {
    name: &'static str,
    /// The folder with the model.
    model: PathBuf,
    content_type: &'static str,
    body: Vec<u8>,
}

/// The bounds of one measurement.
#[derive(Clone, Copy)]
struct Bounds {
    calls: u64,
    time: Duration,
    connections: usize,
}

/// What was seen of one workload on one side.
struct Measured {
    calls: u64,
    took: Duration,
    latencies: hdrhistogram::Histogram<u64>,
    /// CPU time of the side that computes, without the load generator.
    cpu: Duration,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let bounds = Bounds {
        calls: args.calls,
        time: Duration::from_secs(args.seconds),
        connections: args.connections,
    };
    let library = scenarios::onnxruntime()?;
    let out = target()?.join("bench");
    let workloads = step("make the inputs", || workloads(&interrupt, &out))?;
    let binary = step("build the release binary", || build(&interrupt))?;
    let data_dir = out.join("data");
    if data_dir.try_exists()? {
        fs::remove_dir_all(&data_dir)?;
    }
    let server = step("start the server", || Server::start(&binary, &data_dir, &library, 0))?;
    let mut rows = Vec::new();
    for workload in &workloads {
        deploy(&interrupt, &binary, &server, workload)?;
        let served = step(&format!("{} through the server", workload.name), || {
            load::measure(&server, workload, bounds, &interrupt)
        })?;
        rows.push(Row { workload: workload.name, measured: served });
    }
    drop(server); // The bare runs have the machine for themselves.
    let mut bare_rows = Vec::new();
    for workload in &workloads {
        let measured = step(&format!("{} in process", workload.name), || {
            bare::measure(&library, workload, bounds, &interrupt)
        })?;
        bare_rows.push(Row { workload: workload.name, measured });
    }
    report::print(&rows, &bare_rows);
    Ok(())
}

fn workloads(interrupt: &Interrupt, out: &Path) -> Result<Vec<Workload>> {
    let python = venv::ready("venv", "scenarios/requirements.txt")?;
    let script = root()?.join("xtask/src/bench/make_inputs.py");
    interrupt.run(Command::new(python).arg(script).arg(out))?;
    let read = |name: &str| fs::read(out.join(name)).with_context(|| format!("reading {name}"));
    let mut workloads = vec![Workload {
        name: "forest of 200 trees, a CSV row",
        model: out.join("forest"),
        content_type: "text/csv",
        body: read("row.csv")?,
    }];
    let vision = root()?.join("examples/vision");
    if vision.join("model.onnx").try_exists()? {
        workloads.push(Workload {
            name: "examples/vision, a 1280x720 JPEG",
            model: vision,
            content_type: "image/jpeg",
            body: read("page.jpg")?,
        });
    } else {
        println!("examples/vision has no model.onnx: it is not measured");
    }
    Ok(workloads)
}

fn build(interrupt: &Interrupt) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--package", "sagebrush"]);
    interrupt.run(build.current_dir(root()?))?;
    Ok(target()?.join("release/sagebrush"))
}

/// The endpoint's name is the model's folder's.
fn deploy(
    interrupt: &Interrupt,
    binary: &Path,
    server: &Server,
    workload: &Workload,
) -> Result<()> {
    let mut deploy = Command::new(binary);
    deploy.arg("deploy").arg(&workload.model).args(["--name", &workload.endpoint()]);
    interrupt.run(deploy.env("SAGEBRUSH_LISTEN", server.address()))
}

impl Workload {
    fn endpoint(&self) -> String {
        let folder = self.model.file_name().unwrap_or_default();
        format!("bench-{}", folder.to_string_lossy())
    }
}

/// User and system time that a process has had so far.
fn cpu_of(pid: u32) -> Result<Duration> {
    /// `USER_HZ` is 100 on every machine that Linux runs on today.
    const MILLIS_PER_TICK: u64 = 10;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name, in brackets, and may hold blanks.
    let (_, rest) = stat.rsplit_once(')').context("/proc/<pid>/stat has another form")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> Result<u64> {
        Ok(fields.get(index).context("/proc/<pid>/stat is short")?.parse()?)
    };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * MILLIS_PER_TICK))
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> Result<hdrhistogram::Histogram<u64>> {
    Ok(hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 60_000_000)
}
