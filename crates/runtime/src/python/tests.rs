//! The Python runtime over real processes; the interpreter is `python3` of the `PATH`.

mod batches;
mod rude;
mod serverless;
mod streams;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, LoadError, ModelSpec, Payload, Reply, Resources, Runtime as _,
    Worker, WorkerError,
};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::{PythonRecipe, PythonRuntime, PythonShared};
use crate::environment::Environments;
use crate::sandbox::{Mode, Sandbox};

const PATIENCE: Duration = Duration::from_secs(30);

/// A model's folder that the test wrote.
struct Folder(TempDir);

impl ArtifactLease for Folder {
    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

fn model(code: &str) -> Arc<dyn ArtifactLease> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("code")).unwrap();
    std::fs::write(dir.path().join("code/inference.py"), code).unwrap();
    Arc::new(Folder(dir))
}

/// A data directory with a runtime on it.
struct Bench {
    runtime: PythonRuntime,
    log: Arc<MemoryLog>,
    data: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::in_mode(Mode::Auto)
    }

    fn in_mode(mode: Mode) -> Self {
        let data = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(data.path().join("run")).unwrap().with_mode(mode);
        let sandbox = Arc::new(sandbox);
        let environments = Arc::new(Environments::new(data.path().join("environments")));
        let package = data.path().join("python");
        let shared = PythonShared::new(sandbox, environments, &package).unwrap();
        let recipe = PythonRecipe {
            framework: "python".to_owned(),
            interpreter: "python3".to_owned(),
            packages: Vec::new(),
            environment: BTreeMap::new(),
        };
        let log = Arc::new(MemoryLog::default());
        Self { runtime: PythonRuntime::new(shared, recipe), log, data }
    }

    fn spec(&self, code: Option<&str>, environment: &[(&str, &str)]) -> LaunchSpec {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        LaunchSpec {
            name: "v/i-0".to_owned(),
            image: "python".to_owned(),
            model: code.map(model),
            code: None,
            environment: environment.iter().map(pair).collect(),
            hostname: "primary".to_owned(),
            network_isolation: false,
            resources: Resources { cpus: 2, memory_bytes: 2 << 30, concurrency: None },
            startup_timeout: PATIENCE,
            log: self.log.clone(),
            log_stream: LogStream { region: "r".into(), group: "g".into(), stream: "s".into() },
        }
    }

    async fn launch(&self, code: &str, environment: &[(&str, &str)]) -> Arc<dyn Worker> {
        self.runtime.launch(&self.spec(Some(code), environment)).await.unwrap()
    }

    async fn refusal(&self, code: &str) -> LaunchError {
        match self.runtime.launch(&self.spec(Some(code), &[])).await {
            Ok(_) => panic!("it started"),
            Err(error) => error,
        }
    }

    fn homes(&self) -> usize {
        std::fs::read_dir(self.data.path().join("run")).unwrap().count()
    }

    fn logged(&self, part: &str) -> bool {
        self.log.lines().iter().any(|(_, line)| line.contains(part))
    }
}

fn call(body: impl Into<Bytes>) -> Call {
    Call {
        payload: Payload { content_type: Some("application/x".to_owned()), body: body.into() },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "request-1".into(),
        deadline: Instant::now() + PATIENCE,
    }
}

async fn ask(worker: &Arc<dyn Worker>, body: impl Into<Bytes>) -> Result<Reply, WorkerError> {
    ask_with(worker, call(body)).await
}

async fn ask_with(worker: &Arc<dyn Worker>, call: Call) -> Result<Reply, WorkerError> {
    timeout(PATIENCE, worker.invoke(vec![call])).await.unwrap().remove(0)
}

async fn stop(worker: &Arc<dyn Worker>) {
    timeout(PATIENCE, worker.stop(Instant::now() + Duration::from_secs(5))).await.unwrap();
}

/// Waits until `holds`, which another process brings about.
async fn until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn told(reply: Result<Reply, WorkerError>) -> (u16, String) {
    match reply {
        Err(WorkerError::Model { status, message, .. }) => (status, message),
        Err(WorkerError::Died { message, .. }) => (500, message),
        other => panic!("not the model's error: {other:?}"),
    }
}

