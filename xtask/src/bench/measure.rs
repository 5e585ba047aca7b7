//! The workloads, each measured through the server and on its rivals' side, and the table of both.

mod bare;
mod cold_start;
mod cpu;
mod load;
mod peer;
mod report;
mod workload;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::Args;
use crate::interrupt::Interrupt;
use crate::process::step;
use crate::server::Server;
use crate::workspace::{cargo, root, target};
use crate::{scenarios, venv};
use load::Target;
use peer::Peer;
use report::Row;
use workload::{Kind, Workload};

/// Calls before the measured ones.
const WARM_UP: u64 = 200;

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

/// What all measurements need.
struct Bench {
    bounds: Bounds,
    interrupt: Interrupt,
    /// Where inputs, logs and data go.
    out: PathBuf,
    library: PathBuf,
    /// Has numpy and the peers; the interpreter of our Python images too.
    python: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let library = scenarios::onnxruntime()?;
    let bench = Bench {
        bounds: Bounds {
            calls: args.calls,
            time: Duration::from_secs(args.seconds),
            connections: args.connections,
        },
        interrupt,
        out: target()?.join("bench"),
        library,
        python: venv::ready("venv-peers", "xtask/src/bench/requirements-peers.txt")?,
    };
    let only = args.only.as_deref().unwrap_or_default();
    let mut workloads = step("make the inputs", || workload::all(&bench.interrupt, &bench.out))?;
    workloads.retain(|workload| workload.name.contains(only));
    let binary = step("build the release binary", || build(&bench.interrupt))?;
    let (mut rows, cold_start) = bench.ours(&binary, workloads)?;
    bench.bare(&mut rows)?;
    bench.peers(&mut rows)?;
    report::print(&rows);
    report::print_cold_start(&cold_start);
    Ok(())
}

impl Bench {
    /// All workloads through our server, and how long it takes to bring up an endpoint.
    fn ours(&self, binary: &Path, workloads: Vec<Workload>) -> Result<(Vec<Row>, Vec<Duration>)> {
        let data_dir = self.out.join("data");
        if data_dir.try_exists()? {
            fs::remove_dir_all(&data_dir)?;
        }
        let server = step("start the server", || {
            Server::start(binary, &data_dir, &self.library, Some(&self.python), 0)
        })?;
        let (mut rows, mut deployed) = (Vec::new(), BTreeSet::new());
        for workload in workloads {
            if deployed.insert(workload.endpoint()) {
                self.deploy(binary, &server, &workload)?;
            }
            let target = Target {
                address: server.address().to_owned(),
                path: format!("/endpoints/{}/invocations", workload.endpoint()),
                is_signed: true,
                pid: server.pid(),
            };
            let ours = self.measure("the server", &target, &workload)?;
            rows.push(Row { workload, ours, others: Vec::new() });
        }
        let has_python = rows.iter().any(|row| row.workload.kind == Kind::Python);
        let cold_start = if has_python { cold_start::measure(&server)? } else { Vec::new() };
        Ok((rows, cold_start))
    }

    /// The ONNX workloads without a server, which have the machine for themselves.
    fn bare(&self, rows: &mut [Row]) -> Result<()> {
        for row in rows.iter_mut().filter(|row| row.workload.kind == Kind::Onnx) {
            let measured = step(&format!("{} in process", row.workload.name), || {
                bare::measure(&self.library, &row.workload, self.bounds, &self.interrupt)
            })?;
            row.others.push(("in process", measured));
        }
        Ok(())
    }

    /// The Python workloads through other servers, one after the other.
    fn peers(&self, rows: &mut [Row]) -> Result<()> {
        if rows.iter().all(|row| row.workload.kind != Kind::Python) {
            return Ok(());
        }
        for start in [peer::fastapi, peer::multi_model_server] {
            let peer: Peer = match start(&self.python, &self.out) {
                Ok(peer) => peer,
                Err(reason) => {
                    println!("A peer is not measured: {reason:#}");
                    continue;
                }
            };
            for row in rows.iter_mut().filter(|row| row.workload.kind == Kind::Python) {
                let measured = self.measure(peer.name, &peer.target(), &row.workload)?;
                row.others.push((peer.name, measured));
            }
        }
        Ok(())
    }

    fn measure(&self, side: &str, target: &Target, workload: &Workload) -> Result<Measured> {
        step(&format!("{} through {side}", workload.name), || {
            load::measure(target, workload, self.bounds, &self.interrupt)
        })
    }

    fn deploy(&self, binary: &Path, server: &Server, workload: &Workload) -> Result<()> {
        let mut deploy = Command::new(binary);
        deploy.arg("deploy").arg(&workload.model).args(["--name", &workload.endpoint()]);
        deploy.args(["--image", workload.kind.image()]);
        self.interrupt.run(deploy.env("SAGEBRUSH_LISTEN", server.address()))
    }
}

fn build(interrupt: &Interrupt) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--release", "--package", "sagebrush"]);
    interrupt.run(build.current_dir(root()?))?;
    Ok(target()?.join("release/sagebrush"))
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> Result<hdrhistogram::Histogram<u64>> {
    Ok(hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 60_000_000)
}
