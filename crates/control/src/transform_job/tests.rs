//! Jobs over objects in memory and a model that answers as it is told. Time stands still unless
//! awaited.

mod fakes;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sagebrush_aws::{Context, Dispatch};
use sagebrush_core::events::MemoryEvents;
use sagebrush_core::fleet::Fleet as _;
use sagebrush_core::instance::Limits;
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::metrics::Registry;
use sagebrush_core::worker::{BatchStrategy, ExecutionParameters, WorkerError};
use sagebrush_core::{AccountId, Region, task};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::Reconciler;
use crate::Control;
use crate::instance::{Catalogue, Launcher, LocalFleet};
use crate::testing::{FakeArtifacts, parts};
use fakes::{FakeObjects, FakeRuntime, Model};

const LIMITS: Limits = Limits { waiting: 64, bytes: 1 << 30 };

/// A server whose parts outlive it.
struct Platform {
    store: Arc<MemoryStore>,
    objects: Arc<FakeObjects>,
    model: Arc<Model>,
    log: Arc<MemoryLog>,
    metrics: Registry,
    operations: Dispatch<Control>,
    now: Server,
}

/// What a restart replaces.
struct Server {
    control: Arc<Control>,
    fleet: Arc<LocalFleet>,
    reconciler: JoinHandle<()>,
    events: Arc<MemoryEvents>,
}

impl Platform {
    fn start() -> Self {
        let (store, objects) = (Arc::new(MemoryStore::new()), Arc::new(FakeObjects::default()));
        let (model, log) = (Arc::new(Model::default()), Arc::new(MemoryLog::default()));
        let metrics = Registry::default();
        let now = Self::server(&store, &objects, &model, &log, &metrics);
        Self { store, objects, model, log, metrics, operations: crate::operations(), now }
    }

    fn server(
        store: &Arc<MemoryStore>,
        objects: &Arc<FakeObjects>,
        model: &Arc<Model>,
        log: &Arc<MemoryLog>,
        metrics: &Registry,
    ) -> Server {
        let fleet = Arc::new(LocalFleet::new(Launcher {
            roles: Arc::new(sagebrush_core::access::AllowAll),
            artifacts: Arc::new(FakeArtifacts),
            catalogue: Catalogue::new().with("fake", Arc::new(FakeRuntime(model.clone()))),
            log: log.clone(),
            metrics: metrics.clone(),
            limits: LIMITS,
        }));
        let events = Arc::new(MemoryEvents::default());
        let mut parts = parts(store.clone(), fleet.clone());
        parts.watched.events = events.clone();
        let (control, _, _) = Control::new(parts);
        let reconciler = Reconciler::new(&control, objects.clone(), log.clone(), metrics.clone());
        let reconciler = task::spawn("transforms", reconciler.run());
        Server { control, fleet, reconciler, events }
    }

