//! Our server: endpoints made through its API, then started again from its own data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::child::ask;
use super::{Process, Running, Side};
use crate::bench::Bench;
use crate::bench::aws::Aws;
use crate::bench::load::Target;
use crate::bench::workload::Kind;
use crate::process::now;
use crate::server::Server;

/// A first answer must come within this.
const TIMEOUT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Endpoints that are made to see how long it takes.
const COLD_STARTS: usize = 5;

/// What was seen while an endpoint was made.
pub(crate) struct Deployed {
    /// From `CreateEndpoint` to the first right answer; the first may find caches cold.
    pub(crate) cold_starts: Vec<Duration>,
}

/// Makes the endpoint of `kind` in a data folder of its own, some times over.
pub(crate) fn deploy(bench: &Bench, kind: Kind) -> Result<Deployed> {
    let server = fresh(bench, &data_dir(bench, kind))?;
    let aws = Aws::new(bench, server.address());
    let name = endpoint(kind);
    let url = aws.upload_folder(&name, &kind.model(&bench.out)?)?;
    aws.create_config(&name, kind.image(), &url, None, &environment(bench, kind))?;
    let target = target(&server, kind);
    let mut cold_starts = Vec::new();
    for times in 1..=COLD_STARTS {
        let began = now();
        aws.create_endpoint(&name)?;
        wait(bench, kind, &target)?;
        cold_starts.push(began.elapsed());
        if times < COLD_STARTS {
            aws.delete_endpoint(&name)?;
        }
    }
    Ok(Deployed { cold_starts })
}

/// Starts the server on what `deploy` made.
pub(super) fn start(bench: &Bench, kind: Kind) -> Result<Running> {
    let data_dir = data_dir(bench, kind);
    let began = now();
    let server = serve(bench, &data_dir)?;
    let target = target(&server, kind);
    wait(bench, kind, &target)?;
    let cold_start = began.elapsed();
    Ok(Running { side: Side::Ours, target, cold_start, _process: Process::Ours(server) })
}

/// A server without any endpoint.
pub(crate) fn fresh(bench: &Bench, data_dir: &Path) -> Result<Server> {
    if data_dir.try_exists()? {
        fs::remove_dir_all(data_dir)?;
    }
    serve(bench, data_dir)
}

fn serve(bench: &Bench, data_dir: &Path) -> Result<Server> {
    Server::start(&bench.binary, data_dir, &bench.library, Some(&bench.python), 0)
}

fn data_dir(bench: &Bench, kind: Kind) -> PathBuf {
    bench.out.join(format!("data-{}", kind.name()))
}

fn endpoint(kind: Kind) -> String {
    format!("bench-{}", kind.name())
}

/// As many workers as every other side has.
fn environment(bench: &Bench, kind: Kind) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Row | Kind::Image => Vec::new(),
        Kind::Echo => vec![("SAGEMAKER_MODEL_SERVER_WORKERS", bench.cores.to_string())],
    }
}

fn target(server: &Server, kind: Kind) -> Target {
    Target {
        address: server.address().to_owned(),
        path: format!("/endpoints/{}/invocations", endpoint(kind)),
        is_signed: true,
        pid: server.pid(),
    }
}

/// Until the first right answer.
fn wait(bench: &Bench, kind: Kind, target: &Target) -> Result<()> {
    let questions = Side::Ours.questions(kind, bench.first_item(kind)?)?;
    let (began, mut said) = (now(), None);
    while began.elapsed() < TIMEOUT {
        bench.check_interrupt()?;
        said = bench.runtime.block_on(ask(target, &questions))?;
        if said.is_none() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    bail!("no right answer within {TIMEOUT:?}; the last was {said:?}");
}

/// A folder as `model.tar.gz`.
pub(crate) fn pack(folder: &Path) -> Result<Vec<u8>> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--directory"]).arg(folder).arg(".");
    let packed = tar.output().context("running tar")?;
    if !packed.status.success() {
        bail!("tar ended with {}", packed.status);
    }
    Ok(packed.stdout)
}
