//! A world of calls: what outlives a server, and servers in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use sagebrush_core::demand::Demand;
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::messages::{Message, PublishError, Publisher};
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use sagebrush_core::route::{
    self, AsyncConfig, EndpointRoute, RouteTable, RoutesSender, VariantRoute,
};
use sagebrush_core::store::{MetaStore, Page, Query, Record, RecordId, StoreError};
use sagebrush_core::trace::{MemorySpans, Tracer};
use sagebrush_core::worker::{Call, Reply, Timings, Worker, WorkerError};
use sagebrush_core::{AccountId, Clock, Region, Timestamp};
use sagebrush_store::{Flaky, MemoryStore};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::async_inference::accept::{Accepted, Refused};
use crate::async_inference::{AsyncInference, Carried, Parts};
use crate::beside::Beside;
use crate::invoke::{Invoker, Target};
use crate::{Retries, Sessions};

pub(super) const TOPIC: &str = "arn:aws:sns:r:123456789012:good";
pub(super) const ERROR_TOPIC: &str = "arn:aws:sns:r:123456789012:bad";

/// What a worker does with each call.
#[derive(Clone)]
pub(super) enum Does {
    Echo,
    Fail,
    /// So many calls; then it answers.
    Die(usize),
    Take(Duration),
}

pub(super) struct FakeWorker {
    does: Does,
    concurrency: usize,
    asked: AtomicUsize,
    pub(super) at_once: Mutex<(usize, usize)>,
}

#[async_trait]
impl Worker for FakeWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        {
            let mut at_once = self.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        let n_before = self.asked.fetch_add(1, Ordering::SeqCst);
        if let Does::Take(time) = &self.does {
            sleep(*time).await;
        }
        self.at_once.lock().unwrap().0 -= 1;
        let answer = |call: Call| match &self.does {
            Does::Fail => Err(WorkerError::bad_input("not that")),
            Does::Die(n) if n_before < *n => {
                Err(WorkerError::Died { message: "it is dead".to_owned(), once_more: true })
            }
            Does::Die(_) | Does::Echo | Does::Take(_) => Ok(Reply {
                payload: call.payload,
                custom_attributes: None,
                session: None,
                timings: Timings::default(),
            }),
        };
        calls.into_iter().map(answer).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    async fn stop(&self, _deadline: Instant) {}
}

pub(super) fn worker(does: Does, concurrency: usize) -> Arc<FakeWorker> {
    let (asked, at_once) = (AtomicUsize::new(0), Mutex::default());
    Arc::new(FakeWorker { does, concurrency, asked, at_once })
}

/// The time of day as far as the test has slept.
struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let since = i64::try_from(self.0.elapsed().as_millis()).unwrap();
        Timestamp(1_000_000 + since)
    }
}

/// Is cut after so many steps: whoever takes a further one waits forever.
pub(super) struct Power {
    left: AtomicUsize,
    /// True once somebody waits.
    pub(super) is_out: watch::Sender<bool>,
}

impl Power {
    pub(super) fn for_steps(n: usize) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(n), is_out: watch::Sender::new(false) })
    }

    async fn step(&self) {
        let take = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            self.is_out.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    /// Power for ever.
    pub(super) fn on() -> Arc<Self> {
        Self::for_steps(usize::MAX)
    }
}

/// Loses power before or after what it does.
struct Powered<T: ?Sized> {
    power: Arc<Power>,
    inner: Arc<T>,
}

macro_rules! powered {
    ($self:expr, $call:expr) => {{
        $self.power.step().await;
        let outcome = $call.await;
        $self.power.step().await;
        outcome
    }};
}

#[async_trait]
impl MetaStore for Powered<dyn MetaStore> {
    async fn get(&self, id: &RecordId) -> Result<Option<Record>, StoreError> {
        powered!(self, self.inner.get(id))
    }
    async fn put(&self, record: Record, expected: u64) -> Result<(), StoreError> {
        powered!(self, self.inner.put(record, expected))
    }
    async fn remove(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        powered!(self, self.inner.remove(id, expected))
    }
    async fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
        powered!(self, self.inner.list(kind, query))
    }
}

/// Objects in memory, in the bucket `b`; puts into `full` find no space.
pub(super) struct Objects {
    clock: Arc<dyn Clock>,
    by_uri: Mutex<BTreeMap<String, (ObjectMeta, Bytes)>>,
}

impl Objects {
    fn check(at: &ObjectRef) -> Result<(), ObjectError> {
        match at.bucket.as_str() {
            "b" | "full" => Ok(()),
            other => Err(ObjectError::NoSuchBucket(other.to_owned())),
        }
    }

