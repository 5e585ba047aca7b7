//! Starts, those that fail among them.

use std::fs;
use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::artifact::ArtifactLease as _;
use sagebrush_core::task;
use sagebrush_core::worker::LaunchError;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::super::port::Ports;
use super::{Bench, python, soon};
use crate::contract::testing::{Files, said};

fn permanent(error: LaunchError) -> String {
    let LaunchError::Permanent { reason } = error else { panic!("{error:?}") };
    reason
}

fn transient(error: LaunchError) -> String {
    let LaunchError::Transient { reason } = error else { panic!("{error:?}") };
    reason
}

#[tokio::test]
async fn an_app_that_answers_elsewhere_and_takes_its_port_from_the_environment() {
    let bench = Bench::with(&[], |recipe| {
        recipe.ping = "/health?deep=1".to_owned();
        recipe.invocations = "/v1/predict".to_owned();
        recipe.environment.insert("PING".to_owned(), "/health?deep=1".to_owned());
        recipe.concurrency = Some(3);
    });
    let worker = bench.launch().await;
    assert_eq!(worker.concurrency(), 3);
    assert_eq!(said(&*worker, "echo 1").await, "1");
    worker.stop(soon()).await;
}

#[tokio::test]
async fn an_image_that_says_itself_what_to_run() {
    let mut bench = Bench::with(&[], |recipe| recipe.command = None);
    let script = bench.dir.path().join("server.py");
    bench.spec.image =
        format!("process://{}?arg={}&arg={{port}}", python().display(), script.display());
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "echo 1").await, "1");
    worker.stop(soon()).await;
}

#[tokio::test]
async fn a_program_that_came_with_its_model() {
    let mut bench = Bench::with(&[], |recipe| {
        recipe.command = Some(vec!["{model_dir}/serve".to_owned(), "{port}".to_owned()]);
    });
    let script = bench.dir.path().join("server.py");
    let start = format!("#!/bin/sh\nexec {} {} $1\n", python().display(), script.display());
    let model = Files::with(&[("serve", &start)]);
    let program = model.dir().join("serve");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    bench.spec.model = Some(model);
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "echo 1").await, "1");
    worker.stop(soon()).await;
}

#[tokio::test]
async fn a_program_that_ends_first_shows_its_last_lines() {
    let bench = Bench::new(&["crash"]);
    let want = "The process ended with exit code 7 before it answered its first ping. \
                Its last lines:\nTraceback: no module named torch";
    assert_eq!(transient(bench.failure().await), want);
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_program_that_never_answers_is_given_up() {
    let mut bench = Bench::new(&["mute"]);
    bench.spec.startup_timeout = Duration::from_millis(300);
    let reason = transient(bench.failure().await);
    assert!(
        reason.starts_with("The process did not answer GET /ping with 200 on port"),
        "{reason}"
    );
    assert!(reason.contains("within 0.3 s"), "{reason}");
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let check = async |path: PathBuf, why: &str| {
        let command = vec![path.to_str().unwrap().to_owned()];
        let bench = Bench::with(&[], |recipe| recipe.command = Some(command));
        let want = format!("The program {} cannot be started: {why}.", path.display());
        assert_eq!(permanent(bench.failure().await), want);
        assert_eq!(bench.homes(), 0);
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("serve");
    check(file.clone(), "there is no such file").await;
    fs::write(&file, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    check(file, "it is not executable").await;
    check(dir.path().to_owned(), "it is no file").await;
}

#[tokio::test]
async fn no_port_is_reached_without_a_network() {
    let mut bench = Bench::new(&["{port}"]);
    bench.spec.network_isolation = true;
    let reason = permanent(bench.failure().await);
    assert!(reason.contains("name {socket} in its command"), "{reason}");
    let isolated = Bench::with(&["{port}"], |recipe| recipe.isolated = true);
    assert_eq!(permanent(isolated.failure().await), reason);
}

#[tokio::test]
async fn a_taken_port_is_followed_by_another() {
    let stranger = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = stranger.local_addr().unwrap().port();
    let mut bench = Bench::new(&["{port}"]);
    bench.runtime.ports = Arc::new(Ports::beginning_with(&[taken]));
    let worker = bench.launch().await;
    assert_ne!(said(&*worker, "env SAGEMAKER_BIND_TO_PORT").await, taken.to_string());
    worker.stop(soon()).await;
}

#[tokio::test]
async fn a_strangers_answer_is_not_taken_for_ours() {
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let taken = stranger.local_addr().unwrap().port();
    task::spawn("stranger", async move {
        while let Ok((mut stream, _)) = stranger.accept().await {
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(reply).await.unwrap();
        }
    });
    let mut bench = Bench::with(&["{port}"], |recipe| {
        recipe.environment.insert("LINGER".to_owned(), "1".to_owned());
    });
    bench.runtime.ports = Arc::new(Ports::beginning_with(&[taken]));
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "echo ours").await, "ours");
    worker.stop(soon()).await;

    bench.runtime.ports = Arc::new(Ports::beginning_with(&[taken, taken, taken]));
    let want = "3 ports in a row were taken by other programs while it started.";
    assert_eq!(transient(bench.failure().await), want);
    assert_eq!(bench.homes(), 0);
}