    /// As after `kill -9`.
    fn restart(&mut self) {
        self.now.reconciler.abort();
        self.now = Self::server(&self.store, &self.objects, &self.model, &self.log, &self.metrics);
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, String> {
        let account = AccountId("123456789012".into());
        let context = Context::new(Region::new("us-east-1"), account);
        let body = serde_json::to_vec(&input).unwrap();
        let control = self.now.control.clone();
        let answer = self.operations.call(control, context, operation, &body).await;
        answer.map(|body| serde_json::from_slice(&body).unwrap()).map_err(|error| error.to_string())
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        self.call(operation, input).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    /// A job `j` of a model of one container, begun.
    async fn begin(&self, job: Value) {
        let container = json!({"Image": "fake", "ModelDataUrl": "s3://b/model.tar.gz"});
        self.ok("CreateModel", json!({"ModelName": "m", "PrimaryContainer": container})).await;
        self.ok("CreateTransformJob", job).await;
    }

    async fn describe(&self) -> Value {
        self.ok("DescribeTransformJob", json!({"TransformJobName": "j"})).await
    }

    /// The job once it has ended. In paused time, waiting costs nothing.
    async fn ended(&self) -> Value {
        for _ in 0..100_000 {
            let described = self.describe().await;
            let status = described["TransformJobStatus"].as_str().unwrap();
            if !["InProgress", "Stopping"].contains(&status) {
                return described;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not end: {}", self.describe().await);
    }

    async fn completed(&self) {
        let described = self.ended().await;
        assert_eq!(described["TransformJobStatus"], "Completed", "{described}");
    }

    async fn reason(&self) -> String {
        let described = self.ended().await;
        assert_eq!(described["TransformJobStatus"], "Failed", "{described}");
        described["FailureReason"].as_str().unwrap().to_owned()
    }

    /// Returns once the job has given its instances back.
    async fn gave_instances_back(&self) {
        let mut view = self.now.fleet.watch();
        view.wait_for(|view| view.is_empty()).await.unwrap();
    }
}

/// The job `j` with `more` members, of lines that are answered in lines.
fn job(more: &Value) -> Value {
    let mut job = json!({
        "TransformJobName": "j",
        "ModelName": "m",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": "s3://b/out", "AssembleWith": "Line", "Accept": "text/csv",
        },
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    });
    let members = job.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    job
}

fn lines(n: usize) -> String {
    (0..n).map(|i| format!("line {i}\n")).collect()
}

fn model_error(status: u16) -> WorkerError {
    WorkerError::Model { status, message: "so it is".to_owned(), content_type: None }
}

#[tokio::test(start_paused = true)]
async fn answers_are_written_in_the_order_of_the_records() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(300));
    platform.objects.set("s3://b/in/deep/y.csv", "last");
    platform.begin(job(&json!({"BatchStrategy": "SingleRecord"}))).await;
    platform.completed().await;
    let x = platform.objects.text("s3://b/out/x.csv.out").unwrap();
    assert_eq!(x, lines(300).to_uppercase());
    assert_eq!(platform.objects.text("s3://b/out/deep/y.csv.out").unwrap(), "LAST\n");
    assert_eq!(platform.model.payloads.lock().unwrap().len(), 301);
    assert_eq!(platform.model.most_at_once.load(Ordering::SeqCst), 4, "as the worker can");
    platform.gave_instances_back().await;
    assert_eq!(platform.model.stopped.load(Ordering::SeqCst), 1);
    let said = platform.log.lines();
    assert!(said.iter().any(|(at, line)| {
        &*at.group == "/aws/sagemaker/TransformJobs"
            && at.stream.starts_with("j/i-")
            && line.contains("s3://b/in/x.csv: written to s3://b/out/x.csv.out")
    }));
    let metrics = platform.metrics.render();
    let counted = "sagebrush_transform_records_total{region=\"us-east-1\",transform_job=\"j\"} 301";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn outputs_are_named_after_what_is_behind_the_prefix() {
    let all = ["in/a.csv", "in/deep/b.csv", "in/data/x.csv", "in/data.csv", "other.csv"];
    let table: &[(&str, &str, &[&str])] = &[
        ("s3://b/in/", "s3://b/out", &["a.csv", "data.csv", "data/x.csv", "deep/b.csv"]),
        ("s3://b/in", "s3://b/out/", &["a.csv", "data.csv", "data/x.csv", "deep/b.csv"]),
        ("s3://b/in/data", "s3://b/out", &["data.csv", "data/x.csv"]),
        ("s3://b/in/data/", "s3://b/out", &["x.csv"]),
        ("s3://b/in/data.csv", "s3://b/out", &["data.csv"]),
        ("s3://b/oth", "s3://b/out", &["other.csv"]),
        ("s3://b/deep", "s3://b/deep", &["c.csv"]),
    ];
    for (source, output, wanted) in table {
        let platform = Platform::start();
        all.iter().for_each(|key| platform.objects.set(&format!("s3://b/{key}"), "x\n"));
        platform.objects.set("s3://b/deep/c.csv", "x\n");
        platform.objects.set("s3://b/in/data/", "");
        let source = json!({"S3DataType": "S3Prefix", "S3Uri": source});
        let input = json!({"DataSource": {"S3DataSource": source}, "SplitType": "Line"});
        let more = json!({"TransformInput": input, "TransformOutput": {"S3OutputPath": output}});
        platform.begin(job(&more)).await;
        platform.completed().await;
        let output = output.trim_end_matches('/');
        let wanted: Vec<_> = wanted.iter().map(|key| format!("{output}/{key}.out")).collect();
        let written: Vec<_> = platform.objects.written.lock().unwrap().iter().cloned().collect();
        assert_eq!(written, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_describe_is_final_and_the_container_knows_its_batch() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(3));
    platform.begin(job(&json!({"MaxConcurrentTransforms": 3, "Environment": {"A": "b"}}))).await;
    let described = platform.describe().await;
    assert_eq!(described["TransformJobStatus"], "Completed");
    for unset in ["FailureReason", "DataProcessing", "MaxPayloadInMB", "ExperimentConfig"] {
        assert!(described.get(unset).is_none(), "{unset}");
    }
    assert!(described["TransformEndTime"].is_number() && described["CreationTime"].is_number());
    let spec = platform.model.launched.lock().unwrap()[0].clone();
    for (name, value) in [
        ("SAGEMAKER_BATCH", "true"),
        ("SAGEMAKER_BATCH_STRATEGY", "MULTI_RECORD"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "6"),
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "3"),
        ("A", "b"),
    ] {
        assert_eq!(spec.environment[name], value, "{name}");
    }
    let asked: Vec<String> = platform.model.asked().into_iter().collect();
    assert_eq!(asked, ["line 0\nline 1\nline 2"]);
}

#[tokio::test(start_paused = true)]
async fn what_the_request_leaves_open_the_container_says() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(20));
    *platform.model.parameters.lock().unwrap() = Some(ExecutionParameters {
        max_concurrent_transforms: Some(2),
        batch_strategy: Some(BatchStrategy::SingleRecord),
        max_payload_mb: None,
    });
    platform.begin(job(&json!({}))).await;
    platform.completed().await;
    assert_eq!(platform.model.most_at_once.load(Ordering::SeqCst), 2);
    assert_eq!(platform.model.payloads.lock().unwrap().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(10));
    let gone = WorkerError::Gone { reason: "it was stopped".to_owned() };
    platform.model.errors.lock().unwrap().extend([
        ("line 3", 2, model_error(503)),
        ("line 5", 3, WorkerError::TimedOut),
        ("line 7", 1, gone),
    ]);
    platform.begin(job(&json!({"BatchStrategy": "SingleRecord"}))).await;
    platform.completed().await;
    let written = platform.objects.text("s3://b/out/x.csv.out").unwrap();
    assert_eq!(written, lines(10).to_uppercase());
}

