//! One program with many models.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::{
    LaunchError, LoadError, ModelHost, ModelSpec, Runtime as _, Worker, WorkerError,
};
use tokio::time::Instant;

use super::{Bench, soon};
use crate::contract::testing::{Files, answer, call};

fn multi_model() -> Bench {
    Bench::with(&["{port}"], |recipe| recipe.multi_model = true)
}

fn model(name: &str, weights: &str) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        target: format!("{name}.tar.gz"),
        files: Files::with(&[("weights", weights)]),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

async fn ask(worker: &dyn Worker, body: &str) -> Result<String, WorkerError> {
    let mut call = call(body);
    call.target_model = Some("t.tar.gz".to_owned());
    let body = answer(worker, call).await?.payload.body;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

async fn load(host: &Arc<dyn ModelHost>, spec: &ModelSpec) -> Result<Arc<dyn Worker>, LoadError> {
    host.load(spec).await
}

#[tokio::test]
async fn models_come_and_go() {
    let bench = multi_model();
    let host = bench.runtime.host(&bench.spec).await.unwrap();
    assert!(host.image().unwrap().starts_with("process:python3"));
    let (a, b) = (model("aaa", "first"), model("bbb", "second"));
    let (first, second) = tokio::join!(load(&host, &a), load(&host, &b));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(ask(&*first, "").await.unwrap(), "first t.tar.gz");
    assert_eq!(ask(&*second, "").await.unwrap(), "second t.tar.gz");
    assert_eq!(first.memory(), 5);
    let again = load(&host, &a).await.unwrap(); // The container says 409.
    assert_eq!(ask(&*again, "").await.unwrap(), "first t.tar.gz");

    first.stop(soon()).await;
    let gone = ask(&*first, "").await.unwrap_err();
    assert!(
        matches!(&gone, WorkerError::Gone { reason } if reason.contains("unknown model")),
        "{gone}"
    );
    assert_eq!(ask(&*second, "").await.unwrap(), "second t.tar.gz");
    host.stop(soon()).await;
    drop((host, first, second, again));
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn the_containers_answers_are_told_apart() {
    let bench = multi_model();
    let host = bench.runtime.host(&bench.spec).await.unwrap();
    let no_room = load(&host, &model("aaa", "huge")).await.err().unwrap();
    assert!(matches!(no_room, LoadError::NoRoom), "{no_room:?}");
    let bad = load(&host, &model("bbb", "bad")).await.err().unwrap();
    let LoadError::Launch(LaunchError::Permanent { reason }) = bad else { panic!("{bad:?}") };
    assert_eq!(reason, "The container did not load it: the model answered 400: bad weights.");

    let worker = load(&host, &model("ccc", "fine")).await.unwrap();
    let full = ask(&*worker, "overflow").await.unwrap_err();
    assert!(matches!(full, WorkerError::Model { status: 507, .. }), "{full:?}");
    let lost = ask(&*worker, "forget").await.unwrap_err();
    assert!(matches!(lost, WorkerError::Gone { .. }), "{lost:?}");
    let mut late = model("ddd", "slow");
    late.deadline = Instant::now() + Duration::from_millis(50);
    let late = load(&host, &late).await.err().unwrap();
    assert!(matches!(late, LoadError::Launch(LaunchError::Transient { .. })), "{late:?}");
    worker.stop(soon()).await;
    let homes = fs::read_dir(bench.dir.path().join("run")).unwrap().flatten();
    let left = |home: fs::DirEntry| {
        let names = ["aaa", "bbb", "ccc", "ddd"];
        names.into_iter().find(|name| fs::read_dir(home.path().join(name)).is_ok())
    };
    assert_eq!(homes.filter_map(left).next(), None);
    host.stop(soon()).await;
}

#[tokio::test]
async fn a_model_that_ends_its_container_is_named() {
    let bench = multi_model();
    let host = bench.runtime.host(&bench.spec).await.unwrap();
    let error = load(&host, &model("aaa", "deadly")).await.err().unwrap();
    let LoadError::Launch(LaunchError::Transient { reason }) = error else { panic!("{error:?}") };
    let want = "The container did not load it: The process ended with exit code 4 while it \
                answered.";
    assert_eq!(reason, want);
    assert_eq!(host.ended().await, "The process ended with exit code 4.");
}

#[tokio::test]
async fn a_program_is_asked_for_many_models_only_if_it_says_so() {
    let bench = Bench::new(&["{port}"]);
    let refused = bench.runtime.host(&bench.spec).await.err().unwrap();
    let want = "The image app cannot serve Mode MultiModel: it is not marked `multi-model`.";
    assert_eq!(refused.to_string(), want);
}
