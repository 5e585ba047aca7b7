//! Instances with several containers, over workers that say who they are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sagebrush_core::artifact::ModelData;
use sagebrush_core::fleet::{ContainerSpec, Execution, GroupSpec, MultiModel};
use sagebrush_core::instance::Instance;
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::metrics::Registry;
use sagebrush_core::per_model::PerModelHost;
use sagebrush_core::worker::{
    Call, LaunchError, LaunchSpec, ModelHost, Payload, Reply, Runtime, StreamedReply, Timings,
    Worker, WorkerError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::tests::group;
use super::{Catalogue, Launcher};
use crate::testing::{FakeArtifacts, LIMITS};

/// Launches workers that add their name to what they get. `FAIL` in the environment says how they
/// fail instead.
#[derive(Clone, Default)]
struct Taggers(Arc<Mutex<Vec<Arc<Tagger>>>>);

struct Tagger {
    spec: LaunchSpec,
    calls: Mutex<Vec<Call>>,
    end: watch::Sender<bool>,
    is_stopped: AtomicBool,
}

#[async_trait]
impl Runtime for Taggers {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        if spec.environment.get("FAIL").is_some_and(|how| how == "start") {
            tokio::time::sleep(Duration::from_secs(5)).await;
            return Err(LaunchError::Permanent { reason: "no model".to_owned() });
        }
        let (calls, end) = (Mutex::default(), watch::Sender::new(false));
        let is_stopped = AtomicBool::new(false);
        let worker = Arc::new(Tagger { spec: spec.clone(), calls, end, is_stopped });
        self.0.lock().unwrap().push(worker.clone());
        Ok(worker)
    }

    async fn host(&self, spec: &LaunchSpec) -> Result<Arc<dyn ModelHost>, LaunchError> {
        Ok(Arc::new(PerModelHost::new(Arc::new(self.clone()), spec.clone())))
    }
}

impl Taggers {
    /// The worker of the container of that name.
    fn named(&self, name: &str) -> Arc<Tagger> {
        let workers = self.0.lock().unwrap();
        workers.iter().find(|worker| worker.spec.hostname == name).unwrap().clone()
    }
}

impl Tagger {
    fn reply(&self, call: &Call) -> Result<Reply, WorkerError> {
        let text = String::from_utf8(call.payload.body.to_vec()).unwrap();
        let name = &self.spec.hostname;
        if text == "bad" && self.spec.environment.contains_key("FAIL") {
            return Err(WorkerError::bad_input("no number"));
        }
        let timings = Timings { model: Duration::from_secs(1), ..Timings::default() };
        let payload = Payload {
            content_type: Some(format!("text/{name}")),
            body: Bytes::from(format!("{text}>{name}")),
        };
        let sets_attributes = self.spec.environment.contains_key("ATTRIBUTES");
        let custom_attributes = sets_attributes.then(|| name.clone());
        Ok(Reply { payload, custom_attributes, session: None, timings })
    }
}

#[async_trait]
impl Worker for Tagger {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        self.calls.lock().unwrap().extend(calls.clone());
        calls.iter().map(|call| self.reply(call)).collect()
    }

    /// What it answers, and then what `BREAKS` in the environment says.
    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let reply = StreamedReply::from(self.invoke(vec![call]).await.remove(0)?);
        let breaks = self.spec.environment.contains_key("BREAKS");
        let end = stream::iter(breaks.then_some(Err(WorkerError::TimedOut)));
        Ok(StreamedReply { parts: reply.parts.chain(end).boxed(), ..reply })
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.spec.environment.get("N").map_or(2, |n| n.parse().unwrap())
    }

    fn memory(&self) -> u64 {
        10
    }

    async fn ended(&self) -> String {
        let mut end = self.end.subscribe();
        drop(end.wait_for(|end| *end).await);
        "exit 137".to_owned()
    }

    fn image(&self) -> Option<String> {
        let has_digest = self.spec.environment.contains_key("N");
        has_digest.then(|| format!("{}@sha256:1", self.spec.image))
    }

    async fn stop(&self, _deadline: Instant) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }
}

fn container(hostname: Option<&str>, environment: &[(&str, &str)]) -> ContainerSpec {
    let pairs = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    ContainerSpec {
        role_arn: None,
        hostname: hostname.map(str::to_owned),
        image: "tag".to_owned(),
        model_data: None,
        environment: pairs.collect::<BTreeMap<_, _>>(),
        multi_model: None,
    }
}

struct Launch {
    taggers: Taggers,
    log: Arc<MemoryLog>,
    outcome: Result<Arc<Instance>, String>,
}

async fn launch(execution: Execution, containers: Vec<ContainerSpec>) -> Launch {
    let (taggers, log) = (Taggers::default(), Arc::new(MemoryLog::default()));
    let launcher = Launcher {
        roles: Arc::new(sagebrush_core::access::AllowAll),
        artifacts: Arc::new(FakeArtifacts),
        catalogue: Catalogue::new().with("tag", Arc::new(taggers.clone())),
        log: log.clone(),
        metrics: Registry::default(),
        limits: LIMITS,
    };
    let group = GroupSpec { execution, containers, ..group("tag", 1) };
    let outcome = launcher.launch(&group).await.map_err(|failure| failure.to_string());
    Launch { taggers, log, outcome }
}

