//! Many connections, slow ones, large bodies, and callers who go away.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::server::{Server, ask};

const READY: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);
/// A payload of a call; two of them are too much for the servers below.
const LARGE: usize = 6 << 20;

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(&server.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// One request on an open connection; the first bytes of its reply.
fn ready(socket: &mut TcpStream) -> String {
    socket.write_all(READY).unwrap();
    read(socket)
}

fn read(socket: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let n_read = socket.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..n_read]).into_owned()
}

/// The memory of the server, in bytes.
fn resident(server: &Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn idle_connections_take_little_and_harm_nobody() {
    let server = Server::start();
    let n_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let n_idle = usize::try_from(n_files / 2).unwrap().min(10_000);
    let before = resident(&server);
    let mut idle: Vec<TcpStream> = Vec::with_capacity(n_idle);
    while idle.len() < n_idle {
        idle.push(connect(&server));
        if idle.len().is_multiple_of(500) {
            // So that no more knock at once than the system lets wait.
            assert!(ready(&mut connect(&server)).starts_with("HTTP/1.1 200"));
        }
    }
    let mut busy = connect(&server);
    for _ in 0..200 {
        assert!(ready(&mut busy).starts_with("HTTP/1.1 200"));
    }
    // All have been accepted: the one that came last was answered.
    let each = resident(&server).saturating_sub(before) / n_idle;
    assert!(each < 6 << 10, "{each} bytes for each of {n_idle} idle connections");
    for socket in idle.iter_mut().step_by(97) {
        assert!(ready(socket).starts_with("HTTP/1.1 200"), "those that idled are served");
    }
}

/// A server that may open so few files that it has 64 connections.
fn narrow_server() -> Server {
    Server::start_with(|command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let folder = command.get_current_dir().unwrap().to_owned();
        *command = Command::new("/bin/sh");
        command.args(["-c", "ulimit -n 128; exec \"$0\" \"$@\""]).arg(program).args(arguments);
        command.env_clear().envs(environment).current_dir(folder).stdin(Stdio::null());
    })
}

#[test]
fn the_connection_that_rests_longest_makes_room() {
    let server = narrow_server();
    let mut resting: Vec<TcpStream> = (0..64).map(|_| connect(&server)).collect();
    let mut last = connect(&server);
    assert!(ready(&mut last).starts_with("HTTP/1.1 200"));
    assert_eq!(resting[0].read(&mut [0]).unwrap(), 0, "the oldest was closed");
    assert!(ready(&mut resting[63]).starts_with("HTTP/1.1 200"));
}

#[test]
fn where_there_is_no_room_a_connection_is_told_so() {
    let server = narrow_server();
    let begin = || {
        let mut socket = connect(&server);
        socket.write_all(&READY[..20]).unwrap();
        socket
    };
    let mut busy: Vec<TcpStream> = (0..64).map(|_| begin()).collect();
    // Those at work are known as such a little after they have begun.
    let ready = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut told = String::new();
    for _ in 0..20 {
        told = ask(&server.address, ready);
        if told.starts_with("HTTP/1.1 503") {
            break;
        }
        busy.push(begin());
    }
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 1"), "{told}");
    drop(busy);
    let is_served = || ask(&server.address, ready).starts_with("HTTP/1.1 200");
    assert!((0..50).any(|_| is_served()), "it recovers");
}

fn invoke_head(n_bytes: usize) -> String {
    format!(
        "POST /endpoints/none/invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: text/csv\r\ncontent-length: {n_bytes}\r\n\r\n"
    )
}

/// A call without a signature whose body is all sent; how it is answered.
fn invoke(server: &Server) -> String {
    let mut socket = connect(server);
    socket.write_all(invoke_head(LARGE).as_bytes()).unwrap();
    // Who is refused at once may not take it all.
    let _sent = socket.write_all(&vec![b'1'; LARGE]);
    let mut answer = Vec::new();
    let _read = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bodies_beyond_the_memory_for_them_are_refused_at_once() {
    let server = Server::start_with(|command| {
        command.env("SAGEBRUSH_MAX_BODY_MEMORY", (LARGE + LARGE / 2).to_string());
    });
    assert!(invoke(&server).contains("MissingAuthenticationToken"));
    let (mut halves, mut refused) = (Vec::new(), String::new());
    for _ in 0..50 {
        // Where the other call overtakes it, it is the half that is refused.
        let mut half = connect(&server);
        half.write_all(invoke_head(LARGE).as_bytes()).unwrap();
        let _sent = half.write_all(&vec![b'1'; LARGE / 2]);
        halves.push(half);
        refused = invoke(&server).to_lowercase();
        if refused.starts_with("http/1.1 503") {
            break;
        }
    }
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert!(refused.contains("x-amzn-errortype: serviceunavailable"), "{refused}");
    drop(halves); // Who goes away gives back what it holds.
    let is_let_in = || invoke(&server).contains("MissingAuthenticationToken");
    assert!((0..50).any(|_| is_let_in()), "it recovers");
}
