//! Containers with many models.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::{
    LaunchError, LoadError, ModelHost, ModelSpec, Runtime as _, WorkerError,
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::Bench;
use super::fake::Image;
use crate::contract::testing::{Files, answer, call, said, until};

impl Bench {
    async fn host(&self) -> Arc<dyn ModelHost> {
        self.runtime.host(&self.spec).await.unwrap()
    }

    /// The models whose files are there for a container.
    fn folders(&self) -> Vec<String> {
        let hosts = fs::read_dir(&self.runtime.settings.models).into_iter().flatten().flatten();
        let models = hosts.flat_map(|host| fs::read_dir(host.path()).into_iter().flatten());
        models.flatten().map(|model| model.file_name().into_string().unwrap()).collect()
    }
}

fn model(name: &str, weights: &str) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        target: format!("{name}.tar.gz"),
        files: Files::with(&[("weights", weights)]),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(10)
}

#[tokio::test]
async fn a_container_loads_what_it_finds_in_its_mount() {
    let mut bench = Bench::new(Image::HostsModels);
    let given = [("SAGEMAKER_MULTI_MODEL", "no"), ("A", "1")];
    let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
    bench.spec.environment.extend(given);
    let host = bench.host().await;
    let created = &bench.engine.created()[0];
    assert_eq!(created["Env"], json!(["A=1", "SAGEMAKER_MULTI_MODEL=true"]));
    let [mount] = &created["HostConfig"]["Mounts"].as_array().unwrap()[..] else {
        panic!("{created}")
    };
    assert_eq!((&mount["Target"], &mount["ReadOnly"]), (&json!("/opt/ml/models"), &json!(true)));
    assert_eq!(host.image(), Some(format!("team/app@sha256:{}", "ab".repeat(32))));

    let first = host.load(&model("aaa", "first")).await.unwrap();
    let second = host.load(&model("bbb", "second")).await.unwrap();
    assert_eq!(
        (said(&*first, "").await, said(&*second, "").await),
        ("first".into(), "second".into())
    );
    assert_eq!((first.concurrency(), first.memory()), (64, 5));
    first.stop(soon()).await;
    assert_eq!((bench.engine.models(), bench.folders()), (vec!["bbb".into()], vec!["bbb".into()]));
    let gone = answer(&*first, call("")).await.unwrap_err();
    assert!(matches!(gone, WorkerError::Gone { .. }), "{gone:?}");

    drop(second); // Nobody stopped it.
    until("it is unloaded", || bench.engine.models().is_empty()).await;
    until("its files are gone", || bench.folders().is_empty()).await;
    host.stop(soon()).await;
    assert_eq!(bench.engine.ids(), Vec::<String>::new());
    drop((host, first));
    assert_eq!(fs::read_dir(&bench.runtime.settings.models).unwrap().count(), 0);
}

#[tokio::test]
async fn a_model_that_is_not_loaded_leaves_nothing() {
    let bench = Bench::new(Image::HostsModels);
    let host = bench.host().await;
    let no_room = host.load(&model("aaa", "huge")).await.err().unwrap();
    assert!(matches!(no_room, LoadError::NoRoom), "{no_room:?}");
    let bad = host.load(&model("bbb", "bad")).await.err().unwrap();
    let LoadError::Launch(LaunchError::Permanent { reason }) = bad else { panic!("{bad:?}") };
    assert_eq!(reason, "The container did not load it: the model answered 400: bad weights.");
    assert_eq!(bench.folders(), Vec::<String>::new());
}

/// The container goes on with a load that nobody waits for any more.
#[tokio::test]
async fn a_load_that_is_given_up_is_taken_back() {
    let bench = Bench::new(Image::HostsModels);
    let host = bench.host().await;
    let slow = model("aaa", "slow");
    let load = host.load(&slow);
    let given_up = async { until("it is loading", || !bench.engine.models().is_empty()).await };
    tokio::select! {
        _ = load => panic!("it was loaded"),
        () = given_up => {}
    }
    let again = host.load(&model("aaa", "quick")).await.unwrap();
    assert_eq!(said(&*again, "").await, "quick");
    let kept =
        timeout(Duration::from_millis(50), until("it goes", || bench.engine.models().is_empty()));
    assert!(kept.await.is_err(), "the first load took the second back");
    assert_eq!(bench.folders(), ["aaa"]);
}

#[tokio::test]
async fn an_image_without_the_label_is_refused() {
    let bench = Bench::new(Image::Serves);
    let refused = bench.runtime.host(&bench.spec).await.err().unwrap();
    let want = "The image team/app:1 cannot serve Mode MultiModel: it has no label \
                com.amazonaws.sagemaker.capabilities.multi-models=true.";
    assert!(matches!(&refused, LaunchError::Permanent { reason } if reason == want), "{refused}");
    assert_eq!(bench.engine.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn files_that_an_earlier_run_left_go() {
    let bench = Bench::new(Image::HostsModels);
    let left = bench.runtime.settings.models.join("old/model");
    fs::create_dir_all(&left).unwrap();
    let _host = bench.host().await;
    assert!(!left.try_exists().unwrap());
}
