//! A server that runs while a chore needs it, and is stopped whatever happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::now;

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// The server drains for at most 30 s; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(35);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running server. Dropping it stops it.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// `http://127.0.0.1:<port>`.
    pub(crate) url: String,
}

impl Server {
    /// Starts `binary` on `port` (0: a free one) and waits until it is ready. Python images run on
    /// `python`.
    pub(crate) fn start(
        binary: &Path,
        data_dir: &Path,
        library: &Path,
        python: Option<&Path>,
        port: u16,
    ) -> Result<Self> {
        fs::create_dir_all(data_dir)?;
        let (log, endpoint) = (data_dir.join("serve.log"), data_dir.join("endpoint"));
        if endpoint.try_exists()? {
            fs::remove_file(&endpoint)?; // Of a server that ran before.
        }
        let mut command = Command::new(binary);
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(data_dir)
            .arg("--onnxruntime")
            .arg(library)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        if let Some(python) = python {
            command.env("SAGEBRUSH_PYTHON", python);
        }
        let child = command.spawn().with_context(|| format!("starting {}", binary.display()))?;
        let mut server = Self { child, log, url: String::new() };
        server.wait_until_ready(&endpoint)?;
        Ok(server)
    }

    #[cfg(feature = "bench")]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The address without the scheme, as `--listen` takes it.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    fn wait_until_ready(&mut self, endpoint: &Path) -> Result<()> {
        let deadline = now() + START_TIMEOUT;
        while now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(&self.log)?;
                bail!("the server ended with {status}:\n{log}");
            }
            if let Ok(url) = fs::read_to_string(endpoint)
                && is_ready(url.trim())
            {
                url.trim().clone_into(&mut self.url);
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("the server was not ready within {START_TIMEOUT:?}; see {}", self.log.display());
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        let deadline = now() + STOP_TIMEOUT;
        while asked && now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // It may have ended just now: then there is nothing to kill.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Asks `GET /readyz` over a plain socket: a client library would be most of this program.
fn is_ready(url: &str) -> bool {
    use std::io::{Read as _, Write as _};
    let address = url.trim_start_matches("http://");
    let ask = || -> std::io::Result<String> {
        let mut socket = std::net::TcpStream::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(socket, "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}
