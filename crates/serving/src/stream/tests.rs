//! Replies in parts from workers that do as they are told, to the bytes that go out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::{FutureExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{
    self, EndpointRoute, RouteTable, RoutesSender, VariantId, VariantRoute,
};
use sagebrush_core::worker::{Call, Payload, Reply, StreamedReply, Worker, WorkerError};
use sagebrush_core::{AccountId, Region};
use tokio::time::Instant;

use super::frames::Frames;
use crate::beside::Beside;
use crate::error::InvokeError;
use crate::eventstream::tests::{Message, read};
use crate::invoke::{Invoker, Streamed, Target};
use crate::meter::Meters;
use crate::reply::{Spent, parted};
use crate::{Retries, Sessions};

type Said = Result<Bytes, WorkerError>;

/// Says what the test says, in the next call.
#[derive(Default)]
struct Fake(Mutex<Option<mpsc::Receiver<Said>>>);

#[async_trait]
impl Worker for Fake {
    async fn invoke(&self, _calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        Vec::new()
    }

    async fn stream(&self, _call: Call) -> Result<StreamedReply, WorkerError> {
        let parts = self.0.lock().unwrap().take();
        let gone = || WorkerError::Gone { reason: "exit 137".to_owned() };
        let parts = parts.ok_or_else(gone)?.boxed();
        let content_type = Some("text/csv".to_owned());
        Ok(StreamedReply {
            content_type,
            custom_attributes: Some("a=1".to_owned()),
            session: None,
            parts,
        })
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn stop(&self, _deadline: Instant) {}
}

/// An endpoint with one worker, and all that a door has beside it.
struct Bench {
    invoker: Invoker,
    instance: Arc<Instance>,
    worker: Arc<Fake>,
    meters: Meters,
    registry: Registry,
    _routes: RoutesSender,
}

fn target() -> Target {
    Target {
        region: Region::new("r"),
        endpoint: "e".parse().unwrap(),
        variant: None,
        is_asynchronous: false,
    }
}

impl Bench {
    fn new() -> Self {
        let worker = Arc::new(Fake::default());
        let limits = Limits { waiting: 8, bytes: 1 << 20 };
        let instance = Instance::new("i-0".to_owned(), worker.clone(), limits);
        let variant = VariantRoute::new("v", "c".into(), vec![instance.clone()]);
        let route = EndpointRoute {
            region: Region::new("r"),
            name: "e".parse().unwrap(),
            closed: None,
            asynchronous: None,
            variants: vec![variant],
        };
        let mut table = RouteTable::default();
        table.insert(Arc::new(route));
        let (_routes, routes) = route::channel(table);
        let invoker = Invoker {
            routes,
            account: AccountId("1".into()),
            chance: || 0.0,
            turns: Arc::default(),
            sessions: Sessions::default(),
            retries: Retries::default(),
            beside: Beside::default(),
        };
        let registry = Registry::default();
        let meters = Meters::new(registry.clone());
        Self { invoker, instance, worker, meters, registry, _routes }
    }

    /// What the worker says to the next call; room for two parts.
    fn tell(&self) -> mpsc::Sender<Said> {
        let (sender, parts) = mpsc::channel(1);
        *self.worker.0.lock().unwrap() = Some(parts);
        sender
    }

    async fn ask(&self) -> Result<Streamed, InvokeError> {
        let call = Call {
            payload: Payload { content_type: None, body: Bytes::from_static(b"x") },
            accept: None,
            headers: Vec::new(),
            target_model: None,
            target_container: None,
            request_id: "id".into(),
            deadline: Instant::now() + Duration::from_secs(60),
        };
        self.invoker.stream(&target(), call).await
    }

    /// The body of a reply that begins.
    async fn begin(&self) -> Frames {
        let streamed = self.ask().await.unwrap();
        let variant = VariantId { name: "v".into(), config: "c".into() };
        let place = (&variant, &*streamed.instance);
        let meter = self.meters.streamed(&target(), place, &Spent::default());
        Frames::new(streamed.outcome.unwrap().parts, meter, None)
    }

    fn counts(&self, name: &str) -> bool {
        let line = format!("{name}{{region=\"r\",endpoint=\"e\",variant=\"v\",config=\"c\"}} 1");
        self.registry.render().contains(&line)
    }
}

fn say(text: &'static str) -> Said {
    Ok(Bytes::from(text))
}

/// What goes out next; nothing if all that there is has gone out.
fn next(frames: &mut Frames) -> Option<Vec<Message>> {
    let frame = frames.frame().now_or_never()??.unwrap();
    Some(read(&frame.into_data().unwrap()))
}

fn payloads(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.payload).unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_part_goes_out_when_it_is_there_and_with_those_that_are_there_too() {
    let bench = Bench::new();
    let mut model = bench.tell();
    model.try_send(say("a")).unwrap();
    let mut frames = bench.begin().await;
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["a"]);
    assert!(next(&mut frames).is_none());
    model.try_send(say("b")).unwrap();
    model.try_send(say("c")).unwrap();
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["b", "c"]);
    assert_eq!(bench.instance.outstanding(), 1);
    model.try_send(say("d")).unwrap();
    drop(model);
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["d"]);
    assert_eq!(bench.instance.outstanding(), 0);
    assert!(frames.frame().await.is_none());
    drop(frames);
    assert!(bench.registry.render().contains("sagebrush_stream_parts_total"));
    assert!(!bench.counts("sagebrush_abandoned_streams_total"));
}

