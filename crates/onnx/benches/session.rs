//! What a call costs beyond the model: a forest on one row of CSV.
//!
//! `SAGEBRUSH_ONNXRUNTIME=.../libonnxruntime.so cargo bench -p sagebrush-onnx`

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::worker::{Call, LaunchSpec, Payload, Resources, Runtime as _};
use sagebrush_onnx::model::{Model, Options};
use sagebrush_onnx::predict::{Served, predict};
use sagebrush_onnx::tensor::{Data, Tensor};
use sagebrush_onnx::{OnnxRuntime, Settings, library};
use tokio::time::Instant;

struct Folder(tempfile::TempDir);

impl ArtifactLease for Folder {
    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

fn forest() -> Arc<Folder> {
    let dir = tempfile::tempdir().expect("a folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/iris_forest.onnx");
    fs::copy(model, dir.path().join("model.onnx")).expect("the model is copied");
    Arc::new(Folder(dir))
}

fn library_path() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "benches are told by the environment")]
    let named = std::env::var("SAGEBRUSH_ONNXRUNTIME");
    named.expect("SAGEBRUSH_ONNXRUNTIME names libonnxruntime.so").into()
}

fn row() -> Call {
    let body = Bytes::from_static(b"5.1,3.5,1.4,0.2\n");
    Call {
        payload: Payload { content_type: Some("text/csv".to_owned()), body },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "1".into(),
        deadline: Instant::now() + Duration::from_secs(3600),
    }
}

fn spec(folder: Arc<Folder>) -> LaunchSpec {
    let stream = LogStream { region: "r".into(), group: "g".into(), stream: "s".into() };
    LaunchSpec {
        name: "v/i".to_owned(),
        image: "onnx".to_owned(),
        model: Some(folder),
        environment: BTreeMap::new(),
        code: None,
        hostname: "primary".to_owned(),
        network_isolation: false,
        resources: Resources { cpus: 1, memory_bytes: 1 << 30 },
        startup_timeout: Duration::from_secs(60),
        log: Arc::new(MemoryLog::default()),
        log_stream: stream,
    }
}

fn session(criterion: &mut Criterion) {
    let folder = forest();
    let environment = library::open(&library_path()).expect("the library opens");
    let options = Options { intra_op_threads: 1 };
    let model = Arc::new(Model::load(&environment, &folder.dir(), options).expect("it loads"));
    let values = Data::F32(vec![5.1, 3.5, 1.4, 0.2]);
    let input = [Tensor { name: "float_input".to_owned(), shape: vec![1, 4], data: values }];
    let served = Served::new(Arc::clone(&model), folder.clone()).expect("it is served");
    let call = row();

    criterion.bench_function("run", |b| b.iter(|| model.run(black_box(&input))));
    criterion.bench_function("predict", |b| b.iter(|| predict(&served, black_box(&call))));

    let tokio =
        tokio::runtime::Builder::new_multi_thread().enable_time().build().expect("a runtime");
    let runtime = OnnxRuntime::new(library_path(), Settings::default());
    let worker = tokio.block_on(runtime.launch(&spec(folder))).expect("it launches");
    criterion.bench_function("worker", |b| {
        b.iter(|| tokio.block_on(worker.invoke(vec![black_box(call.clone())])));
    });
}

criterion_group!(benches, session);
criterion_main!(benches);
