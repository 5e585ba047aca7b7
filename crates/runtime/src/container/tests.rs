//! The runtime against a fake engine.

mod fake;
mod hosts;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::logs::MemoryLog;
use sagebrush_core::worker::{LaunchError, LaunchSpec, Runtime as _, Usage, Worker, WorkerError};
use serde_json::json;
use tokio::time::{Instant, timeout};

use self::fake::{FakeEngine, Image};
use super::{ContainerRuntime, ContainerSettings};
use crate::contract::testing::{Files, answer, call, lines, said, spec, until};

struct Bench {
    engine: FakeEngine,
    runtime: ContainerRuntime,
    spec: LaunchSpec,
    log: Arc<MemoryLog>,
}

impl Bench {
    fn new(image: Image) -> Self {
        let engine = FakeEngine::start(&[("team/app:1", image)]);
        let settings = ContainerSettings {
            pull: true,
            models: engine.dir().join("models"),
            root: engine.dir().to_owned(),
            ..ContainerSettings::new("data".to_owned())
        };
        let log = Arc::new(MemoryLog::default());
        let runtime = ContainerRuntime::new(engine.socket(), settings);
        Self { engine, runtime, spec: spec("team/app:1", &log), log }
    }

    async fn launch(&self) -> Arc<dyn Worker> {
        self.runtime.launch(&self.spec).await.unwrap()
    }

    async fn failure(&self) -> LaunchError {
        match self.runtime.launch(&self.spec).await {
            Ok(_worker) => panic!("it was launched"),
            Err(error) => error,
        }
    }

    async fn permanent(&self) -> String {
        match self.failure().await {
            LaunchError::Permanent { reason } => reason,
            error @ LaunchError::Transient { .. } => panic!("{error:?}"),
        }
    }

    async fn transient(&self) -> String {
        match self.failure().await {
            LaunchError::Transient { reason } => reason,
            error @ LaunchError::Permanent { .. } => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_container_is_created_as_sagemaker_would() {
    let mut bench = Bench::new(Image::Serves);
    let model = Files::with(&[("weights", "1")]);
    let dir = sagebrush_core::artifact::ArtifactLease::dir(&*model);
    bench.spec.model = Some(model);
    bench.spec.environment.insert("NAME".to_owned(), "a=b".to_owned());
    let worker = bench.launch().await;
    let want = json!([{
        "Image": "team/app:1",
        "Cmd": ["serve"],
        "Env": ["NAME=a=b"],
        "Hostname": "primary",
        "ExposedPorts": {"8080/tcp": {}},
        "Labels": {
            "dev.sagebrush.owner": "data",
            "dev.sagebrush.run": bench.runtime.run,
            "dev.sagebrush.instance": "AllTraffic/i-0",
        },
        "HostConfig": {
            "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "Mounts": [{
                "Type": "bind", "Source": dir, "Target": "/opt/ml/model", "ReadOnly": true,
            }],
            "Memory": 4_294_967_296_u64,
            "NanoCpus": 2_000_000_000,
            "AutoRemove": false,
        },
    }]);
    assert_eq!(json!(bench.engine.created()), want);
    assert_eq!(worker.image(), Some(format!("team/app@sha256:{}", "ab".repeat(32))));
    assert_eq!(said(&*worker, "hello").await, "hello");
    worker.ping().await.unwrap();
    until("its output is in the log", || {
        let lines = lines(&bench.log);
        ["started", "a warning"].iter().all(|line| lines.iter().any(|found| found == line))
    })
    .await;
}

#[tokio::test]
async fn what_a_container_takes_is_read_of_its_cgroup() {
    let bench = Bench::new(Image::Serves);
    assert_eq!(bench.launch().await.usage(), None, "it is on another machine");
    let write = |path: &str, text: &str| {
        let path = bench.engine.dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/7/cgroup", "0::/docker/c2\n");
    write("sys/fs/cgroup/docker/c2/cpu.stat", "usage_usec 2000000\n");
    write("sys/fs/cgroup/docker/c2/memory.current", "4096\n");
    let worker = bench.launch().await;
    let wanted = Usage { cpu: Duration::from_secs(2), memory_bytes: 4096 };
    assert_eq!(worker.usage(), Some(wanted));
    fs::remove_dir_all(bench.engine.dir().join("sys")).unwrap();
    assert_eq!(worker.usage(), None, "it has ended");
}

#[tokio::test]
async fn a_stop_gives_the_grace_and_removes_the_container() {
    let bench = Bench::new(Image::Serves);
    let worker = bench.launch().await;
    worker.stop(Instant::now() + Duration::from_millis(1500)).await;
    assert_eq!(bench.engine.ids(), Vec::<String>::new());
    let asked = bench.engine.state(|state| state.asked.clone());
    let is_end = |asked: &&String| asked.contains("/stop") || asked.starts_with("DELETE");
    let end: Vec<_> = asked.iter().filter(is_end).collect();
    assert_eq!(end, ["POST /containers/c1/stop?t=30", "DELETE /containers/c1?force=1&v=1"]);
    assert!(timeout(Duration::from_millis(20), worker.ended()).await.is_err());
}

#[tokio::test]
async fn a_dropped_container_is_removed() {
    let bench = Bench::new(Image::Serves);
    drop(bench.launch().await);
    until("it is removed", || bench.engine.ids().is_empty()).await;

    let (free, held) = tokio::sync::watch::channel(false);
    bench.engine.state(|state| state.held = Some(held));
    tokio::select! {
        _ = bench.launch() => panic!("it was launched"),
        () = until("it is created", || !bench.engine.ids().is_empty()) => {}
    }
    free.send_replace(true);
    until("it is removed", || bench.engine.ids().is_empty()).await;

    let mute = Bench::new(Image::Mute);
    assert!(timeout(Duration::from_millis(300), mute.launch()).await.is_err());
    until("it is removed", || mute.engine.ids().is_empty()).await;
}

#[tokio::test]
async fn a_container_that_ends_is_named_as_the_cause() {
    let bench = Bench::new(Image::Serves);
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "1").await, "1");
    let error = answer(&*worker, call("crash")).await.unwrap_err();
    let WorkerError::Died { message, once_more: true } = error else { panic!("{error:?}") };
    assert_eq!(message, "The container ended with exit code 3 while it answered.");
    assert_eq!(worker.ended().await, "The container ended with exit code 3.");
}