#[tokio::test(start_paused = true)]
async fn what_is_captured_is_whole_with_the_output() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/a.csv", lines(50));
    platform.objects.set("s3://b/in/b.csv", lines(9));
    platform.model.errors.lock().unwrap().push(("line 30", 1, model_error(400)));
    let capture = json!({"DestinationS3Uri": "s3://c/captured"});
    let more = json!({"BatchStrategy": "SingleRecord", "DataCaptureConfig": capture});
    platform.begin(job(&more)).await;
    assert!(platform.reason().await.contains("in/a.csv: record 31: "));
    let written: Vec<_> = platform.objects.written.lock().unwrap().iter().cloned().collect();
    let [output, captured] = written.as_slice() else { panic!("{written:?}") };
    assert_eq!(output, "s3://b/out/b.csv.out");
    assert!(captured.starts_with("s3://c/captured/j/20") && captured.ends_with("/b.csv.jsonl"));
    let captured = platform.objects.text(captured).unwrap();
    for (n, line) in captured.lines().enumerate() {
        let data = &serde_json::from_str::<Value>(line).unwrap()["captureData"];
        assert_eq!(data["endpointInput"]["data"], format!("line {n}"));
        assert_eq!(data["batchTransformOutput"]["data"], format!("LINE {n}"));
    }
    assert_eq!(captured.lines().count(), 9);
}

