//! The binary starts, says where it is, answers over a plain socket, and ends.

use std::process::Output;

use crate::server::{Server, ask, command};

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
