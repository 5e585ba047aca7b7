//! CPU time of a call on small rows, by format and size of the batch.
//!
//! `SAGEBRUSH_ONNXRUNTIME=.../libonnxruntime.so cargo bench -p sagebrush-onnx --bench rows`
//!
//! `SAGEBRUSH_BENCH_MODEL` names another folder with a `model.onnx` of four columns. It counts
//! CPU time instead of passing time, for neighbours disturb the latter more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::worker::{Call, LaunchSpec, Payload, Resources, Runtime as _, Worker};
use sagebrush_onnx::{OnnxRuntime, Settings};
use tokio::runtime;
use tokio::time::Instant;

const CALLS: u32 = 512;
const ROUNDS: usize = 100;

struct Folder(PathBuf);

impl ArtifactLease for Folder {
    fn dir(&self) -> PathBuf {
        self.0.clone()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[expect(clippy::disallowed_methods, reason = "benches are told by the environment")]
fn named(variable: &str) -> Option<PathBuf> {
    std::env::var(variable).ok().map(PathBuf::from)
}

fn spec(folder: PathBuf) -> LaunchSpec {
    let log_stream = LogStream { region: "r".into(), group: "g".into(), stream: "s".into() };
    LaunchSpec {
        name: "v/i".to_owned(),
        image: "onnx".to_owned(),
        model: Some(Arc::new(Folder(folder))),
        environment: BTreeMap::new(),
        code: None,
        hostname: "primary".to_owned(),
        network_isolation: false,
        resources: Resources { cpus: 1, memory_bytes: 1 << 30, concurrency: None },
        startup_timeout: Duration::from_secs(60),
        log: Arc::new(MemoryLog::default()),
        log_stream,
    }
}

fn call(content_type: &str, body: Bytes) -> Call {
    Call {
        payload: Payload { content_type: Some(content_type.to_owned()), body },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "1".into(),
        deadline: Instant::now() + Duration::from_secs(3600),
    }
}

fn npy() -> Bytes {
    let header =
        format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4), }");
    let values = [5.9f32, 3.2, 4.8, 1.8].map(f32::to_le_bytes).concat();
    Bytes::from([b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &values].concat())
}

/// The CPU time of all threads of this process, in microseconds.
fn cpu_time() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec.try_into().unwrap_or_default())
        .as_secs_f64()
        * 1e6
}

/// The CPU time of one call in the best round, which others disturbed least, in microseconds.
fn measure(tokio: &runtime::Runtime, worker: &dyn Worker, calls: &[Call]) -> f64 {
    let n = CALLS / u32::try_from(calls.len()).expect("a small batch");
    let round = || {
        let before = cpu_time();
        for _ in 0..n {
            let answers = tokio.block_on(worker.invoke(calls.to_vec()));
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        (cpu_time() - before) / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::print_stdout, reason = "it is what a bench is for")]
fn main() {
    let library = named("SAGEBRUSH_ONNXRUNTIME").expect("it names libonnxruntime.so");
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/iris_forest.onnx");
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(models, folder.path().join("model.onnx")).expect("the model is copied");
    let folder = named("SAGEBRUSH_BENCH_MODEL").unwrap_or_else(|| folder.path().to_owned());

    let tokio = runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let launch = Instant::now();
    let onnx = OnnxRuntime::new(library, Settings::default());
    let worker = tokio.block_on(onnx.launch(&spec(folder))).expect("it launches");
    println!(
        "launch {:.1} ms, {:.1} ms of CPU",
        launch.elapsed().as_secs_f64() * 1e3,
        cpu_time() / 1e3
    );

    let csv = || call("text/csv", Bytes::from_static(b"5.9,3.2,4.8,1.8"));
    let json =
        call("application/json", Bytes::from_static(b"{\"instances\": [[5.9,3.2,4.8,1.8]]}"));
    let oip = br#"{"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.9, 3.2, 4.8, 1.8]}]}"#;
    let rows = Bytes::from("5.9,3.2,4.8,1.8\n".repeat(64));
    let cases = [
        ("csv", vec![csv()]),
        ("json", vec![json]),
        ("npy", vec![call("application/x-npy", npy())]),
        ("open inference", vec![call("application/json", Bytes::from_static(oip))]),
        ("csv of 64 rows", vec![call("text/csv", rows)]),
        ("batch of 2", vec![csv(); 2]),
        ("batch of 8", vec![csv(); 8]),
        ("batch of 32", vec![csv(); 32]),
    ];
    for (name, calls) in cases {
        println!("{name:16} {:7.2} us of CPU a call", measure(&tokio, &*worker, &calls));
    }
}