#[tokio::test]
async fn want_of_memory_is_named() {
    let bench = Bench::new(Image::Serves);
    let worker = bench.launch().await;
    bench.engine.run_out_of_memory();
    let want =
        "The container was killed with exit code 137 for want of memory: it may take 4096 MiB.";
    assert_eq!(worker.ended().await, want);
    let error = answer(&*worker, call("1")).await.unwrap_err();
    assert!(matches!(error, WorkerError::Gone { .. }), "{error:?}");
}

#[tokio::test]
async fn starts_that_fail_say_why_and_leave_nothing() {
    let crash = Bench::new(Image::Crashes(7));
    let want = "The container ended with exit code 7 before it answered its first ping. \
                Its last lines:\na warning\nstarted\nno module named torch";
    assert_eq!(crash.transient().await, want);
    assert_eq!(crash.engine.ids(), Vec::<String>::new());

    let unstartable = Bench::new(Image::Unstartable);
    let want = "The image team/app:1 cannot be run: the container engine answered \
                400 Bad Request: exec: \"serve\": executable file not found in $PATH.";
    assert_eq!(unstartable.permanent().await, want);
    assert_eq!(unstartable.engine.ids(), Vec::<String>::new());

    let mut mute = Bench::new(Image::Mute);
    mute.spec.startup_timeout = Duration::from_secs(2); // Time to hear of its 404, on a busy machine.
    let reason = mute.transient().await;
    assert!(reason.contains("within 2 s (the model answered 404: )"), "{reason}");
    assert_eq!(mute.engine.ids(), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_is_not_there_is_pulled_if_that_is_allowed() {
    let mut bench = Bench::new(Image::Serves);
    bench.spec.image = "app:2".to_owned();
    let progress = vec![
        json!({"status": "Pulling from app", "id": "2"}),
        json!({"status": "Downloading", "progress": "[=>  ]", "id": "0abc"}),
        json!({"status": "Pull complete", "id": "0abc"}),
    ];
    bench.engine.state(|state| state.pulls.insert("fromImage=app&tag=2".to_owned(), progress));
    let worker = bench.launch().await;
    assert_eq!(said(&*worker, "1").await, "1");
    let pulled: Vec<_> =
        lines(&bench.log).into_iter().filter(|line| line.contains("Pull")).collect();
    let want = ["Pulling app:2: 2: Pulling from app", "Pulling app:2: 0abc: Pull complete"];
    assert_eq!(pulled, want);

    bench.runtime.settings.pull = false;
    bench.spec.image = "app:3".to_owned();
    let want = "The image app:3 is not on this machine, and the server's settings allow no \
                pull. Bring it there: docker pull app:3";
    assert_eq!(bench.permanent().await, want);
}

#[tokio::test]
async fn a_pull_that_fails_says_who_is_at_fault() {
    let mut bench = Bench::new(Image::Serves);
    bench.spec.image = "app:2".to_owned();
    let reason = bench.permanent().await;
    assert!(reason.ends_with("answered 404 Not Found: manifest unknown."), "{reason}");
    let says = |error: &str| {
        let lines = vec![json!({"status": "Pulling"}), json!({"error": error})];
        bench.engine.state(|state| state.pulls.insert("fromImage=app&tag=2".to_owned(), lines));
    };
    says("denied: no access");
    assert_eq!(bench.permanent().await, "The image app:2 cannot be pulled: denied: no access.");
    says("unexpected EOF");
    assert_eq!(bench.transient().await, "The image app:2 cannot be pulled: unexpected EOF.");
}

#[tokio::test]
async fn what_an_earlier_run_left_goes_before_the_first_start() {
    let bench = Bench::new(Image::Serves);
    bench.engine.leave("ours", &json!({"dev.sagebrush.owner": "data", "dev.sagebrush.run": "x"}));
    bench.engine.leave("another", &json!({"dev.sagebrush.owner": "other"}));
    bench.engine.leave("theirs", &json!({}));
    let first = bench.launch().await;
    let second = bench.launch().await;
    assert_eq!(bench.engine.ids(), ["another", "c1", "c2", "theirs"]);
    drop((first, second));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused() {
    let mut bench = Bench::new(Image::Serves);
    bench.spec.network_isolation = true;
    assert!(bench.permanent().await.contains("EnableNetworkIsolation"));
    bench.spec.network_isolation = false;
    bench.spec.image = "../../info".to_owned();
    assert_eq!(bench.permanent().await, "../../info is no name of an image.");

    let dir = tempfile::tempdir().unwrap();
    let settings = ContainerSettings::new("data".to_owned());
    bench.runtime = ContainerRuntime::new(fake::nowhere(dir.path()), settings);
    let reason = bench.transient().await;
    assert!(reason.contains("none.sock cannot be used: No such file"), "{reason}");
}
