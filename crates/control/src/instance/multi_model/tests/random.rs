//! Random calls, loads and overwrites: one at a time against a naive cache, and many at once
//! against what must always hold.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use sagebrush_core::task;
use tokio::time::sleep;

use super::{Container, SECOND, ask};

const ROOM: u64 = 100;

#[derive(Debug, Clone, Copy)]
enum Step {
    Call(usize),
    Write(usize, u64),
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let call = (0..6usize).prop_map(Step::Call);
    let write = (0..6usize, 5..60u64).prop_map(|(at, bytes)| Step::Write(at, bytes));
    proptest::collection::vec(prop_oneof![6 => call, 1 => write], 1..most)
}

fn target(at: usize) -> String {
    format!("m{at}.tar.gz")
}

fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// What a cache is, without a thought about time: models in the order of their last use.
#[derive(Default)]
struct Naive {
    models: Vec<(usize, String, u64)>,
    n_loads: usize,
}

impl Naive {
    fn call(&mut self, at: usize, version: String, bytes: u64) {
        let found = self.models.iter().position(|(_, name, _)| *name == version);
        if let Some(found) = found {
            let model = self.models.remove(found);
            self.models.push(model);
            return;
        }
        self.n_loads += 1;
        self.models.retain(|(other, ..)| *other != at);
        while !self.models.is_empty() && self.bytes() + bytes > ROOM {
            self.models.remove(0);
        }
        self.models.push((at, version, bytes));
    }

    fn bytes(&self) -> u64 {
        self.models.iter().map(|(_, _, bytes)| bytes).sum()
    }

    fn names(&self) -> BTreeSet<String> {
        self.models.iter().map(|(_, name, _)| name.clone()).collect()
    }
}

async fn one_at_a_time(steps: Vec<Step>) {
    let container = Container::with(ROOM);
    let mut naive = Naive::default();
    let mut sizes = [20, 30, 40, 50, 60, 120];
    let mut most = sizes;
    for (at, bytes) in sizes.iter().enumerate() {
        container.store.put(&target(at), *bytes);
    }
    for step in steps {
        match step {
            Step::Write(at, bytes) => {
                // A smaller one is expected to be as large as the one before at first.
                sizes[at] = bytes.max(most[at]);
                most[at] = sizes[at];
                container.store.put(&target(at), sizes[at]);
            }
            Step::Call(at) => {
                let name = container.ok(&target(at)).await;
                assert_eq!(name, container.store.version_of(&target(at)), "the newest answers");
                naive.call(at, name, sizes[at]);
                sleep(SECOND).await;
                assert_eq!(container.host.resident(), naive.names());
                assert_eq!(container.host.loads.lock().unwrap().len(), naive.n_loads);
            }
        }
    }
    assert_eq!(container.host.faults(), [""; 0]);
}

async fn many_at_once(steps: Vec<Step>, times: Vec<u64>, keeps_models: bool) {
    let environment = [("SAGEBRUSH_MODEL_CACHE_BYTES", "100")];
    let objects: Vec<(String, u64)> = (0..6).map(|at| (target(at), 10 + 8 * at as u64)).collect();
    let objects: Vec<_> = objects.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let container = Container::start(&environment, keeps_models, &objects);
    let time = |at: usize| Duration::from_millis(times[at % times.len()]);
    (0..6).for_each(|at| container.host.takes(&target(at), time(at)));
    *container.host.call_time.lock().unwrap() = time(6);
    *container.host.unload_time.lock().unwrap() = time(7);
    *container.store.fetch_time.lock().unwrap() = time(8);
    let mut calls = Vec::new();
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Write(at, _) => container.store.put(&target(at), 10 + 8 * at as u64),
            Step::Call(at) => {
                let (worker, name) = (container.worker.clone(), target(at));
                let known = container.store.version_of(&name);
                let asked = async move { (known, ask(&worker, &name, 600 * SECOND).await) };
                calls.push(task::spawn("call", asked));
            }
        }
        sleep(time(n + 8) / 4).await;
    }
    for call in calls {
        let (known, outcome) = call.await.unwrap();
        let n = |name: &str| name.rsplit('#').next().unwrap().parse::<u64>().unwrap();
        // Short loads and calls: room comes up in time for everyone.
        let answered = outcome.unwrap_or_else(|error| panic!("{error}"));
        assert!(n(&answered) >= n(&known), "{answered} is older than {known}");
    }
    sleep(10 * SECOND).await;
    assert_eq!(container.host.faults(), [""; 0]);
    assert!(container.host.peak() <= ROOM);
    assert_eq!(container.host.bytes(), sagebrush_core::worker::Worker::memory(&*container.worker));
    if !keeps_models {
        assert!(container.host.resident().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn it_does_as_a_naive_cache_does(steps in steps(60)) {
        paused(one_at_a_time(steps));
    }

    #[test]
    fn what_must_hold_holds(
        steps in steps(80),
        times in proptest::collection::vec(0..300u64, 12),
        keeps_models in any::<bool>(),
    ) {
        paused(many_at_once(steps, times, keeps_models));
    }
}