/// Does as the body says.
const MODEL: &str = "
import os, sys, time
def model_fn(model_dir): return os.getpid()
def input_fn(data, content_type): return bytes(data)
def predict_fn(data, model):
    if data == b'pid': return str(model)
    if data.startswith(b'exit'): os._exit(int(data[4:]))
    if data == b'sys.exit': sys.exit(3)
    if data == b'kill': os.kill(os.getpid(), 9)
    if data == b'hang': time.sleep(1000)
    if data == b'raise': raise KeyError('no such thing')
    if data == b'print': print('printed'); print('to stderr', file=sys.stderr)
    if data.startswith(b'sleep'): time.sleep(float(data[5:]))
    return data
def output_fn(prediction, accept): return prediction
";

#[tokio::test]
async fn answers_calls_of_any_size() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, &[]).await;
    for n in [0, 1, 200, 1000, 40_000, 100_000, 6 << 20] {
        let body: Vec<u8> = (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let reply = ask(&worker, body.clone()).await.unwrap();
        assert!(reply.payload.body == body, "{n} bytes");
    }
    stop(&worker).await;
    assert_eq!(bench.homes(), 0, "nothing stays behind");
}

#[tokio::test]
async fn each_of_many_callers_gets_its_own_answer() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "3")]).await;
    assert_eq!(worker.concurrency(), 3);
    let calls = (0..200).map(|i| {
        let worker = worker.clone();
        async move { (i, ask(&worker, format!("call {i}")).await.unwrap().payload.body) }
    });
    for (i, body) in futures::future::join_all(calls).await {
        assert_eq!(body, format!("call {i}"));
    }
    stop(&worker).await;
}

#[tokio::test]
async fn an_exception_is_the_calls_own_and_is_logged_with_its_request() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
    let pid = ask(&worker, "pid").await.unwrap().payload.body;
    let (status, message) = told(ask(&worker, "raise").await);
    assert_eq!(status, 500);
    assert!(message.contains("no such thing") && message.contains("predict_fn"), "{message}");
    assert_eq!(ask(&worker, "pid").await.unwrap().payload.body, pid, "it goes on");
    ask(&worker, "print").await.unwrap();
    until(|| bench.logged("[request-1] printed") && bench.logged("[request-1] to stderr")).await;
    until(|| bench.logged("[request-1] KeyError: 'no such thing'")).await;
    stop(&worker).await;
}

#[tokio::test]
async fn a_worker_that_ends_is_replaced_and_says_why() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
    for (body, why) in [
        ("exit0", "ended with exit code 0 while it answered"),
        ("exit137", "ended with exit code 137"),
        ("sys.exit", "ended with exit code 3"),
        ("kill", "was killed by signal 9"),
    ] {
        let (status, message) = told(ask(&worker, body).await);
        assert_eq!(status, 500);
        assert!(message.contains(why), "{body}: {message}");
        assert_eq!(ask(&worker, "back").await.unwrap().payload.body, "back", "after {body}");
    }
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_others_are_not_touched() {
    let bench = Bench::new();
    let limit = [
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "2"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "0.5"),
    ];
    let worker = bench.launch(MODEL, &limit).await;
    let (hung, other) = tokio::join!(ask(&worker, "hang"), ask(&worker, "other"));
    assert!(matches!(hung, Err(WorkerError::TimedOut)), "{hung:?}");
    assert_eq!(other.unwrap().payload.body, "other");
    for _ in 0..4 {
        assert_eq!(ask(&worker, "after").await.unwrap().payload.body, "after");
    }
    stop(&worker).await;
}

