//! Who leaves when memory is needed.

use futures::StreamExt as _;
use sagebrush_core::worker::{LoadError, Usage, Worker as _, WorkerError};
use tokio::time::Instant;

use super::{Container, SECOND, call};

const NONE: [&str; 0] = [];

fn three(container: &Container) {
    for target in ["a", "b", "c"] {
        container.store.put(target, 40);
    }
}

#[tokio::test(start_paused = true)]
async fn the_model_used_longest_ago_leaves_first() {
    let container = Container::with(100);
    three(&container);
    *container.host.unload_time.lock().unwrap() = SECOND;
    for target in ["a", "b", "a", "c"] {
        container.ok(target).await;
    }
    assert_eq!(container.targets(), ["a", "c"]);
    assert_eq!(container.host.peak(), 80, "the room counts as free after the unload");
}

#[tokio::test(start_paused = true)]
async fn it_takes_what_its_models_take_and_what_those_computed_that_are_gone() {
    let container = Container::with(100);
    three(&container);
    let check = |seconds: u32, memory_bytes| {
        let wanted = Usage { cpu: seconds * SECOND, memory_bytes };
        assert_eq!(container.worker.usage(), Some(wanted));
    };
    assert_eq!(container.worker.usage(), None, "no model has told it yet");
    for target in ["a", "b", "a"] {
        container.ok(target).await;
    }
    check(3, 80);
    container.ok("c").await;
    assert_eq!(container.targets(), ["a", "c"]);
    check(4, 80);
}

#[tokio::test(start_paused = true)]
async fn a_cap_on_the_number_of_models() {
    let container = Container::start(&[("SAGEBRUSH_MODEL_CACHE_MODELS", "2")], true, &[]);
    three(&container);
    for target in ["a", "b", "c"] {
        container.ok(target).await;
    }
    assert_eq!(container.targets(), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_in_use_stays_and_the_newcomer_waits() {
    let container = Container::with(100);
    three(&container);
    *container.host.call_time.lock().unwrap() = 10 * SECOND;
    let (a, b) = (container.spawn("a"), container.spawn("b"));
    tokio::time::sleep(SECOND).await;
    let began = Instant::now();
    container.ok("c").await;
    assert_eq!(began.elapsed(), 19 * SECOND, "9 s until one is idle, 10 s for the call");
    assert!(a.await.unwrap().is_ok() && b.await.unwrap().is_ok());
    assert_eq!(container.host.faults(), NONE);
    assert!(container.host.peak() <= 100);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_answers_in_parts_is_in_use_until_the_last() {
    let container = Container::with(60);
    three(&container);
    for is_read in [true, false] {
        let call = call("a", 100 * SECOND);
        let mut parts = container.worker.stream(call).await.unwrap().parts;
        assert!(parts.next().await.unwrap().is_ok());
        let waits = container.spawn("b");
        tokio::time::sleep(SECOND).await;
        assert_eq!(container.targets(), ["a"]);
        if is_read {
            assert!(parts.next().await.is_none());
        } else {
            drop(parts);
        }
        assert!(waits.await.unwrap().is_ok());
        assert_eq!(container.targets(), ["b"]);
    }
    assert_eq!(container.host.faults(), NONE);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_for_60_seconds_is_not_ready() {
    let container = Container::with(100);
    three(&container);
    *container.host.call_time.lock().unwrap() = 90 * SECOND;
    let (a, b) = (container.spawn("a"), container.spawn("b"));
    tokio::time::sleep(SECOND).await;
    let began = Instant::now();
    let error = container.ask("c").await.unwrap_err();
    assert!(matches!(error, WorkerError::NotReady { .. }), "{error}");
    assert_eq!(began.elapsed(), 60 * SECOND);
    assert!(a.await.unwrap().is_ok() && b.await.unwrap().is_ok());
    *container.host.call_time.lock().unwrap() = SECOND;
    container.ok("c").await;
}

#[tokio::test(start_paused = true)]
async fn a_host_without_room_has_the_least_used_leave() {
    let container = Container::with(1000);
    three(&container);
    *container.host.capacity.lock().unwrap() = Some(100);
    for target in ["a", "b", "c"] {
        container.ok(target).await;
    }
    assert_eq!(container.targets(), ["b", "c"]);
    assert_eq!(container.host.n_loads("c"), 2, "refused once");
}

#[tokio::test(start_paused = true)]
async fn a_host_without_room_whose_models_are_in_use() {
    let container = Container::with(1000);
    three(&container);
    *container.host.capacity.lock().unwrap() = Some(100);
    *container.host.call_time.lock().unwrap() = 10 * SECOND;
    let (a, b) = (container.spawn("a"), container.spawn("b"));
    tokio::time::sleep(SECOND).await;
    container.ok("c").await;
    assert!(a.await.unwrap().is_ok() && b.await.unwrap().is_ok());
    assert_eq!(container.host.faults(), NONE);
    *container.host.call_time.lock().unwrap() = 90 * SECOND;
    let (b, c) = (container.spawn("b"), container.spawn("c"));
    tokio::time::sleep(SECOND).await;
    let error = container.ask("a").await.unwrap_err();
    assert!(matches!(error, WorkerError::NotReady { .. }), "{error}");
    assert!(b.await.unwrap().is_ok() && c.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_model_larger_than_all_memory() {
    let container = Container::with(100);
    container.store.put("a", 40);
    container.store.put("huge", 400);
    container.ok("a").await;
    container.ok("huge").await;
    assert_eq!(container.targets(), ["huge"], "alone it may try");
    container.store.put("more", 500);
    let refusals = vec![LoadError::NoRoom, LoadError::NoRoom];
    container.host.refusals.lock().unwrap().insert("more".to_owned(), refusals);
    let began = Instant::now();
    let error = container.ask("more").await.unwrap_err();
    assert!(error.to_string().contains("no memory for it, although no other"), "{error}");
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn pinned_models_are_loaded_at_the_start_and_stay() {
    let environment = [("SAGEBRUSH_MODEL_CACHE_BYTES", "100"), ("SAGEBRUSH_PINNED_MODELS", "a")];
    let objects = [("a", 40), ("b", 40), ("c", 40)];
    let container = Container::start(&environment, true, &objects);
    tokio::time::sleep(SECOND).await;
    assert_eq!(container.targets(), ["a"]);
    for target in ["b", "c", "b", "c"] {
        container.ok(target).await;
    }
    assert_eq!(container.targets(), ["a", "c"]);
    container.store.put("a", 40);
    assert_eq!(container.ok("a").await, container.store.version_of("a"));
    assert_eq!(container.host.n_loads("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_cache_a_model_leaves_after_its_calls() {
    let container = Container::start(&[], false, &[("a", 40)]);
    *container.host.call_time.lock().unwrap() = SECOND;
    let (one, two) = (container.spawn("a"), container.spawn("a"));
    assert!(one.await.unwrap().is_ok() && two.await.unwrap().is_ok());
    tokio::time::sleep(SECOND).await;
    assert_eq!(container.host.n_loads("a"), 1, "both used it at once");
    assert!(container.host.resident().is_empty());
    container.ok("a").await;
    assert_eq!(container.host.n_loads("a"), 2);
    assert_eq!(container.host.faults(), NONE);
}
