//! The binary starts, says where it is, answers over a plain socket, and ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Two cores that build at the same time start slowly.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct Server {
    child: Child,
    address: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = command(folder.path(), &["serve"]).stderr(log).spawn().unwrap();
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

    fn log(&self) -> String {
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
fn command(folder: &Path, arguments: &[&str]) -> Command {
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
fn ask(address: &str, request: &str) -> String {
    let Ok(mut socket) = TcpStream::connect(address) else { return String::new() };
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    let _read = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(address: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    ask(address, &format!("{head}{headers}\r\n{body}"))
}

#[test]
fn it_starts_on_a_free_port_and_says_which() {
    let server = Server::start();
    assert!(!server.address.ends_with(":0"), "{}", server.address);
    let log = server.log();
    assert!(log.contains(&format!("listening on http://{}", server.address)), "{log}");
}

#[test]
fn calls_without_a_signature_are_refused() {
    let server = Server::start();
    let target = "x-amz-target: SageMaker.ListModels\r\n\
        content-type: application/x-amz-json-1.1\r\n";
    let answer = post(&server.address, target, "{}");
    let status = answer.lines().next().unwrap_or_default();
    assert!(status.contains(" 400 ") || status.contains(" 403 "), "{answer}");
    assert!(answer.contains("MissingAuthenticationToken"), "{answer}");
    assert!(answer.to_lowercase().contains("x-amzn-requestid: "), "{answer}");
}

#[test]
fn a_request_that_is_none_does_no_harm() {
    let server = Server::start();
    for garbage in ["\r\n\r\n", "GET\r\n\r\n", "\u{16}\u{3}\u{1}", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = ask(&server.address, garbage);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{garbage:?}: {answer}");
    }
    let ready = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(ask(&server.address, ready).starts_with("HTTP/1.1 200"));
}

#[test]
fn other_addresses_want_keys() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = command(folder.path(), &["serve"]);
    let Output { status, stderr, .. } =
        serve.env("SAGEBRUSH_LISTEN", "0.0.0.0:0").output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("access-key"), "{said}");
}
