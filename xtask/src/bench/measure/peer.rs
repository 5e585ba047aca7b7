//! Other servers with the same Python workload. Each has as many workers as there are cores.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::load::Target;
use crate::process::{now, step};
use crate::workspace::root;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running peer. Dropping it ends it with all that it started.
pub(super) struct Peer {
    pub(super) name: &'static str,
    child: Child,
    address: String,
    path: &'static str,
}

/// uvicorn with a small app.
pub(super) fn fastapi(python: &Path, out: &Path) -> Result<Peer> {
    let [port] = free_ports()?;
    let mut command = Command::new(python);
    command
        .args(["-m", "uvicorn", "fastapi_app:app", "--no-access-log", "--app-dir"])
        .arg(scripts()?)
        .args(["--port", &port.to_string(), "--workers", &workers()?.to_string()]);
    Peer::start("FastAPI", command, out, port, "/invocations")
}

/// AWS's multi-model-server, as SageMaker's own Python containers run it. It needs Java.
pub(super) fn multi_model_server(python: &Path, out: &Path) -> Result<Peer> {
    let [port, management] = free_ports()?;
    let config = out.join("multi-model-server.properties");
    let workers = workers()?;
    let settings = format!(
        "inference_address=http://127.0.0.1:{port}\n\
         management_address=http://127.0.0.1:{management}\n\
         default_workers_per_model={workers}\n\
         max_request_size=10485760\n\
         max_response_size=10485760\n"
    );
    fs::write(&config, settings)?;
    // It keeps the id of its process in the temporary folder, and its own logs where it starts.
    let temporary = out.join("multi-model-server");
    if temporary.try_exists()? {
        fs::remove_dir_all(&temporary)?;
    }
    fs::create_dir_all(&temporary)?;
    let mut command = Command::new(python);
    command
        .args(["-c", "from mms.model_server import start; start()", "--foreground"])
        .arg("--mms-config")
        .arg(config)
        .arg("--model-store")
        .arg(scripts()?.join("mms"))
        .args(["--models", "echo=echo"])
        .current_dir(&temporary)
        .env("TMPDIR", &temporary);
    Peer::start("multi-model-server", command, out, port, "/predictions/echo")
}

impl Peer {
    fn start(
        name: &'static str,
        mut command: Command,
        out: &Path,
        port: u16,
        path: &'static str,
    ) -> Result<Self> {
        let log = out.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        let mut peer = Self { name, child, address: format!("127.0.0.1:{port}"), path };
        step(&format!("start {name}"), || peer.wait_until_it_answers())
            .with_context(|| format!("{name} did not start{}", last_line(&log)))?;
        Ok(peer)
    }

    pub(super) fn target(&self) -> Target {
        Target {
            address: self.address.clone(),
            path: self.path.to_owned(),
            is_signed: false,
            pid: self.child.id(),
        }
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let deadline = now() + START_TIMEOUT;
        while now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            if answers(&self.address, self.path).unwrap_or(false) {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("it did not answer within {START_TIMEOUT:?}");
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended just now: then there is nothing to signal.
        let _sent = group.map(|group| kill_process_group(group, signal));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let deadline = now() + STOP_TIMEOUT;
        while now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK_EVERY);
        }
        self.signal(Signal::KILL);
        let _reaped = self.child.wait();
    }
}

/// One call over a plain socket, without a client library.
fn answers(address: &str, path: &str) -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: 1\r\nConnection: close\r\n\r\nx"
    )?;
    let mut head = [0_u8; 12];
    socket.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}

/// multi-model-server takes no port above 32767.
const PORTS: std::ops::Range<u16> = 21_000..32_000;

/// Ports that nobody listens on, each another one.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let probe = |port: u16| TcpListener::bind(("127.0.0.1", port)).ok().map(|probe| (probe, port));
    let (_probes, ports): (Vec<TcpListener>, Vec<u16>) = PORTS.filter_map(probe).take(N).unzip();
    ports.try_into().ok().context("as many ports as were asked for")
}

fn workers() -> Result<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

fn scripts() -> Result<PathBuf> {
    Ok(root()?.join("xtask/src/bench/peers"))
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| format!(" (its last words: {line})")).unwrap_or_default()
}
