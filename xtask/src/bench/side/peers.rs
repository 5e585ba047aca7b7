//! Other servers. Each has as many workers as there are cores, and sends nothing to anybody.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::child::start;
use super::{Running, Side};
use crate::bench::Bench;
use crate::bench::workload::Kind;
use crate::workspace::root;

/// uvicorn with a small app.
pub(super) fn fastapi(bench: &Bench, kind: Kind) -> Result<Running> {
    let [port] = free_ports()?;
    let mut command = python(bench, Side::FastApi, kind)?;
    command.args(["-m", "uvicorn", "fastapi_app:app", "--no-access-log"]).args([
        "--port",
        &port.to_string(),
        "--workers",
        &bench.cores.to_string(),
    ]);
    start(bench, Side::FastApi, kind, command, (address(port), "/invocations"))
}

/// AWS's multi-model-server, as SageMaker's own Python containers run it. It needs Java.
pub(super) fn multi_model_server(bench: &Bench, kind: Kind) -> Result<Running> {
    let [port, management] = free_ports()?;
    let settings = format!(
        "inference_address=http://127.0.0.1:{port}\n\
         management_address=http://127.0.0.1:{management}\n\
         default_workers_per_model={}\n\
         max_request_size=10485760\n\
         max_response_size=10485760\n",
        bench.cores
    );
    // It keeps the id of its process in the temporary folder, and its own logs where it starts.
    let temporary = folder(bench, Side::MultiModelServer)?;
    let config = temporary.join("config.properties");
    fs::write(&config, settings)?;
    let name = kind.name();
    let mut command = python(bench, Side::MultiModelServer, kind)?;
    command
        .args(["-c", "from mms.model_server import start; start()", "--foreground"])
        .arg("--mms-config")
        .arg(config)
        .arg("--log-config")
        .arg(scripts()?.join("mms-log4j2.xml"))
        .arg("--model-store")
        .arg(scripts()?.join("mms"))
        .args(["--models", &format!("{name}={name}")])
        .current_dir(&temporary)
        .env("TMPDIR", &temporary);
    let path = format!("/predictions/{name}");
    start(bench, Side::MultiModelServer, kind, command, (address(port), &path))
}

pub(super) fn litserve(bench: &Bench, kind: Kind) -> Result<Running> {
    let [port] = free_ports()?;
    let mut command = python(bench, Side::LitServe, kind)?;
    command
        .arg(scripts()?.join("litserve_app.py"))
        .args([&port.to_string(), &bench.cores.to_string()])
        .current_dir(folder(bench, Side::LitServe)?);
    start(bench, Side::LitServe, kind, command, (address(port), "/predict"))
}

pub(super) fn mlserver(bench: &Bench, kind: Kind) -> Result<Running> {
    let [http, grpc, metrics] = free_ports()?;
    let folder = folder(bench, Side::MlServer)?;
    let settings = serde_json::json!({
        "host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics,
        "parallel_workers": bench.cores, "debug": false, "use_structured_logging": false,
        "environments_dir": folder.join("environments"), "metrics_endpoint": null,
    });
    let model = serde_json::json!({ "name": "bench", "implementation": "mlserver_model.Bench" });
    fs::write(folder.join("settings.json"), settings.to_string())?;
    fs::write(folder.join("model-settings.json"), model.to_string())?;
    let mut command = python(bench, Side::MlServer, kind)?;
    command.args(["-m", "mlserver.cli.main", "start"]).arg(&folder).current_dir(&folder);
    start(bench, Side::MlServer, kind, command, (address(http), "/v2/models/bench/infer"))
}

pub(super) fn bentoml(bench: &Bench, kind: Kind) -> Result<Running> {
    let [port] = free_ports()?;
    let mut command = python(bench, Side::BentoMl, kind)?;
    command
        .args(["-m", "bentoml", "serve", "bentoml_app:Bench", "--host", "127.0.0.1"])
        .args(["--port", &port.to_string(), "--working-dir"])
        .arg(scripts()?)
        .env("BENTOML_HOME", folder(bench, Side::BentoMl)?);
    start(bench, Side::BentoMl, kind, command, (address(port), "/invocations"))
}

fn python(bench: &Bench, side: Side, kind: Kind) -> Result<Command> {
    let python = bench.peer_pythons.get(&side).context("its packages are not installed")?;
    let mut command = Command::new(python);
    command
        .env("PYTHONPATH", scripts()?)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BENCH_INPUTS", &bench.out)
        .env("BENCH_WORKLOAD", kind.name())
        .env("BENCH_WORKERS", bench.cores.to_string())
        .env("DO_NOT_TRACK", "1")
        .env("BENTOML_DO_NOT_TRACK", "True");
    Ok(command)
}

/// A side's own folder, empty.
fn folder(bench: &Bench, side: Side) -> Result<PathBuf> {
    let folder = bench.out.join(side.name());
    if folder.try_exists()? {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn scripts() -> Result<PathBuf> {
    Ok(root()?.join(Path::new("xtask/src/bench/peers")))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// multi-model-server takes no port above 32767.
const PORTS: std::ops::Range<u16> = 21_000..32_000;

/// Ports that nobody listens on, each another one.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let probe = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok().map(|probe| (probe, port));
    let (_probes, ports): (Vec<TcpListener>, Vec<u16>) = PORTS.filter_map(probe).take(N).unzip();
    ports.try_into().ok().context("as many ports as were asked for")
}