    pub(super) fn add(&self, uri: &str, body: &str) {
        let at = ObjectRef::parse(uri).unwrap();
        let meta = ObjectMeta {
            key: at.key,
            size: body.len().try_into().unwrap(),
            etag: "e".to_owned(),
            modified_at: self.clock.now(),
            content_type: Some("text/plain".to_owned()),
        };
        let object = (meta, Bytes::copy_from_slice(body.as_bytes()));
        self.by_uri.lock().unwrap().insert(uri.to_owned(), object);
    }

    pub(super) fn text(&self, uri: &str) -> Option<String> {
        let objects = self.by_uri.lock().unwrap();
        objects.get(uri).map(|(_, body)| String::from_utf8(body.to_vec()).unwrap())
    }
}

#[async_trait]
impl ObjectStore for Powered<Objects> {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        Ok(self.get(at, None).await?.0)
    }

    async fn get(
        &self,
        at: &ObjectRef,
        _range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        self.power.step().await;
        Objects::check(at)?;
        let objects = self.inner.by_uri.lock().unwrap();
        let found = objects.get(&at.to_string()).cloned();
        let (meta, body) = found.ok_or_else(|| ObjectError::NoSuchKey(at.clone()))?;
        Ok((meta, stream::iter([Ok(body)]).boxed()))
    }

    async fn put(
        &self,
        at: &ObjectRef,
        content_type: Option<&str>,
        mut body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        self.power.step().await;
        Objects::check(at)?;
        if at.bucket == "full" {
            return Err(ObjectError::Full);
        }
        let mut bytes = BytesMut::new();
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part?);
        }
        let meta = ObjectMeta {
            key: at.key.clone(),
            size: bytes.len().try_into().unwrap(),
            etag: "e".to_owned(),
            modified_at: self.inner.clock.now(),
            content_type: content_type.map(str::to_owned),
        };
        let object = (meta.clone(), bytes.freeze());
        self.inner.by_uri.lock().unwrap().insert(at.to_string(), object);
        self.power.step().await;
        Ok(meta)
    }

    async fn delete(&self, _at: &ObjectRef) -> Result<(), ObjectError> {
        Err(ObjectError::Io(io::ErrorKind::Unsupported.into()))
    }

    async fn list(
        &self,
        _bucket: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        Err(ObjectError::Io(io::ErrorKind::Unsupported.into()))
    }

    fn changes(&self) -> u64 {
        0
    }
}

/// Messages by topic and id; a repeat of an id is dropped.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) taken: Mutex<BTreeMap<(String, String), String>>,
    pub(super) known: BTreeSet<&'static str>,
}

#[async_trait]
impl Publisher for Powered<Topics> {
    async fn publish(&self, topic_arn: &str, message: Message) -> Result<(), PublishError> {
        self.power.step().await;
        if !self.inner.known.contains(topic_arn) {
            return Err(PublishError::NoTopic(topic_arn.to_owned()));
        }
        let key = (topic_arn.to_owned(), message.id);
        self.inner.taken.lock().unwrap().entry(key).or_insert(message.body);
        self.power.step().await;
        Ok(())
    }
}

/// What outlives a server.
pub(super) struct World {
    pub(super) store: Arc<dyn MetaStore>,
    pub(super) objects: Arc<Objects>,
    pub(super) topics: Arc<Topics>,
    /// What is told of calls that come with a trace.
    pub(super) spans: Arc<MemorySpans>,
    tracer: Tracer,
    clock: Arc<dyn Clock>,
    folder: TempDir,
    pub(super) config: AsyncConfig,
}

