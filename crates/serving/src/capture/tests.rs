//! Calls that are kept, over an object store in memory. Time stands still unless awaited.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::cloudwatch::MemoryMetrics;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use sagebrush_core::worker::{Call, Payload};
use sagebrush_core::{Region, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use super::{Body, Capture, Captured, Gathering, Parts, Place, QUEUE, Space};
use crate::error::StreamError;
use crate::invoke::Target;
use crate::room::Room;

/// 2022-02-14T17:25:49.037Z.
const AT: Timestamp = Timestamp(1_644_859_549_037);

/// Objects by their URI; the first puts fail.
#[derive(Default)]
pub(crate) struct Objects {
    by_uri: Mutex<BTreeMap<String, String>>,
    failures: AtomicUsize,
}

#[async_trait]
impl ObjectStore for Objects {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        Err(ObjectError::NoSuchKey(at.clone()))
    }

    async fn get(
        &self,
        at: &ObjectRef,
        _range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        Err(ObjectError::NoSuchKey(at.clone()))
    }

    async fn put(
        &self,
        at: &ObjectRef,
        content_type: Option<&str>,
        mut body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        if at.bucket == "missing" {
            return Err(ObjectError::NoSuchBucket(at.bucket.clone()));
        }
        let fail = self
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fail.is_ok() {
            return Err(io::Error::other("broken").into());
        }
        let mut text = String::new();
        while let Some(part) = body.next().await {
            text.push_str(std::str::from_utf8(&part?).unwrap());
        }
        self.by_uri.lock().unwrap().insert(at.to_string(), text);
        Ok(ObjectMeta {
            key: at.key.clone(),
            size: 0,
            etag: String::new(),
            modified_at: AT,
            content_type: content_type.map(str::to_owned),
        })
    }

    async fn delete(&self, _at: &ObjectRef) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn list(
        &self,
        _bucket: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        Ok(Vec::new())
    }

    fn changes(&self) -> u64 {
        0
    }
}

struct Free(AtomicU64);

impl Space for Free {
    fn free(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) fn config() -> CaptureConfig {
    CaptureConfig {
        is_enabled: true,
        percentage: 100,
        destination: "s3://b/p".to_owned(),
        input: true,
        output: true,
        csv_types: vec!["text/csv".to_owned()],
        json_types: vec!["application/json".to_owned()],
        kms_key: None,
    }
}

pub(super) fn place() -> Place {
    Place { region: Region::new("r"), endpoint: "e".parse().unwrap(), variant: "v".to_owned() }
}

pub(super) fn captured(at: Timestamp) -> Captured {
    Captured {
        place: place(),
        config: Arc::new(config()),
        at,
        input: Some(Body { content_type: None, parts: vec![Bytes::from_static(b"x")] }),
        output: None,
        inference_id: None,
        custom_attributes: None,
        taken: None,
    }
}

pub(crate) struct World {
    pub(crate) objects: Arc<Objects>,
    free: Arc<Free>,
    clock: Arc<FakeClock>,
    pub(crate) registry: Registry,
    metrics: Arc<MemoryMetrics>,
    pub(crate) capture: Capture,
}

impl World {
    pub(crate) fn new() -> Self {
        let objects = Arc::new(Objects::default());
        let free = Arc::new(Free(AtomicU64::new(u64::MAX)));
        let clock = Arc::new(FakeClock::at(AT));
        let (registry, metrics) = (Registry::default(), Arc::new(MemoryMetrics::default()));
        let capture = Capture::start(Parts {
            objects: objects.clone(),
            space: free.clone(),
            clock: clock.clone(),
            registry: registry.clone(),
            metrics: metrics.clone(),
        });
        Self { objects, free, clock, registry, metrics, capture }
    }

    /// Offers a call with this input and output.
    fn offer(&self, config: &Arc<CaptureConfig>, input: &'static [u8], output: &'static [u8]) {
        if let Some(record) = self.capture.record(config, &target(), "v", &call(input)) {
            self.capture.answered(record, &payload(output));
        }
    }

    async fn flush(&self) {
        self.capture.flush(Duration::from_secs(60)).await;
    }

    /// All lines, by object.
    pub(crate) fn lines(&self) -> Vec<(String, Vec<Value>)> {
        let objects = self.objects.by_uri.lock().unwrap();
        let read =
            |text: &String| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        objects.iter().map(|(uri, text)| (uri.clone(), read(text))).collect()
    }

    fn n_lines(&self) -> usize {
        self.lines().iter().map(|(_, lines)| lines.len()).sum()
    }