fn call(body: &'static str) -> Call {
    Call {
        payload: Payload { content_type: Some("text/csv".to_owned()), body: body.into() },
        accept: Some("text/csv".to_owned()),
        headers: vec![("x-amzn-sagemaker-custom-attributes", "mine".to_owned())],
        target_model: None,
        target_container: None,
        request_id: "1".into(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

fn text(outcome: &Result<Reply, WorkerError>) -> String {
    match outcome {
        Ok(reply) => String::from_utf8(reply.payload.body.to_vec()).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn containers_in_series_pass_their_replies_on() {
    let containers = vec![
        container(None, &[("ATTRIBUTES", "yes"), ("N", "4")]),
        container(None, &[("FAIL", "call")]),
        container(None, &[("N", "3")]),
    ];
    let launch = launch(Execution::Serial, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let answers = worker.invoke(vec![call("x"), call("y")]).await;
    let texts: Vec<_> = answers.iter().map(text).collect();
    let way = ">container-1>container-2>container-3";
    assert_eq!(texts, [format!("x{way}"), format!("y{way}")]);
    let reply = answers[0].as_ref().unwrap();
    assert_eq!(reply.payload.content_type.as_deref(), Some("text/container-3"));
    assert_eq!(reply.custom_attributes.as_deref(), Some("container-1"), "the last that set them");
    assert_eq!(reply.timings.model, Duration::from_secs(3));
    for (name, accept, content_type) in [
        ("container-1", None, "text/csv"),
        ("container-2", None, "text/container-1"),
        ("container-3", Some("text/csv"), "text/container-2"),
    ] {
        let seen = launch.taggers.named(name).calls.lock().unwrap()[0].clone();
        assert_eq!(seen.accept.as_deref(), accept, "{name}");
        assert_eq!(seen.payload.content_type.as_deref(), Some(content_type));
        assert_eq!(seen.headers, call("x").headers);
    }
    assert_eq!((worker.concurrency(), worker.memory()), (2, 30));
    let digest = Some("tag@sha256:1".to_owned());
    assert_eq!(worker.images(), [digest.clone(), None, digest]);
}

#[tokio::test(start_paused = true)]
async fn one_bad_call_in_series_fails_alone_under_its_containers_name() {
    let containers =
        vec![container(Some("pre"), &[("FAIL", "call")]), container(Some("model"), &[])];
    let launch = launch(Execution::Serial, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let answers = worker.invoke(vec![call("x"), call("bad"), call("y")]).await;
    assert_eq!(text(&answers[0]), "x>pre>model");
    assert_eq!(text(&answers[2]), "y>pre>model");
    match &answers[1] {
        Err(WorkerError::At { container, error }) => {
            assert_eq!(&**container, "pre");
            assert!(matches!(**error, WorkerError::Model { status: 400, .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn containers_that_are_called_directly() {
    let containers = vec![container(Some("a"), &[]), container(Some("b"), &[("FAIL", "call")])];
    let launch = launch(Execution::Direct, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let to =
        |name: Option<&str>, body| Call { target_container: name.map(str::to_owned), ..call(body) };
    let calls = vec![to(Some("a"), "x"), to(Some("b"), "x"), to(Some("b"), "bad")];
    let answers = worker.invoke(calls).await;
    assert_eq!((text(&answers[0]), text(&answers[1])), ("x>a".to_owned(), "x>b".to_owned()));
    assert!(matches!(&answers[2], Err(WorkerError::At { container, .. }) if &**container == "b"));
    for (name, wanted) in [(Some("c"), "no container with the hostname c"), (None, "names no")] {
        let refused = worker.invoke(vec![to(name, "x")]).await.remove(0);
        assert!(matches!(refused, Err(WorkerError::Invalid { .. })));
        assert!(text(&refused).contains(wanted), "{}", text(&refused));
    }
    assert_eq!(worker.concurrency(), 4);
}

/// The parts of a reply, and what ended them.
async fn in_parts(reply: StreamedReply) -> Vec<String> {
    let said = |part: Result<Bytes, WorkerError>| match part {
        Ok(part) => String::from_utf8(part.to_vec()).unwrap(),
        Err(error) => error.to_string(),
    };
    reply.parts.map(said).collect().await
}

#[tokio::test(start_paused = true)]
async fn the_last_container_in_series_answers_in_parts() {
    let containers = vec![
        container(Some("pre"), &[("ATTRIBUTES", "yes"), ("FAIL", "call")]),
        container(Some("model"), &[("BREAKS", "yes")]),
    ];
    let launch = launch(Execution::Serial, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let reply = worker.stream(call("x")).await.unwrap();
    assert_eq!(reply.content_type.as_deref(), Some("text/model"));
    assert_eq!(reply.custom_attributes.as_deref(), Some("pre"), "the last that set them");
    let late = "model: the model did not answer in time";
    assert_eq!(in_parts(reply).await, ["x>pre>model", late]);
    let seen = launch.taggers.named("model").calls.lock().unwrap()[0].clone();
    assert_eq!(seen.accept.as_deref(), Some("text/csv"));
    let refused = worker.stream(call("bad")).await.err().unwrap();
    assert_eq!(refused.to_string(), "pre: the model answered 400: no number");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_called_directly_has_its_turn_until_the_last_part() {
    let containers =
        vec![container(Some("a"), &[("N", "1"), ("BREAKS", "yes")]), container(Some("b"), &[])];
    let launch = launch(Execution::Direct, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let to = |name: &str| Call { target_container: Some(name.to_owned()), ..call("x") };
    let first = worker.stream(to("a")).await.unwrap();
    assert_eq!(in_parts(worker.stream(to("b")).await.unwrap()).await, ["x>b"]);
    let late = worker.stream(to("a")).await.err().unwrap();
    assert_eq!(late.to_string(), "a: the model did not answer in time");
    drop(first);
    let parts = in_parts(worker.stream(to("a")).await.unwrap()).await;
    assert_eq!(parts, ["x>a", "a: the model did not answer in time"]);
    assert_eq!(text(&worker.invoke(vec![to("a")]).await[0]), "x>a", "its turn is over");
    assert!(worker.stream(to("c")).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_ends_one_container_ends_the_instance() {
    let containers = vec![container(Some("a"), &[]), container(Some("b"), &[])];
    let launch = launch(Execution::Serial, containers).await;
    let worker = launch.outcome.unwrap().worker.clone();
    launch.taggers.named("b").end.send_replace(true);
    assert_eq!(worker.ended().await, "b: exit 137");
    worker.stop(Instant::now()).await;
    for name in ["a", "b"] {
        assert!(launch.taggers.named(name).is_stopped.load(Ordering::SeqCst));
    }
}

#[tokio::test(start_paused = true)]
async fn one_container_that_does_not_start_stops_the_others() {
    let containers = vec![container(None, &[]), container(None, &[("FAIL", "start")])];
    let launch = launch(Execution::Serial, containers).await;
    assert_eq!(launch.outcome.err().unwrap(), "container-2: no model");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(launch.taggers.named("container-1").is_stopped.load(Ordering::SeqCst));
    let lines = launch.log.lines();
    assert!(lines.iter().any(|(_, line)| line.contains("ERROR no model")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn code_and_files_of_each_container() {
    let in_s3 = [("SAGEMAKER_SUBMIT_DIRECTORY", "s3://b/code.tar.gz")];
    let inside = [("SAGEMAKER_SUBMIT_DIRECTORY", "/opt/ml/model/code")];
    let mut with_model = container(Some("b"), &inside);
    with_model.model_data = Some(ModelData::Archive { uri: "s3://b/model.tar.gz".to_owned() });
    let launch = launch(Execution::Serial, vec![container(Some("a"), &in_s3), with_model]).await;
    assert!(launch.outcome.is_ok());
    let given = |name| {
        let spec = launch.taggers.named(name).spec.clone();
        (spec.code.is_some(), spec.model.is_some(), spec.log_stream.stream.to_string())
    };
    let (code, model, stream) = given("a");
    assert!(code && !model && stream.ends_with("/a"), "{stream}");
    let (code, model, stream) = given("b");
    assert!(!code && model && stream.ends_with("/b"), "{stream}");
    let missing = [("SAGEMAKER_SUBMIT_DIRECTORY", "s3://b/missing")];
    let failed = self::launch(Execution::Serial, vec![container(None, &missing)]).await;
    assert!(failed.outcome.err().unwrap().contains("Could not find model data at s3://b/missing"));
}

#[tokio::test(start_paused = true)]
async fn a_container_of_many_models_within_a_series() {
    let mut models = container(Some("models"), &[]);
    models.model_data = Some(ModelData::Prefix { uri: "s3://b/models".to_owned() });
    models.multi_model = Some(MultiModel { keeps_models: true });
    let launch = launch(Execution::Serial, vec![container(Some("pre"), &[]), models]).await;
    let worker = launch.outcome.unwrap().worker.clone();
    let named = Call { target_model: Some("a.tar.gz".to_owned()), ..call("x") };
    let answers = worker.invoke(vec![named, call("y")]).await;
    assert_eq!(text(&answers[0]), "x>pre>models");
    assert!(text(&answers[1]).contains("names no TargetModel"), "{}", text(&answers[1]));
    let loaded = launch.taggers.named("models");
    assert!(loaded.spec.name.ends_with("/a.tar.gz") && loaded.spec.model.is_some());
    worker.stop(Instant::now() + Duration::from_secs(1)).await;
    assert!(loaded.is_stopped.load(Ordering::SeqCst));
}
