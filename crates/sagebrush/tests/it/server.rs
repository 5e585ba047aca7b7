//! A server of a test's own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Two cores that build at the same time start slowly.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: String,
    folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts it after `adjust` has had a look at the command.
    pub(crate) fn start_with(adjust: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = command(folder.path(), &["serve"]);
        adjust(&mut command);
        let child = command.stderr(log).spawn().unwrap();
        let mut server = Self { child, address: String::new(), folder };
        server.address = server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) -> String {
        let endpoint = self.folder.path().join("data/endpoint");
        for _ in 0..START_TIMEOUT.as_millis() / LOOK_EVERY.as_millis() {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended:\n{}", self.log());
            let url = fs::read_to_string(&endpoint).unwrap_or_default();
            if let Some(address) = url.trim().strip_prefix("http://")
                && ask(address, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                    .starts_with("HTTP/1.1 200")
            {
                return address.to_owned();
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("it was not ready in time:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The binary with settings of its own and none of this environment's.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagebrush"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .env("SAGEBRUSH_LISTEN", "127.0.0.1:0")
        .env("SAGEBRUSH_DATA_DIR", folder.join("data"))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Sends bytes and reads until the other side closes.
pub(crate) fn ask(address: &str, request: &str) -> String {
    let Ok(mut socket) = TcpStream::connect(address) else { return String::new() };
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    let _read = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