/// A server, with the sender of its routes.
pub(super) struct Session {
    pub(super) asynchronous: AsyncInference,
    pub(super) routes: RoutesSender,
    pub(super) metrics: Registry,
    pub(super) log: Arc<MemoryLog>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()))
    }

    /// A world whose store fails every `n`-th time.
    pub(super) fn flaky(n: usize) -> Self {
        Self::over(Arc::new(Flaky::new(MemoryStore::new(), n)))
    }

    fn over(store: Arc<dyn MetaStore>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock(Instant::now()));
        let spans = Arc::new(MemorySpans::default());
        Self {
            store,
            objects: Arc::new(Objects { clock: clock.clone(), by_uri: Mutex::default() }),
            topics: Arc::new(Topics {
                known: BTreeSet::from([TOPIC, ERROR_TOPIC]),
                ..Topics::default()
            }),
            tracer: Tracer::new(0.0, || 7, clock.clone(), spans.clone()),
            spans,
            clock,
            folder: tempfile::tempdir().unwrap(),
            config: AsyncConfig {
                output_path: "s3://b/out".to_owned(),
                failure_path: Some("s3://b/failed".to_owned()),
                max_concurrent_per_instance: None,
                success_topic: Some(TOPIC.to_owned()),
                error_topic: Some(ERROR_TOPIC.to_owned()),
                success_has_response: true,
                error_has_response: false,
                role_arn: None,
            },
        }
    }

    /// Starts a server; `None` if the power is out before it is there.
    pub(super) async fn start(
        &self,
        power: &Arc<Power>,
        workers: &[Arc<FakeWorker>],
    ) -> Option<Session> {
        let (sender, routes) = route::channel(RouteTable::default());
        let invoker = Invoker {
            routes,
            account: AccountId("1".into()),
            chance: || 0.0,
            turns: Arc::default(),
            sessions: Sessions::default(),
            retries: Retries::default(),
            beside: Beside::default(),
        };
        let (metrics, log) = (Registry::default(), Arc::new(MemoryLog::default()));
        let power = || power.clone();
        let parts = Parts {
            store: Arc::new(Powered { power: power(), inner: self.store.clone() }),
            objects: Arc::new(Powered { power: power(), inner: self.objects.clone() }),
            authorizer: Arc::new(sagebrush_core::access::AllowAll),
            publisher: Arc::new(Powered { power: power(), inner: self.topics.clone() }),
            invoker,
            clock: self.clock.clone(),
            log: log.clone(),
            metrics: metrics.clone(),
            tracer: self.tracer.clone(),
            spool: self.folder.path().to_owned(),
        };
        let opened = timeout(Duration::from_secs(1), AsyncInference::open(parts)).await;
        let asynchronous = opened.ok()?.unwrap();
        sender.publish(self.table(workers, None));
        Some(Session { asynchronous, routes: sender, metrics, log })
    }

    /// A server that has power, and one worker.
    pub(super) async fn serve(&self, does: Does) -> Session {
        self.start(&Power::on(), &[worker(does, 1)]).await.unwrap()
    }

    pub(super) fn table(
        &self,
        workers: &[Arc<FakeWorker>],
        demand: Option<Arc<Demand>>,
    ) -> Arc<RouteTable> {
        let instance = |worker: &Arc<FakeWorker>| {
            let limits = Limits { waiting: 1000, bytes: 1 << 20 };
            Instance::new("i-0".to_owned(), worker.clone(), limits)
        };
        let mut table = RouteTable::default();
        table.insert(Arc::new(EndpointRoute {
            region: Region::new("r"),
            name: "e".parse().unwrap(),
            closed: None,
            asynchronous: Some(Arc::new(self.config.clone())),
            variants: vec![VariantRoute {
                demand,
                ..VariantRoute::new("v", "c".into(), workers.iter().map(instance).collect())
            }],
        }));
        Arc::new(table)
    }

    pub(super) async fn rows(&self) -> usize {
        loop {
            // A flaky store may say no.
            if let Ok(page) = self.store.list("async-call", &Query::default()).await {
                return page.records.len();
            }
        }
    }

    /// Returns when no call is left.
    pub(super) async fn is_quiet(&self) {
        let quiet = async {
            while self.rows().await > 0 {
                sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(Duration::from_secs(100_000), quiet).await.unwrap();
    }

    /// How many results and notifications a call has.
    pub(super) fn told(&self, accepted: &Accepted) -> (usize, usize) {
        let places = [&accepted.output_location, &accepted.failure_location];
        let n_results = places.iter().filter(|at| self.objects.text(at).is_some()).count();
        let named = format!("\"inferenceId\":\"{}\"", accepted.inference_id);
        let taken = self.topics.taken.lock().unwrap();
        (n_results, taken.values().filter(|body| body.contains(&named)).count())
    }
}

impl Session {
    pub(super) async fn accept(
        &self,
        headers: &[(&'static str, &str)],
    ) -> Result<Accepted, Refused> {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        let headers: HeaderMap = headers.collect();
        let has_object = headers.contains_key("x-amzn-sagemaker-inputlocation");
        let body = if has_object { Bytes::new() } else { Bytes::from_static(b"1,2") };
        let target = Target {
            region: Region::new("r"),
            endpoint: "e".parse().unwrap(),
            variant: None,
            is_asynchronous: true,
        };
        let carried = Carried::passing(&headers);
        self.asynchronous.accept(&target, &headers, body, carried).await
    }
}
