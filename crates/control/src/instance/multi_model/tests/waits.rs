//! Who waits for a model, and for how long.

use sagebrush_core::worker::WorkerError;
use tokio::time::Instant;

use super::{Container, SECOND, ask};

fn is_not_ready<T: std::fmt::Debug>(outcome: &Result<T, WorkerError>) -> bool {
    matches!(outcome, Err(WorkerError::NotReady { .. }))
}

#[tokio::test(start_paused = true)]
async fn many_first_calls_are_one_load() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.takes("a.tar.gz", SECOND);
    let calls: Vec<_> = (0..100).map(|_| container.spawn("a.tar.gz")).collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(container.host.n_loads("a.tar.gz"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_goes_on_when_its_calls_have_given_up() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.takes("a.tar.gz", 150 * SECOND);
    let began = Instant::now();
    assert!(is_not_ready(&container.ask("a.tar.gz").await));
    assert_eq!(began.elapsed(), 60 * SECOND);
    let outcome = ask(&container.worker, "a.tar.gz", 10 * SECOND).await;
    assert!(is_not_ready(&outcome), "{outcome:?}");
    assert!(began.elapsed() < 70 * SECOND, "it answers before its deadline");
    tokio::time::sleep(81 * SECOND).await;
    let began = Instant::now();
    container.ok("a.tar.gz").await;
    assert!(began.elapsed() < SECOND);
    assert_eq!(container.host.n_loads("a.tar.gz"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_is_given_up_after_360_seconds() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.takes("a.tar.gz", 1000 * SECOND);
    assert!(is_not_ready(&container.ask("a.tar.gz").await));
    tokio::time::sleep(299 * SECOND).await;
    let error = container.ask("a.tar.gz").await.unwrap_err();
    assert!(error.to_string().contains("not loaded within 360 seconds"), "{error}");
    container.host.takes("a.tar.gz", SECOND);
    tokio::time::sleep(2 * SECOND).await;
    container.ok("a.tar.gz").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_load_does_not_delay_other_models() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.store.put("b.tar.gz", 10);
    container.ok("b.tar.gz").await;
    container.host.takes("a.tar.gz", 30 * SECOND);
    // More than may wait for one model: the rest is told so at once.
    let slow: Vec<_> = (0..150).map(|_| container.spawn("a.tar.gz")).collect();
    let began = Instant::now();
    for _ in 0..20 {
        container.ok("b.tar.gz").await;
    }
    assert!(began.elapsed() < SECOND);
    let mut n_turned_away = 0;
    for call in slow {
        n_turned_away += usize::from(is_not_ready(&call.await.unwrap()));
    }
    assert_eq!(n_turned_away, 150 - 128);
}

#[tokio::test(start_paused = true)]
async fn a_failed_load_is_told_to_all_who_wait() {
    let container = Container::with(100);
    container.store.put("a.tar.gz", 10);
    container.host.takes("a.tar.gz", SECOND);
    let refusals = vec![super::broken()];
    container.host.refusals.lock().unwrap().insert("a.tar.gz".to_owned(), refusals);
    let calls: Vec<_> = (0..10).map(|_| container.spawn("a.tar.gz")).collect();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, WorkerError::Model { status: 500, .. }), "{error}");
    }
    assert_eq!(container.host.n_loads("a.tar.gz"), 1);
}