#[tokio::test(start_paused = true)]
async fn a_client_who_takes_nothing_stops_the_model() {
    let bench = Bench::new();
    let mut model = bench.tell();
    model.try_send(say("a")).unwrap();
    let mut frames = bench.begin().await;
    for _ in 0..2 {
        model.try_send(say("b")).unwrap();
    }
    assert!(model.try_send(say("b")).is_err(), "nobody takes it");
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["a", "b", "b"]);
    let large = Bytes::from(vec![b'x'; 16 << 10]);
    model.try_send(Ok(large)).unwrap();
    model.try_send(say("c")).unwrap();
    assert_eq!(next(&mut frames).unwrap().len(), 1, "it is enough for one write");
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_who_leaves_frees_the_place() {
    let bench = Bench::new();
    let mut model = bench.tell();
    model.try_send(say("a")).unwrap();
    let frames = bench.begin().await;
    drop(frames);
    assert!(model.is_closed());
    assert_eq!(bench.instance.outstanding(), 0);
    assert!(bench.counts("sagebrush_abandoned_streams_total"));
    assert!(!bench.counts("sagebrush_mid_stream_errors_total"));
}

#[tokio::test(start_paused = true)]
async fn what_fails_in_the_middle_ends_the_stream_in_words() {
    let check = async |said: WorkerError, kind: &str, wanted: &str| {
        let bench = Bench::new();
        let mut model = bench.tell();
        model.try_send(say("a")).unwrap();
        model.try_send(Err(said)).unwrap();
        let mut frames = bench.begin().await;
        let messages = next(&mut frames).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1].header(":exception-type"), kind);
        assert!(payloads(&messages)[1].contains(wanted), "{messages:?}");
        assert!(frames.frame().await.is_none());
        assert_eq!(bench.instance.outstanding(), 0);
        assert!(bench.counts("sagebrush_mid_stream_errors_total"));
    };
    let model =
        |status| WorkerError::Model { status, message: "oh \u{e4}".to_owned(), content_type: None };
    let at = |error| WorkerError::At { container: "second".into(), error: Box::new(error) };
    let words = "Received server error (500) from primary with message \\\"oh \u{e4}\\\"";
    check(model(500), "ModelStreamError", words).await;
    check(model(500), "ModelStreamError", "\"ErrorCode\":\"StreamBroken\"").await;
    check(at(model(400)), "ModelStreamError", "client error (400) from second").await;
    let late = "\"ErrorCode\":\"ModelInvocationTimeExceeded\"";
    check(WorkerError::TimedOut, "ModelStreamError", late).await;
    check(at(WorkerError::TimedOut), "ModelStreamError", late).await;
    let gone = WorkerError::Gone { reason: "why".to_owned() };
    check(gone, "ModelStreamError", "StreamBroken").await;
    let invalid = WorkerError::Invalid { message: "no".to_owned() };
    check(invalid, "InternalStreamFailure", "no").await;
}

#[tokio::test(start_paused = true)]
async fn a_model_that_takes_too_long_in_the_middle() {
    let bench = Bench::new();
    let mut model = bench.tell();
    model.try_send(say("a")).unwrap();
    let mut frames = bench.begin().await;
    assert_eq!(payloads(&next(&mut frames).unwrap()), ["a"]);
    let since = Instant::now();
    let last = read(&frames.frame().await.unwrap().unwrap().into_data().unwrap());
    assert_eq!(since.elapsed(), Duration::from_secs(60));
    assert!(payloads(&last)[0].contains("ModelInvocationTimeExceeded"));
    assert!(model.is_closed());
}

#[tokio::test(start_paused = true)]
async fn errors_before_the_first_part_are_the_calls() {
    let bench = Bench::new();
    let gone = bench.ask().await.unwrap().outcome.err().unwrap();
    assert!(gone.to_string().contains("exit 137"), "{gone}");
    let mut model = bench.tell();
    model.try_send(Err(WorkerError::bad_input("no number"))).unwrap();
    let refused = bench.ask().await.unwrap().outcome.err().unwrap();
    assert!(refused.to_string().contains("Received client error (400)"), "{refused}");
    assert_eq!(bench.instance.outstanding(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_head_says_what_the_model_said() {
    let bench = Bench::new();
    bench.tell().try_send(say("a")).unwrap();
    let reply = bench.ask().await.unwrap().outcome.unwrap();
    let head = parted((), &reply, "v", &"id".into(), &Spent::default());
    let said = |name: &str| head.headers().get(name).unwrap().to_str().unwrap();
    assert_eq!(said("content-type"), "application/vnd.amazon.eventstream");
    assert_eq!(said("x-amzn-sagemaker-content-type"), "text/csv");
    assert_eq!(said("x-amzn-sagemaker-custom-attributes"), "a=1");
    assert_eq!(said("x-amzn-invoked-production-variant"), "v");
    assert!(said("server-timing").contains("total"));
}