#[tokio::test]
async fn a_caller_who_goes_away_leaves_the_worker_usable() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
    let pid = ask(&worker, "pid").await.unwrap().payload.body;
    let impatient = timeout(Duration::from_millis(50), worker.invoke(vec![call("sleep0.3")])).await;
    assert!(impatient.is_err());
    assert_eq!(ask(&worker, "pid").await.unwrap().payload.body, pid, "it was not replaced");
    let mut late = call("sleep0.3");
    late.deadline = Instant::now() + Duration::from_millis(50);
    let late = ask_with(&worker, late).await;
    assert!(matches!(late, Err(WorkerError::TimedOut)), "{late:?}");
    assert_eq!(ask(&worker, "pid").await.unwrap().payload.body, pid, "it was in time");
    stop(&worker).await;
}

#[tokio::test]
async fn code_that_cannot_be_imported_or_loaded_says_why() {
    let bench = Bench::new();
    let import = bench.refusal("import no_such_module").await.to_string();
    let why = "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'";
    assert!(import.contains(why), "{import}");
    let load = bench.refusal("def model_fn(model_dir): raise ValueError('bad weights')").await;
    assert!(matches!(load, LaunchError::Permanent { .. }), "{load:?}");
    assert!(load.to_string().contains("cannot be loaded: ValueError: bad weights"), "{load}");
    let dies = "import os\ndef model_fn(d):\n  print('last words', flush=True)\n  os._exit(137)";
    let dies = bench.refusal(dies).await;
    assert!(matches!(dies, LaunchError::Transient { .. }), "{dies:?}");
    assert!(dies.to_string().contains("ended with exit code 137"), "{dies}");
    let spec = bench.spec(Some(MODEL), &[("SAGEMAKER_MODEL_SERVER_WORKERS", "5000")]);
    let many = bench.runtime.launch(&spec).await.err().unwrap();
    assert!(many.to_string().contains("WORKERS=5000; at most 512 are allowed"), "{many}");
    let at_import = bench.refusal("import os\nos._exit(7)").await.to_string();
    assert!(at_import.contains("exit code 7 while it imported"), "{at_import}");
    until(|| bench.homes() == 0).await;
}

#[tokio::test]
async fn a_template_that_ends_ends_the_worker() {
    let bench = Bench::new();
    let code = format!("{MODEL}\nTEMPLATE = os.getpid()\n{KILLER}");
    let worker = bench.launch(&code, &[]).await;
    let _either_way = ask(&worker, "template").await;
    let ended = timeout(PATIENCE, worker.ended()).await.unwrap();
    assert!(ended.contains("killed by signal 9"), "{ended}");
    assert!(told_gone(ask(&worker, "x").await), "another instance may answer");
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

const KILLER: &str = "
def input_fn(data, content_type):
    if data == b'template': os.kill(TEMPLATE, 9)
    return data
";

#[tokio::test]
async fn a_host_loads_models_apart_and_unloads_them() {
    let bench = Bench::new();
    let host = bench.runtime.host(&bench.spec(None, &[])).await.unwrap();
    let load = async |name: &str, code: &str| {
        let spec = ModelSpec {
            name: name.to_owned(),
            target: format!("{name}.tar.gz"),
            files: model(code),
            deadline: Instant::now() + PATIENCE,
        };
        host.load(&spec).await
    };
    let one = load("one", &MODEL.replace("return data\n", "return b'one'\n")).await.unwrap();
    let two = load("two", &MODEL.replace("return data\n", "return b'two'\n")).await.unwrap();
    assert_eq!(ask(&one, "x").await.unwrap().payload.body, "one");
    assert_eq!(ask(&two, "x").await.unwrap().payload.body, "two");
    assert!(one.memory() > 0 && two.memory() > 0);
    let Err(LoadError::Launch(broken)) = load("broken", "def model_fn(d): raise OSError(5)").await
    else {
        panic!("it was loaded");
    };
    assert!(broken.to_string().contains("OSError"), "{broken}");
    stop(&one).await;
    assert!(told_gone(ask(&one, "x").await), "it was unloaded");
    assert_eq!(ask(&two, "x").await.unwrap().payload.body, "two");
    host.stop(Instant::now() + Duration::from_secs(5)).await;
    drop((one, two, host));
    assert_eq!(bench.homes(), 0);
}

fn told_gone(reply: Result<Reply, WorkerError>) -> bool {
    matches!(reply, Err(WorkerError::Gone { .. }))
}
