//! What the tests share: a runtime, folders as archives unpack to, calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, Payload, Reply, Resources, Runtime as _, Worker, WorkerError,
};
use sagebrush_onnx::{OnnxRuntime, Settings};
use tempfile::TempDir;
use tokio::time::Instant;

/// A folder as an archive unpacks to. It goes when the last lease does.
pub(crate) struct Folder(TempDir);

impl ArtifactLease for Folder {
    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn bytes(&self) -> u64 {
        let files = fs::read_dir(self.0.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

impl Folder {
    /// A folder with these files: a path and its content.
    pub(crate) fn with(files: &[(&str, &[u8])]) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Arc::new(Self(dir))
    }

    /// A folder with one of the models as `model.onnx`.
    pub(crate) fn of(model: &str) -> Arc<Self> {
        Self::with(&[("model.onnx", &model_bytes(model))])
    }
}

pub(crate) fn model_bytes(name: &str) -> Vec<u8> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    fs::read(models.join(format!("{name}.onnx"))).unwrap()
}

/// The library that the tests run on.
///
/// # Panics
/// When none is named: a test that needs it must not pass without.
pub(crate) fn library() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
    let named = std::env::var("SAGEBRUSH_ONNXRUNTIME");
    named.expect("SAGEBRUSH_ONNXRUNTIME names libonnxruntime.so; run `cargo xtask test`").into()
}

pub(crate) fn runtime() -> OnnxRuntime {
    OnnxRuntime::new(library(), Settings { compute_threads: 2, intra_op_threads: 1 })
}

pub(crate) fn spec(model: Option<Arc<Folder>>) -> LaunchSpec {
    LaunchSpec {
        name: "AllTraffic/i-1".to_owned(),
        image: "onnx".to_owned(),
        model: model.map(|folder| folder as Arc<dyn ArtifactLease>),
        environment: BTreeMap::new(),
        code: None,
        hostname: "primary".to_owned(),
        network_isolation: false,
        resources: Resources { cpus: 1, memory_bytes: 1 << 30, concurrency: None },
        startup_timeout: Duration::from_secs(60),
        log: Arc::new(MemoryLog::default()),
        log_stream: LogStream {
            region: "us-east-1".into(),
            group: "/aws/sagemaker/Endpoints/e".into(),
            stream: "AllTraffic/i-1".into(),
        },
    }
}

pub(crate) async fn launch(folder: Arc<Folder>) -> Result<Arc<dyn Worker>, LaunchError> {
    runtime().launch(&spec(Some(folder))).await
}

pub(crate) fn call(content_type: &str, body: impl Into<Bytes>) -> Call {
    Call {
        payload: Payload { content_type: Some(content_type.to_owned()), body: body.into() },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "1".into(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

pub(crate) async fn invoke(worker: &dyn Worker, call: Call) -> Result<Reply, WorkerError> {
    worker.invoke(vec![call]).await.remove(0)
}

/// The reply's content type and text.
pub(crate) fn text(reply: &Reply) -> (&str, String) {
    let body = String::from_utf8_lossy(&reply.payload.body).into_owned();
    (reply.payload.content_type.as_deref().unwrap_or_default(), body)
}
