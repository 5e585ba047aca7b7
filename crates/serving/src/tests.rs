//! Calls through the invoker, over workers that do as they are told. Time stands still unless
//! awaited.

mod beside;
mod demand;
mod metering;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use sagebrush_core::instance::{Instance, Limits};
use sagebrush_core::route::{
    self, EndpointRoute, RouteTable, RoutesSender, Routing, Targets, VariantRoute,
};
use sagebrush_core::worker::{Call, Payload, Reply, Timings, Worker, WorkerError};
use sagebrush_core::{AccountId, Region, ResourceName, task};
use tokio::time::Instant;

use crate::beside::Beside;
use crate::choose::{Turns, choose_instance, choose_variant};
use crate::error::InvokeError;
use crate::invoke::{Invoked, Invoker, Target};
use crate::reply::Spent;
use crate::{Retries, Sessions};

/// What a worker does with each call.
#[derive(Clone)]
pub(crate) enum Does {
    Echo,
    Fail(WorkerError),
    Take(Duration),
    /// With so many bytes.
    Answer(usize),
}

struct Fake(Does);

#[async_trait]
impl Worker for Fake {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        match &self.0 {
            Does::Echo | Does::Answer(_) => {}
            Does::Fail(error) => return calls.iter().map(|_| Err(error.clone())).collect(),
            Does::Take(time) => tokio::time::sleep(*time).await,
        }
        let payload = |call: Call| match &self.0 {
            Does::Answer(n) => Payload { content_type: None, body: Bytes::from(vec![0; *n]) },
            Does::Echo | Does::Fail(_) | Does::Take(_) => call.payload,
        };
        let reply = |call: Call| Reply {
            payload: payload(call),
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

/// An instance that holds so many calls, one of which its worker has.
pub(crate) fn instance(does: Does, max_outstanding: usize) -> Arc<Instance> {
    let limits = Limits { waiting: max_outstanding - 1, bytes: 1 << 20 };
    Instance::new("i-0".to_owned(), Arc::new(Fake(does)), limits)
}

fn table(
    variants: Vec<(&str, f32, Vec<Arc<Instance>>)>,
    closed: Option<&'static str>,
) -> Arc<RouteTable> {
    let variant = |(name, weight, instances): (&str, f32, Vec<Arc<Instance>>)| VariantRoute {
        weight,
        ..VariantRoute::new(name, "c".into(), instances)
    };
    let route = EndpointRoute {
        region: Region::new("r"),
        name: "e".parse().unwrap(),
        closed,
        asynchronous: None,
        variants: variants.into_iter().map(variant).collect(),
    };
    let mut table = RouteTable::default();
    table.insert(Arc::new(route));
    Arc::new(table)
}

fn one(instance: &Arc<Instance>) -> Arc<RouteTable> {
    table(vec![("v", 1.0, vec![instance.clone()])], None)
}

/// An invoker over `first`, and the sender of newer tables.
pub(crate) fn invoker(first: Arc<RouteTable>) -> (Invoker, RoutesSender) {
    let (sender, routes) = route::channel(first);
    (
        Invoker {
            routes,
            account: AccountId("1".into()),
            chance: || 0.0,
            turns: Arc::default(),
            sessions: Sessions::default(),
            retries: Retries::default(),
            beside: Beside::default(),
        },
        sender,
    )
}

pub(crate) fn target(endpoint: &str, variant: Option<&str>) -> Target {
    let endpoint: ResourceName = endpoint.parse().unwrap();
    let variant = variant.map(str::to_owned);
    Target { region: Region::new("r"), endpoint, variant, is_asynchronous: false }
}

pub(crate) fn call() -> Call {
    Call {
        payload: Payload { content_type: None, body: Bytes::from_static(b"x") },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "id".into(),
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

pub(crate) async fn ask(invoker: &Invoker) -> Result<Invoked, InvokeError> {
    invoker.invoke(&target("e", None), call()).await
}

/// A table with one variant that wants `targets` named.
fn targeted(targets: Targets, instances: Vec<Arc<Instance>>) -> Arc<RouteTable> {
    routed(VariantRoute { targets, ..VariantRoute::new("v", "c".into(), instances) })
}

/// A variant whose calls go where chance says.
fn random(instances: Vec<Arc<Instance>>) -> VariantRoute {
    let routing = Routing::Random;
    VariantRoute { routing, ..VariantRoute::new("v", "c".into(), instances) }
}

pub(crate) fn routed(variant: VariantRoute) -> Arc<RouteTable> {
    routes_of(vec![variant])
}

fn routes_of(variants: Vec<VariantRoute>) -> Arc<RouteTable> {
    let mut table = RouteTable::default();
    table.insert(Arc::new(EndpointRoute {
        region: Region::new("r"),
        name: "e".parse().unwrap(),
        closed: None,
        asynchronous: None,
        variants,
    }));
    Arc::new(table)
}

async fn model_error(error: WorkerError) -> (String, u16) {
    let (invoker, _routes) = invoker(one(&instance(Does::Fail(error), 8)));
    match ask(&invoker).await.unwrap().outcome {
        Err(InvokeError::Model { message, original_status, .. }) => (message, original_status),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_gets_its_reply() {
    let (invoker, _routes) = invoker(one(&instance(Does::Echo, 8)));
    let invoked = ask(&invoker).await.unwrap();
    assert_eq!(&*invoked.variant.name, "v");
    assert_eq!(invoked.outcome.unwrap().payload.body, "x");
}

#[tokio::test(start_paused = true)]
async fn targets_that_are_not_there() {
    let (invoker, routes) = invoker(one(&instance(Does::Echo, 8)));
    let unknown = invoker.invoke(&target("other", None), call()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "Endpoint other of account 1 not found.");
    let variant = invoker.invoke(&target("e", Some("w")), call()).await.unwrap_err();
    assert_eq!(variant.to_string(), "Variant w of endpoint e not found.");
    routes.publish(table(Vec::new(), Some("Creating")));
    let closed = ask(&invoker).await.unwrap_err();
    assert!(closed.to_string().contains("its status is Creating"), "{closed}");
}

#[tokio::test(start_paused = true)]
async fn the_models_errors_in_sagemakers_words() {
    let (message, status) = model_error(WorkerError::bad_input("no number")).await;
    assert!(
        message.starts_with("Received client error (400) from primary with message \"no number\".")
    );
    assert_eq!(status, 400);
    let own = WorkerError::Model { status: 500, message: "oh".to_owned(), content_type: None };
    assert!(model_error(own).await.0.starts_with("Received server error (500) from primary"));
    let (message, status) = model_error(WorkerError::TimedOut).await;
    assert!(
        message.contains("Your invocation timed out while waiting for a response"),
        "{message}"
    );
    assert_eq!(status, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_deadline_times_out() {
    let (invoker, _routes) = invoker(one(&instance(Does::Take(Duration::from_secs(100)), 8)));
    let started_at = Instant::now();
    let error = ask(&invoker).await.unwrap().outcome.unwrap_err();
    assert!(error.to_string().contains("Received server error (0)"), "{error}");
    assert_eq!(started_at.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_full_instance_refuses_at_once() {
    let busy = instance(Does::Take(Duration::from_secs(1)), 1);
    let (invoker, _routes) = invoker(one(&busy));
    let other = invoker.clone();
    let first = task::spawn("first", async move { ask(&other).await });
    while busy.outstanding() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(ask(&invoker).await, Err(InvokeError::Overloaded { .. })));
    assert!(first.await.unwrap().unwrap().outcome.is_ok());
    assert!(ask(&invoker).await.is_ok(), "the place is free again");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_meets_a_closing_instance_goes_to_the_next() {
    let (old, new) = (instance(Does::Echo, 8), instance(Does::Echo, 8));
    old.drain().await;
    let (invoker, routes) = invoker(one(&old));
    let held = task::spawn("held", async move { ask(&invoker).await });
    tokio::task::yield_now().await;
    routes.publish(one(&new));
    assert!(held.await.unwrap().unwrap().outcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_held_while_there_is_no_instance_but_not_for_ever() {
    let (invoker, _routes) = invoker(table(vec![("v", 1.0, Vec::new())], None));
    let started_at = Instant::now();
    assert!(matches!(ask(&invoker).await, Err(InvokeError::NoCapacity { .. })));
    assert_eq!(started_at.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_variant_that_rests_refuses_at_once_and_leaves_calls_to_others() {
    let resting =
        || VariantRoute { is_resting: true, ..VariantRoute::new("rests", "c".into(), Vec::new()) };
    let awake = VariantRoute {
        weight: 0.01,
        ..VariantRoute::new("wakes", "c".into(), vec![instance(Does::Echo, 8)])
    };
    let began = Instant::now();
    let (alone, _routes) = invoker(routed(resting()));
    let error = ask(&alone).await.unwrap_err();
    assert_eq!(error.refused_by().flatten().map(|id| &*id.name), Some("rests"));
    assert!(matches!(error, InvokeError::NoCapacity { .. }));

    let (both, _routes) = invoker(routes_of(vec![resting(), awake]));
    for _ in 0..9 {
        assert_eq!(&*ask(&both).await.unwrap().variant.name, "wakes");
    }
    let named = both.invoke(&target("e", Some("rests")), call()).await;
    assert!(matches!(named, Err(InvokeError::NoCapacity { .. })));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stays_gone_is_given_up() {
    let gone = WorkerError::Gone { reason: "exit 137".to_owned() };
    let (message, status) = model_error(gone).await;
    assert!(message.contains("exit 137"), "{message}");
    assert_eq!(status, 500);
}

proptest! {
    #[test]
    fn variants_are_chosen_by_weight(weights in proptest::collection::vec(0.0f32..10.0, 1..6), chance in 0.0f32..1.0) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let variants = names.iter().zip(&weights).map(|(name, weight)| (*name, *weight, Vec::new()));
        let table = table(variants.collect(), None);
        let route = table.iter().next().unwrap();
        let total: f32 = weights.iter().sum();
        match choose_variant(route, None, chance) {
            Ok(chosen) => {
                let at = names.iter().position(|name| **name == *chosen.name).unwrap();
                let below: f32 = weights[..at].iter().sum();
                prop_assert!(chosen.weight > 0.0);
                prop_assert!(below <= chance * total + 1e-3);
                prop_assert!(chance * total <= below + chosen.weight + 1e-3);
            }
            Err(_) => prop_assert!(total <= 0.0),
        }
    }
}

#[test]
fn variants_get_their_share_of_few_calls() {
    let turns = Turns::default();
    for (weights, n, each) in
        [([0.1, 0.9], 100, [10, 90]), ([0.5, 0.5], 20, [10, 10]), ([1.0, 3.0], 400, [100, 300])]
    {
        let variants = ["a", "b"].into_iter().zip(weights);
        let table =
            table(variants.map(|(name, weight)| (name, weight, Vec::new())).collect(), None);
        let route = table.iter().next().unwrap();
        for every in [1, 2, 5] {
            let mut n_of = [0_i32; 2];
            for _ in 0..n {
                for _ in 1..every {
                    turns.next(); // A call of somebody else's.
                }
                let chosen = choose_variant(route, None, turns.next()).unwrap();
                n_of[usize::from(&*chosen.name == "b")] += 1;
            }
            let is_near = |(n, wanted): (&i32, &i32)| (n - wanted).abs() <= 3;
            assert!(n_of.iter().zip(&each).all(is_near), "{n_of:?} of {each:?}, every {every}");
        }
    }
}

#[test]
fn fleets_of_one_variant_share_its_calls() {
    let fleet = |name: &str, config: &str, weight, share| VariantRoute {
        weight,
        share,
        ..VariantRoute::new(name, config.into(), Vec::new())
    };
    let route = EndpointRoute {
        region: Region::new("r"),
        name: "e".parse().unwrap(),
        closed: None,
        asynchronous: None,
        variants: vec![
            fleet("a", "old", 3.0, 0.75),
            fleet("a", "new", 3.0, 0.25),
            fleet("b", "old", 1.0, 0.75),
            fleet("b", "new", 1.0, 0.25),
            fleet("dark", "old", 0.0, 0.75),
            fleet("dark", "new", 0.0, 0.25),
        ],
    };
    let chosen = |named, chance| {
        let chosen = choose_variant(&route, named, chance).unwrap();
        (chosen.name.to_string(), chosen.config.to_string())
    };
    let is = |name: &str, config: &str| (name.to_owned(), config.to_owned());
    // Of sixteenths: 9 go to the old fleet of `a`, 3 to its new one, 3 and 1 to those of `b`.
    for (chance, wanted) in [
        (0.0, is("a", "old")),
        (0.56, is("a", "old")),
        (0.57, is("a", "new")),
        (0.74, is("a", "new")),
        (0.76, is("b", "old")),
        (0.93, is("b", "old")),
        (0.94, is("b", "new")),
    ] {
        assert_eq!(chosen(None, chance), wanted, "{chance}");
    }
    // A named variant's weight does not count, but its fleets' shares do.
    assert_eq!(chosen(Some("dark"), 0.7), is("dark", "old"));
    assert_eq!(chosen(Some("dark"), 0.8), is("dark", "new"));
}

#[tokio::test(start_paused = true)]
async fn errors_of_one_of_several_containers() {
    let at = |error| WorkerError::At { container: "container-2".into(), error: Box::new(error) };
    let own = WorkerError::Model { status: 500, message: "oh".to_owned(), content_type: None };
    let (message, status) = model_error(at(own)).await;
    let wanted = "Received server error (500) from container-2 with message \"oh\".";
    assert!(message.starts_with(wanted), "{message}");
    assert_eq!(status, 500);
    let (message, _) = model_error(at(WorkerError::TimedOut)).await;
    assert!(message.contains("from container container-2. Review"), "{message}");
    let (message, _) = model_error(at(WorkerError::Gone { reason: "exit 1".to_owned() })).await;
    assert!(message.contains("exit 1"), "{message}");
    for (error, code, status) in [
        (WorkerError::Invalid { message: "no".to_owned() }, "ValidationError", 400),
        (WorkerError::NotReady { message: "yet".to_owned() }, "ModelNotReadyException", 429),
    ] {
        for error in [error.clone(), at(error)] {
            let (invoker, _routes) = invoker(one(&instance(Does::Fail(error), 8)));
            let error = ask(&invoker).await.unwrap().outcome.unwrap_err();
            assert_eq!((error.code().0, error.code().1.as_u16()), (code, status));
            let response = crate::reply::failure(&error, &"id".into(), &Spent::default());
            let retry_after = response.headers().get("retry-after");
            assert_eq!(retry_after.is_some(), status == 429);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn targets_that_a_variant_does_not_take_or_must_have() {
    let words = "is not a multi-model endpoint and does not support target model header.";
    type Named = Option<&'static str>;
    let table: [(bool, bool, Named, Named, Named); 8] = [
        (false, false, None, None, None),
        (false, false, Some("m"), None, Some(words)),
        (false, false, None, Some("c"), Some("does not support target container hostname")),
        (true, false, Some("m"), None, None),
        (true, false, None, None, Some("Request id is missing a target model header")),
        (false, true, None, Some("c"), None),
        (false, true, None, None, Some("Request id is missing a target container hostname")),
        (true, true, Some("m"), Some("c"), None),
    ];
    for (takes_model, takes_container, model, container, wanted) in table {
        let targets = Targets { model: takes_model, container: takes_container };
        let (invoker, _routes) = invoker(targeted(targets, vec![instance(Does::Echo, 8)]));
        let call = Call {
            target_model: model.map(str::to_owned),
            target_container: container.map(str::to_owned),
            ..call()
        };
        let outcome = invoker.invoke(&target("e", None), call).await;
        let refusal = outcome.err().map(|error| {
            assert_eq!(error.code().0, "ValidationError");
            error.to_string()
        });
        match (&refusal, wanted) {
            (Some(refusal), Some(wanted)) => assert!(refusal.contains(wanted), "{refusal}"),
            (refusal, wanted) => assert_eq!(refusal.as_deref(), wanted),
        }
    }
}

fn instances(n: usize) -> Vec<Arc<Instance>> {
    let limits = Limits { waiting: 1000, bytes: 1 << 20 };
    let new = |n| Instance::new(format!("i-{n}"), Arc::new(Fake(Does::Echo)), limits);
    (0..n).map(new).collect()
}

/// Asks an instance until its breaker opens.
async fn break_down(instance: &Arc<Instance>) {
    while !instance.breaker.is_open() {
        let place = instance.admit(0, call().deadline).ok().unwrap();
        assert!(place.answer(call()).await.unwrap().outcome.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_go_round_an_instance_that_fails() {
    let gone = Does::Fail(WorkerError::TimedOut);
    let (bad, good) = (instance(gone, 8), instance(Does::Echo, 8));
    break_down(&bad).await;
    let (invoker, _routes) =
        invoker(table(vec![("v", 1.0, vec![bad.clone(), good.clone()])], None));
    for _ in 0..20 {
        assert!(ask(&invoker).await.unwrap().outcome.is_ok());
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(ask(&invoker).await.unwrap().outcome.is_err(), "one call tries it again");
    assert!(ask(&invoker).await.unwrap().outcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_all_fail_each_is_as_good_as_the_others() {
    let all: Vec<_> = (0..3).map(|_| instance(Does::Fail(WorkerError::TimedOut), 8)).collect();
    for one in &all {
        break_down(one).await;
    }
    let table = table(vec![("v", 1.0, all.clone())], None);
    let route = table.iter().next().unwrap();
    assert!(choose_instance(&route.variants[0], None, 0.5).is_some());
}

#[test]
fn random_routing_takes_each_instance_alike() {
    let all = instances(4);
    let variant = random(all.clone());
    for (chance, place) in [(0.0, 0), (0.24, 0), (0.26, 1), (0.74, 2), (0.76, 3), (0.9999, 3)] {
        let chosen = choose_instance(&variant, None, chance).unwrap();
        assert!(Arc::ptr_eq(chosen, &all[place]), "{chance}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_instance_hands_over_to_one_that_is_not() {
    let (busy, free) = (instance(Does::Echo, 1), instance(Does::Echo, 1));
    let _held = busy.admit(0, call().deadline).ok().unwrap();
    let (invoker, _routes) = invoker(routed(random(vec![busy, free])));
    assert!(ask(&invoker).await.is_ok(), "chance names the first, which is full");
}

#[test]
fn a_model_has_its_own_instance_until_that_is_busy() {
    let instances = instances(4);
    let targets = Targets { model: true, container: false };
    let all = targeted(targets, instances.clone());
    let fewer = targeted(targets, instances[..3].to_vec());
    let home = |table: &Arc<RouteTable>, model: &str| {
        let route = table.iter().next().unwrap();
        choose_instance(&route.variants[0], Some(model), 0.0).unwrap().clone()
    };
    let models: Vec<String> = (0..200).map(|n| format!("model-{n}.tar.gz")).collect();
    let mut n_at = [0; 4];
    for model in &models {
        let chosen = home(&all, model);
        let at = instances.iter().position(|instance| Arc::ptr_eq(instance, &chosen)).unwrap();
        n_at[at] += 1;
        assert!(at == 3 || Arc::ptr_eq(&home(&fewer, model), &chosen), "others do not move");
    }
    assert!(n_at.iter().all(|n| *n > 20), "{n_at:?}");
    let first = home(&all, &models[0]);
    let busy: Vec<_> = (0..8).map(|_| first.admit(0, call().deadline)).collect();
    let second = home(&all, &models[0]);
    assert!(!Arc::ptr_eq(&first, &second), "a busy one hands over");
    drop(busy);
    assert!(Arc::ptr_eq(&home(&all, &models[0]), &first));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_worker_is_gone_waits_for_the_newer_table() {
    let gone = WorkerError::Gone { reason: "exit 137".to_owned() };
    let (old, new) = (instance(Does::Fail(gone), 8), instance(Does::Echo, 8));
    let (invoker, routes) = invoker(one(&old));
    let asked = task::spawn("asked", async move { ask(&invoker).await });
    tokio::task::yield_now().await;
    old.drain().await; // As the fleet does once it has seen it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    routes.publish(one(&new));
    assert!(asked.await.unwrap().unwrap().outcome.is_ok());
}
