//! What the metrics of a call cost it: `cargo bench --package sagebrush-serving`.

use std::hint::black_box;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sagebrush_core::instance::{Batch, Instance, Left, Limits};
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::VariantId;
use sagebrush_core::worker::{Call, Payload, Reply, Timings, Worker, WorkerError};
use sagebrush_core::{Region, ResourceName};
use sagebrush_serving::Meters;
use sagebrush_serving::invoke::{Invoked, Target};
use sagebrush_serving::reply::Spent;
use tokio::time::Instant;

/// Calls that are measured together.
const CALLS: u32 = 1_000_000;

/// A call counts itself, seven times, the size of its batch and why it left.
const METRICS: u32 = 10;

/// A worker that nobody asks.
struct Unasked;

#[async_trait]
impl Worker for Unasked {
    async fn invoke(&self, _calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        Vec::new()
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        1
    }

    async fn stop(&self, _deadline: Instant) {}
}

#[expect(clippy::print_stdout, reason = "its output")]
fn main() {
    let meters = Meters::new(Registry::default());
    let name: ResourceName = "an-endpoint".parse().unwrap_or_else(|_| unreachable!("a name"));
    let target = Target {
        region: Region::new("us-east-1"),
        endpoint: name,
        variant: None,
        is_asynchronous: false,
    };
    let variant = VariantId { name: Arc::from("AllTraffic"), config: Arc::from("a-config") };
    let spent = |n: u32| Spent {
        total: Duration::from_nanos(u64::from(40_000 + n % 9000)),
        model_latency: Duration::from_nanos(u64::from(9000 + n % 5000)),
        ..Spent::default()
    };
    let invoked = Invoked {
        variant,
        instance: Instance::new("i".to_owned(), Arc::new(Unasked), Limits { waiting: 1, bytes: 1 }),
        outcome: Ok(Reply {
            payload: Payload { content_type: None, body: Bytes::new() },
            custom_attributes: None,
            timings: Timings::default(),
            session: None,
        }),
        worker_died: false,
        was_retried: false,
        queued: Duration::ZERO,
        gathered: Duration::ZERO,
        batch: Batch { size: 1, left: Left::Idle, is_first: true },
        model_latency: Duration::ZERO,
        traced: None,
    };
    let count = |n: u32| meters.invoked(black_box(&target), black_box(&invoked), &spent(n));
    (0..CALLS).for_each(count); // The first has its metrics made.
    let began = Instant::now();
    let allocations = allocation_counter::measure(|| (0..CALLS).for_each(count));
    let call = began.elapsed() / CALLS;
    println!(
        "a call: {call:?} for {METRICS} metrics, {} allocations in {CALLS} calls",
        allocations.count_total
    );
    let n_threads = available_parallelism().map_or(1, NonZero::get);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| (0..CALLS).for_each(count));
        }
    });
    println!("a call on each of {n_threads} threads at once: {:?}", began.elapsed() / CALLS);
}