#[tokio::test(start_paused = true)]
async fn no_output_without_what_is_captured() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/a.csv", lines(50));
    *platform.objects.refuses.lock().unwrap() = Some("s3://b/captured/");
    let capture = json!({"DestinationS3Uri": "s3://b/captured"});
    let more = json!({"BatchStrategy": "SingleRecord", "DataCaptureConfig": capture});
    platform.begin(job(&more)).await;
    let reason = platform.reason().await;
    assert!(reason.ends_with("its captured data cannot be written: not enough space is left"));
    assert!(platform.objects.text("s3://b/out/a.csv.out").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_bad_object_fails_the_job_and_good_outputs_stay() {
    for (retries, error, n_left) in [(3, model_error(400), 9), (1, model_error(500), 8)] {
        let platform = Platform::start();
        platform.objects.set("s3://b/in/a.csv", lines(5));
        platform.objects.set("s3://b/in/b.csv", "good\n");
        platform.model.errors.lock().unwrap().push(("line 3", 10, error));
        let config = json!({"InvocationsMaxRetries": retries});
        let more = json!({"BatchStrategy": "SingleRecord", "ModelClientConfig": config});
        platform.begin(job(&more)).await;
        let reason = platform.reason().await;
        assert!(
            reason.starts_with("1 of 2 objects failed. s3://b/in/a.csv: record 4: "),
            "{reason}"
        );
        assert!(reason.ends_with("so it is"), "{reason}");
        assert_eq!(platform.model.errors.lock().unwrap()[0].1, n_left);
        assert!(platform.objects.text("s3://b/out/a.csv.out").is_none());
        assert_eq!(platform.objects.text("s3://b/out/b.csv.out").unwrap(), "GOOD\n");
        platform.gave_instances_back().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_or_written_fails_with_its_reason() {
    let at = |uri: &str| {
        let source = json!({"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}});
        json!({"TransformInput": {"DataSource": source, "SplitType": "RecordIO"}})
    };
    let to = |uri: &str| json!({"TransformOutput": {"S3OutputPath": uri}});
    for (more, wanted) in [
        (at("s3://b/nothing"), "No S3 objects found under S3 URL \"s3://b/nothing\""),
        (at("s3://missing/x"), "s3://missing/x cannot be read: no such bucket: missing"),
        (to("s3://missing/x"), "cannot be written to s3://missing/x: no such bucket: missing"),
        (at("s3://b/in/"), "s3://b/in/x: record 1 is no RecordIO record"),
    ] {
        let platform = Platform::start();
        platform.objects.set("s3://b/in/x", lines(5));
        platform.begin(job(&more)).await;
        let reason = platform.reason().await;
        assert!(reason.contains(wanted), "{reason}");
        platform.gave_instances_back().await;
    }
    let platform = Platform::start();
    *platform.objects.refuses.lock().unwrap() = Some("s3://");
    platform.objects.set("s3://b/in/x", lines(5));
    platform.begin(job(&json!({}))).await;
    let reason = platform.reason().await;
    assert!(reason.contains("its output cannot be written: not enough space is left"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_model_that_cannot_start_fails_the_job() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x", lines(5));
    let container = json!({"Image": "unknown"});
    let model = json!({"ModelName": "m", "PrimaryContainer": container});
    platform.ok("CreateModel", model).await;
    platform.ok("CreateTransformJob", job(&json!({}))).await;
    let reason = platform.reason().await;
    assert!(reason.contains("The image unknown is not known"), "{reason}");
    platform.gave_instances_back().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_cut_off_goes_on_with_what_is_left() {
    let mut platform = Platform::start();
    platform.objects.set("s3://b/in/a.csv", "first\n");
    platform.objects.set("s3://b/in/b.csv", format!("{}stuck\n", lines(20)));
    // Of an earlier job: it is not taken for this one's.
    platform.objects.set("s3://b/out/b.csv.out", "old\n");
    *platform.model.hangs_at.lock().unwrap() = Some("stuck");
    platform.begin(job(&json!({"BatchStrategy": "SingleRecord"}))).await;
    while platform.objects.n_puts.load(Ordering::SeqCst) < 1 || platform.model.asked().len() < 21 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(platform.describe().await["TransformJobStatus"], "InProgress");
    for _ in 0..3 {
        platform.restart();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    *platform.model.hangs_at.lock().unwrap() = None;
    platform.restart();
    platform.completed().await;
    assert_eq!(platform.objects.text("s3://b/out/a.csv.out").unwrap(), "FIRST\n");
    let b = platform.objects.text("s3://b/out/b.csv.out").unwrap();
    assert_eq!(b, format!("{}STUCK\n", lines(20).to_uppercase()));
    let payloads = platform.model.payloads.lock().unwrap();
    assert_eq!(payloads.iter().filter(|payload| *payload == "first").count(), 1);
    assert_eq!(platform.objects.n_puts.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_stopped_at_once() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", "stuck\n");
    *platform.model.hangs_at.lock().unwrap() = Some("stuck");
    platform.begin(job(&json!({}))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    platform.ok("StopTransformJob", json!({"TransformJobName": "j"})).await;
    let described = platform.describe().await;
    assert_eq!(described["TransformJobStatus"], "Stopped");
    assert!(platform.objects.text("s3://b/out/x.csv.out").is_none());
    platform.gave_instances_back().await;
    let again = platform.call("StopTransformJob", json!({"TransformJobName": "j"})).await;
    assert!(again.unwrap_err().contains("because the transform job is in status Stopped"));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_read_than_is_needed() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(100_000));
    *platform.model.hangs_at.lock().unwrap() = Some("line");
    platform.begin(job(&json!({"BatchStrategy": "SingleRecord"}))).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let n_read = platform.objects.n_read.load(Ordering::SeqCst);
    assert!((1..500).contains(&n_read), "{n_read} bytes were read");
    platform.ok("StopTransformJob", json!({"TransformJobName": "j"})).await;
    platform.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused_at_once() {
    let platform = Platform::start();
    let container = json!({"Image": "fake", "Mode": "MultiModel", "ModelDataUrl": "s3://b/m/"});
    let multi = json!({"ModelName": "multi", "PrimaryContainer": container});
    platform.ok("CreateModel", multi).await;
    platform.begin(job(&json!({}))).await;
    let join = |more: Value| {
        let mut members = json!({"DataProcessing": {"JoinSource": "Input"}});
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let filter = |filter: &str| json!({"DataProcessing": {"InputFilter": filter}});
    let to = |accept: &str, assemble: &str| {
        let path = "s3://b/out";
        json!({"TransformOutput":
            {"S3OutputPath": path, "Accept": accept, "AssembleWith": assemble}})
    };
    let capture = json!({"DataCaptureConfig": {"DestinationS3Uri": "https://b/c"}});
    for (more, wanted) in [
        (json!({}), "Cannot create already existing transform job"),
        (json!({"TransformJobName": "k", "ModelName": "n"}), "Could not find model"),
        (json!({"TransformJobName": "k", "ModelName": "multi"}), "Mode MultiModel"),
        (json!({"MaxConcurrentTransforms": 11, "MaxPayloadInMB": 10}), "must not exceed 100"),
        (filter("$.a"), "rows have columns and no names"),
        (filter("a"), "InputFilter cannot be used: \"a\" is not a supported JSONPath"),
        (join(to("application/json", "Line")), "the same ContentType and Accept"),
        (join(to("text/csv; charset=utf-8", "None")), "the same SplitType and AssembleWith"),
        (capture, "DestinationS3Uri https://b/c must be an S3 location"),
    ] {
        let mut input = job(&more);
        if more.as_object().is_some_and(|more| !more.is_empty()) {
            input["TransformJobName"] = json!("k");
        }
        let error = platform.call("CreateTransformJob", input).await.unwrap_err();
        assert!(error.starts_with("ValidationException") && error.contains(wanted), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_state_of_a_job_is_told() {
    let platform = Platform::start();
    platform.objects.set("s3://b/in/x.csv", lines(3));
    platform.begin(job(&json!({}))).await;
    platform.completed().await;
    let events = platform.now.events.events();
    let states: Vec<_> = events.iter().map(|event| &event.detail["TransformJobStatus"]).collect();
    assert_eq!(states, ["InProgress", "Completed"]);
    let arn = "arn:aws:sagemaker:us-east-1:123456789012:transform-job/j";
    assert_eq!(events[1].resources, [arn]);
    assert_eq!(events[1].detail_type, "SageMaker Transform Job State Change");
    assert_eq!(events[1].detail["TransformOutput"]["S3OutputPath"], "s3://b/out");
    assert!(events[1].detail["TransformEndTime"].is_number());
}
