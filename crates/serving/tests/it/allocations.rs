//! What data capture and samples add to the way of a call, counted in allocations of its thread.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::cloudwatch::MemoryMetrics;
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use sagebrush_core::route::{self, EndpointRoute, RouteTable, VariantRoute};
use sagebrush_core::sample::Sample;
use sagebrush_core::worker::{Call, Payload, Reply, Timings, Worker, WorkerError};
use sagebrush_core::{AccountId, Region, SystemClock};
use sagebrush_serving::capture::{self, Space};
use sagebrush_serving::invoke::{Invoker, Target};
use sagebrush_serving::{Beside, Capture};
use tokio::time::Instant;

struct Echo;

#[async_trait]
impl Worker for Echo {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let reply = |call: Call| Reply {
            payload: call.payload,
            custom_attributes: None,
            session: None,
            timings: Timings::default(),
        };
        calls.into_iter().map(|call| Ok(reply(call))).collect()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn stop(&self, _deadline: Instant) {}
}

struct NoObjects;

#[async_trait]
impl ObjectStore for NoObjects {
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
        _content_type: Option<&str>,
        _body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        Err(ObjectError::NoSuchBucket(at.bucket.clone()))
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

struct Plenty;

impl Space for Plenty {
    fn free(&self) -> Option<u64> {
        None
    }
}

fn config(percentage: u8) -> Arc<CaptureConfig> {
    Arc::new(CaptureConfig {
        is_enabled: true,
        percentage,
        destination: "s3://b/p".to_owned(),
        input: true,
        output: true,
        csv_types: vec!["text/csv".to_owned()],
        json_types: Vec::new(),
        kms_key: None,
    })
}

fn call(body: Bytes) -> Call {
    Call {
        payload: Payload { content_type: Some("text/csv".to_owned()), body },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "id".into(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

/// Calls that are counted together.
const N_CALLS: u64 = 20;

/// The allocations of a call, and their bytes, where the route captures so.
fn cost(capture: Option<Arc<CaptureConfig>>, body: &Bytes) -> (u64, u64) {
    cost_of(capture, None, body)
}

/// As [`cost`], where calls are kept in `sample`.
fn cost_of(
    capture: Option<Arc<CaptureConfig>>,
    sample: Option<Arc<Sample>>,
    body: &Bytes,
) -> (u64, u64) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let _inside = runtime.enter();
    let limits = Limits { waiting: 8, bytes: 1 << 30 };
    let instances = vec![Instance::new("i-0".to_owned(), Arc::new(Echo), limits)];
    let mut table = RouteTable::default();
    table.insert(Arc::new(EndpointRoute {
        region: Region::new("r"),
        name: "e".parse().unwrap(),
        closed: None,
        asynchronous: None,
        variants: vec![VariantRoute {
            capture,
            sample,
            ..VariantRoute::new("v", "c".into(), instances)
        }],
    }));
    let (_table, routes) = route::channel(table);
    let parts = capture::Parts {
        objects: Arc::new(NoObjects),
        space: Arc::new(Plenty),
        clock: Arc::new(SystemClock),
        registry: Registry::default(),
        metrics: Arc::new(MemoryMetrics::default()),
    };
    let beside = Beside { capture: Some(Capture::start(parts)), shadows: None };
    let invoker = Invoker {
        routes,
        account: AccountId("1".into()),
        chance: || 0.5,
        turns: Arc::default(),
        sessions: sagebrush_serving::Sessions::default(),
        retries: sagebrush_serving::Retries::default(),
        beside,
    };
    let target = Target {
        region: Region::new("r"),
        endpoint: "e".parse().unwrap(),
        variant: None,
        is_asynchronous: false,
    };
    // The first ones make room that stays.
    let ask = async |calls: Vec<Call>| {
        for call in calls {
            invoker.invoke(&target, call).await.unwrap();
        }
    };
    let calls = |n: u64| (0..n).map(|_| call(body.clone())).collect();
    runtime.block_on(ask(calls(40)));
    let counted = calls(N_CALLS);
    let cost = allocation_counter::measure(|| runtime.block_on(ask(counted)));
    (cost.count_total / N_CALLS, cost.bytes_total / N_CALLS)
}

#[test]
fn a_call_pays_for_no_more_than_it_is() {
    let small = Bytes::from_static(b"1,2,3");
    let plain = cost(None, &small);
    assert_eq!(cost(Some(config(10)), &small), plain, "one that is not sampled");

    let (n, bytes) = cost(Some(config(100)), &small);
    println!("a call: {plain:?}; one that is captured: {:?}", (n, bytes));
    assert!(n <= plain.0 + 12, "{n} allocations, and {} without", plain.0);
    assert!(bytes <= plain.1 + 1024, "{bytes} bytes, and {} without", plain.1);

    let large = Bytes::from(vec![b'1'; 256 << 10]);
    let (_, of_large) = cost(Some(config(100)), &large);
    assert!(of_large < bytes + 1024, "payloads are not copied");
}

#[test]
fn a_call_that_is_not_kept_pays_nothing_for_samples() {
    let small = Bytes::from_static(b"1,2,3");
    let sample = Arc::new(Sample::default());
    assert_eq!(cost_of(None, Some(sample.clone()), &small), cost(None, &small));
    assert_eq!(sample.last().map(|call| call.payload.body), Some(small));

    let large = Bytes::from(vec![b'1'; sagebrush_core::sample::LONGEST + 1]);
    let unused = Arc::new(Sample::default());
    assert_eq!(cost_of(None, Some(unused.clone()), &large), cost(None, &large));
    assert!(unused.is_wanted() && unused.last().is_none(), "it is too long to be kept");
}