    fn dropped(&self, why: &str) -> u64 {
        let text = self.registry.render();
        let series = "sagebrush_capture_dropped_total{region=\"r\",endpoint=\"e\",variant=\"v\"";
        let start = format!("{series},reason=\"{why}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |n| n.parse().unwrap())
    }

    /// What CloudWatch was told.
    fn told(&self) -> f64 {
        let data = self.metrics.data();
        assert!(data.iter().all(|(_, datum)| &*datum.metric.name == "DataCaptureDropped"));
        data.iter().map(|(_, datum)| datum.values.sum()).sum()
    }
}

fn target() -> Target {
    Target {
        region: Region::new("r"),
        endpoint: "e".parse().unwrap(),
        variant: None,
        is_asynchronous: false,
    }
}

fn payload(body: &'static [u8]) -> Payload {
    Payload { content_type: Some("text/csv".to_owned()), body: body.into() }
}

fn call(body: &'static [u8]) -> Call {
    Call {
        payload: payload(body),
        accept: None,
        headers: vec![("x-amzn-sagemaker-inference-id", "i-7".to_owned())],
        target_model: None,
        target_container: None,
        request_id: "id".into(),
        deadline: Instant::now(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_an_object_within_five_seconds() {
    let world = World::new();
    let config = Arc::new(config());
    world.offer(&config, b"1", b"2");
    world.offer(&config, b"3", b"4");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.n_lines(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lines = world.lines();
    let [(uri, lines)] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(uri.starts_with("s3://b/p/e/v/2022/02/14/17/25-49-037-"), "{uri}");
    let data = |n: usize, side: &str| lines[n]["captureData"][side]["data"].clone();
    assert_eq!((data(0, "endpointInput"), data(0, "endpointOutput")), ("1".into(), "2".into()));
    assert_eq!((data(1, "endpointInput"), data(1, "endpointOutput")), ("3".into(), "4".into()));
    assert_eq!(lines[0]["eventMetadata"]["inferenceId"], "i-7");
    assert_ne!(lines[0]["eventMetadata"]["eventId"], lines[1]["eventMetadata"]["eventId"]);
}

#[tokio::test(start_paused = true)]
async fn an_hour_an_object_and_only_what_is_asked_for() {
    let world = World::new();
    let only_output = CaptureConfig { input: false, ..config() };
    world.offer(&Arc::new(only_output), b"1", b"2");
    world.clock.advance(Duration::from_secs(3600));
    let only_input = CaptureConfig { output: false, ..config() };
    world.offer(&Arc::new(only_input), b"3", b"4");
    world.flush().await;
    let lines = world.lines();
    assert!(lines[0].0.contains("/17/25-49-037-") && lines[1].0.contains("/18/25-49-037-"));
    let sides = |n: usize| {
        let data = lines[n].1[0]["captureData"].as_object().unwrap();
        data.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!((sides(0), sides(1)), (vec!["endpointOutput".into()], vec!["endpointInput".into()]));
}

#[tokio::test(start_paused = true)]
async fn more_than_can_be_written_is_dropped_and_counted() {
    let world = World::new();
    let config = Arc::new(config());
    for _ in 0..QUEUE + 10 {
        world.offer(&config, b"1", b"2"); // The writer has no turn meanwhile.
    }
    assert_eq!(world.dropped("full"), 10);
    world.flush().await;
    assert_eq!((world.n_lines(), world.told()), (QUEUE, 10.0));
    world.offer(&config, b"1", b"2");
    world.flush().await;
    assert_eq!(world.n_lines(), QUEUE + 1, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn payloads_have_bounded_room() {
    static LARGE: [u8; 60] = [b'1'; 60];
    let mut world = World::new();
    world.capture.room = Room::new(100);
    let config = Arc::new(config());
    world.offer(&config, &LARGE, b"2");
    world.offer(&config, &LARGE, b"2");
    assert_eq!(world.dropped("full"), 1);
    world.flush().await;
    world.offer(&config, b"1", &LARGE);
    world.flush().await;
    assert_eq!((world.n_lines(), world.dropped("full")), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_nearly_full_gets_nothing_more() {
    let world = World::new();
    let config = Arc::new(config());
    world.free.0.store(1 << 20, Ordering::SeqCst);
    world.offer(&config, b"1", b"2");
    world.flush().await;
    assert_eq!((world.n_lines(), world.dropped("disk"), world.told()), (0, 1, 1.0));
    world.free.0.store(u64::MAX, Ordering::SeqCst);
    world.offer(&config, b"1", b"2");
    world.flush().await;
    assert_eq!((world.n_lines(), world.dropped("disk")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn puts_are_tried_again_but_not_for_ever() {
    let world = World::new();
    let good = Arc::new(config());
    for (failures, n_lines, dropped) in [(2, 1, 0), (3, 1, 1)] {
        world.objects.failures.store(failures, Ordering::SeqCst);
        world.offer(&good, b"1", b"2");
        world.flush().await;
        assert_eq!((world.n_lines(), world.dropped("put")), (n_lines, dropped));
    }
    let missing = CaptureConfig { destination: "s3://missing/p".to_owned(), ..config() };
    world.offer(&Arc::new(missing), b"1", b"2");
    world.flush().await;
    assert_eq!((world.n_lines(), world.dropped("put")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_reply_in_parts_is_kept_when_it_is_over() {
    static PART: [u8; 3 << 20] = [b'7'; 3 << 20];
    let world = World::new();
    let config = Arc::new(config());
    let part = |text: &'static [u8]| Ok(Bytes::from_static(text));
    let broken = || Err(StreamError::Internal { message: "broken".to_owned() });
    for (parts, n_lines, n_long) in [
        (vec![part(b"0."), part(b"7")], 1, 0),
        (vec![part(b"0."), broken()], 1, 0),
        (vec![part(&PART), part(&PART), part(b"7")], 1, 1),
    ] {
        let mut record = world.capture.record(&config, &target(), "v", &call(b"1")).unwrap();
        record.begin_output(Some("text/csv".to_owned()));
        let parts = stream::iter(parts.clone()).boxed();
        let n_parts = Gathering::new(parts, world.capture.clone(), record).count().await;
        assert!(n_parts >= 2, "all parts go on");
        world.flush().await;
        assert_eq!((world.n_lines(), world.dropped("long")), (n_lines, n_long));
    }
    let lines = world.lines();
    assert_eq!(lines[0].1[0]["captureData"]["endpointOutput"]["data"], "0.7");
}
