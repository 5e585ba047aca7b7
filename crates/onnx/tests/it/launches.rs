//! Which archives are served, and what is said of the others.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::worker::{LaunchError, LoadError, ModelSpec, Runtime as _, WorkerError};
use sagebrush_onnx::INTRA_OP_THREADS;
use tokio::time::Instant;

use crate::support::{Folder, call, invoke, launch, model_bytes, runtime, spec};

async fn check_refused(folder: Arc<Folder>, expected: &str) {
    match launch(folder).await {
        Err(LaunchError::Permanent { reason }) => assert_eq!(reason, expected),
        Err(other) => panic!("{other:?} instead of {expected}"),
        Ok(_) => panic!("launched instead of {expected}"),
    }
}

#[tokio::test]
async fn says_why_a_model_is_not_served() {
    check_refused(
        Folder::with(&[("model.pkl", b""), ("code/inference.py", b"")]),
        "The archive has no model.onnx at its top (nor a single other .onnx file, nor \
         <name>/<version>/model.onnx); it holds: code/, model.pkl. Put the model there and create \
         the endpoint again.",
    )
    .await;
    check_refused(
        Folder::of("external_outside"),
        "The model model.onnx reads weights from \"../../x\", which lies outside its folder. Pack \
         the weights beside the model.",
    )
    .await;
    check_refused(
        Folder::of("external_missing"),
        "The model model.onnx reads weights from \"weights.bin\", which is not in the archive. Pack \
         the weights beside the model.",
    )
    .await;
    check_refused(
        Folder::with(&[("model.onnx", b"not a model")]),
        "The model model.onnx cannot be served: it is not an ONNX file: it holds an unknown type \
         of field.",
    )
    .await;
}

#[tokio::test]
async fn says_what_is_too_new() {
    let cases = [
        ("opset_too_new", "The model model.onnx uses opset 99, which this ONNX Runtime does not"),
        ("ir_too_new", "The model model.onnx uses IR version 99, which this ONNX Runtime does not"),
        (
            "unknown_operator",
            "The model model.onnx uses opset 17, which this ONNX Runtime does not",
        ),
    ];
    for (model, expected) in cases {
        let Err(error) = launch(Folder::of(model)).await else { panic!("{model} launched") };
        let said = error.to_string();
        assert!(said.starts_with(expected), "{said}");
        assert!(said.ends_with("Export it again with an older opset."), "{said}");
        assert!(!said.contains("/onnxruntime_src/") && !said.contains("/tmp"), "{said}");
    }
}

#[tokio::test]
async fn refuses_a_serving_json_that_does_not_fit() {
    let serving = |width| {
        let json =
            format!(r#"{{"version": 1, "input": {{"image": {{"width": {width}, "height": 8}}}}}}"#);
        let model = model_bytes("identity_image");
        Folder::with(&[("model.onnx", &model), ("serving.json", json.as_bytes())])
    };
    assert!(launch(serving(8)).await.is_ok());
    check_refused(
        serving(9),
        "The model cannot be served: serving.json says how pictures look, but the model's input \
         \"x\" expects float32 [1, 3, 8, 8], got [1, 3, 8, 9].",
    )
    .await;
}

#[tokio::test]
async fn finds_weights_beside_the_model() {
    let weights: Vec<u8> = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
    let model = model_bytes("external_missing");
    let folder = Folder::with(&[("m/1/model.onnx", &model), ("m/1/weights.bin", &weights)]);
    let worker = launch(folder).await.unwrap();
    let reply = invoke(&*worker, call("text/csv", "10,20")).await.unwrap();
    assert_eq!(reply.payload.body, "11.0,22.0\n");
}

#[tokio::test]
async fn minds_the_spec() {
    let runtime = runtime();
    let error = runtime.launch(&spec(None)).await.err().unwrap();
    assert!(error.to_string().contains("ModelDataUrl"), "{error}");

    for (threads, fits) in [("2", true), ("0", false), ("many", false)] {
        let mut spec = spec(Some(Folder::of("iris_forest")));
        spec.environment.insert(INTRA_OP_THREADS.to_owned(), threads.to_owned());
        assert_eq!(runtime.launch(&spec).await.is_ok(), fits, "{threads}");
    }
}

/// Files that take their time.
struct Slow(Arc<Folder>);

impl ArtifactLease for Slow {
    fn dir(&self) -> PathBuf {
        thread::sleep(Duration::from_millis(500));
        self.0.dir()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn gives_up_on_slow_loads() {
    let mut hasty = spec(None);
    hasty.model = Some(Arc::new(Slow(Folder::of("iris_forest"))));
    hasty.startup_timeout = Duration::from_millis(20);
    let error = runtime().launch(&hasty).await.err().unwrap();
    assert!(matches!(error, LaunchError::Transient { .. }), "{error:?}");
    assert_eq!(error.to_string(), "The model did not load within 0.02 s.");
}

#[tokio::test]
async fn logs_what_it_serves() {
    let log = Arc::new(MemoryLog::default());
    let mut spec = spec(Some(Folder::of("iris_forest")));
    spec.log = Arc::clone(&log) as Arc<_>;
    runtime().launch(&spec).await.unwrap();
    let lines = log.lines();
    let [(stream, line)] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(*stream, spec.log_stream);
    assert!(
        line.contains("inputs: float_input float32 [?, 4]; outputs: label int64 [?]"),
        "{line}"
    );
}

#[tokio::test]
async fn a_host_loads_and_unloads_models_one_by_one() {
    let host = runtime().host(&spec(None)).await.unwrap();
    let load = async |name: &str, folder: Arc<Folder>| {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (name, target) = (name.to_owned(), format!("{name}.tar.gz"));
        host.load(&ModelSpec { name, target, files: folder, deadline }).await
    };
    let first = load("1", Folder::of("identity_float")).await.unwrap();
    let second = load("2", Folder::of("iris_logistic")).await.unwrap();
    let broken = load("3", Folder::with(&[("model.onnx", b"not a model")])).await;
    assert!(matches!(broken, Err(LoadError::Launch(LaunchError::Permanent { .. }))));
    assert!(first.memory() > 0);
    let row = || call("text/csv", "5.1,3.5,1.4,0.2");
    assert!(invoke(&*second, row()).await.is_ok());
    second.stop(Instant::now()).await;
    assert!(matches!(invoke(&*second, row()).await, Err(WorkerError::Gone { .. })));
    assert!(first.ping().await.is_ok(), "the other one stays");
    host.stop(Instant::now()).await;
    assert!(first.ping().await.is_err(), "it ends with its host");
}
