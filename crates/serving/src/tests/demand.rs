//! Calls of a variant that scales with them: counted, held, throttled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::demand::{Demand, Terms};
use sagebrush_core::instance::Instance;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::{RouteTable, VariantRoute};
use sagebrush_core::task;
use sagebrush_core::worker::Call;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::{Does, ask, call, instance, invoker, one, routed, target};
use crate::Meters;
use crate::error::InvokeError;

const TERMS: Terms = Terms { max_calls: Some(2), max_payload: Some(4), provisioned: 0 };

fn demand(terms: Terms) -> Arc<Demand> {
    Demand::telling(terms, Arc::new(Notify::new()))
}

fn scaled(demand: &Arc<Demand>, instances: Vec<Arc<Instance>>) -> Arc<RouteTable> {
    let demand = Some(demand.clone());
    routed(VariantRoute { demand, ..VariantRoute::new("v", "c".into(), instances) })
}

#[tokio::test(start_paused = true)]
async fn a_first_call_is_held_until_there_is_an_instance() {
    let demand = demand(TERMS);
    let (invoker, routes) = invoker(scaled(&demand, Vec::new()));
    let held = task::spawn("held", async move { ask(&invoker).await });
    let mut calls = demand.watch();
    calls.wait_for(|calls| *calls == 1).await.unwrap();
    sleep(Duration::from_secs(45)).await; // Longer than a call is held that none is started for.
    routes.publish(scaled(&demand, vec![instance(Does::Echo, 8)]));
    assert!(held.await.unwrap().unwrap().outcome.is_ok());
    assert_eq!(demand.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_serverless_variant_has_at_once_is_told() {
    let registry = Registry::default();
    let meters = Meters::new(registry.clone());
    let said = |name: &str, value: usize| {
        let labels = "{region=\"r\",endpoint=\"e\",variant=\"v\"}";
        registry.render().contains(&format!("sagebrush_serverless_{name}{labels} {value}\n"))
    };
    let on_demand = demand(TERMS);
    let table = scaled(&on_demand, Vec::new());
    meters.look(&table);
    assert!(!said("concurrent_executions", 0), "it is at rest");
    let held = (on_demand.call(), on_demand.call());
    drop(held);
    meters.look(&table);
    assert!(said("concurrent_executions", 2) && said("max_concurrency", 2));
    assert!(!said("provisioned_invocations_total", 0), "none is provisioned");
    let provisioned = demand(Terms { provisioned: 1, ..TERMS });
    let table = scaled(&provisioned, Vec::new());
    meters.look(&table);
    assert!(said("concurrent_executions", 0) && said("provisioned_concurrency", 1));
    let held = (provisioned.call(), provisioned.call());
    drop(held);
    meters.look(&table);
    meters.look(&table);
    assert!(said("concurrent_executions", 2), "whoever asked before");
    assert!(said("provisioned_invocations_total", 1) && said("spillover_invocations_total", 1));
    let managed = Demand::new(None);
    let _call = managed.call();
    meters.look(&scaled(&managed, Vec::new()));
    assert!(!said("concurrent_executions", 1), "{}", registry.render());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_held_to_its_deadline_and_no_longer() {
    let demand = demand(TERMS);
    let (invoker, _routes) = invoker(scaled(&demand, Vec::new()));
    let began = Instant::now();
    assert!(matches!(ask(&invoker).await, Err(InvokeError::NoCapacity { .. })));
    assert_eq!((began.elapsed().as_secs(), demand.calls()), (60, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_over_the_limit_are_throttled_at_once() {
    let demand = demand(TERMS);
    let (invoker, routes) = invoker(scaled(&demand, Vec::new()));
    let held: Vec<_> = (0..2)
        .map(|_| {
            let invoker = invoker.clone();
            task::spawn("held", async move { ask(&invoker).await })
        })
        .collect();
    let mut calls = demand.watch();
    calls.wait_for(|calls| *calls == 2).await.unwrap();
    let began = Instant::now();
    let error = ask(&invoker).await.unwrap_err();
    assert_eq!(error.code().0, "ThrottlingException");
    assert_eq!(error.code().1, 429);
    assert!(error.to_string().contains("2 calls under way, which is its MaxConcurrency"));
    assert_eq!(began.elapsed(), Duration::ZERO);
    routes.publish(scaled(&demand, vec![instance(Does::Echo, 8)]));
    for held in held {
        assert!(held.await.unwrap().unwrap().outcome.is_ok());
    }
    assert!(ask(&invoker).await.is_ok(), "there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_is_not_counted() {
    let demand = demand(TERMS);
    let (invoker, _routes) = invoker(scaled(&demand, Vec::new()));
    let given_up = tokio::time::timeout(Duration::from_secs(1), ask(&invoker)).await;
    assert!(given_up.is_err());
    assert_eq!(demand.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn payloads_are_limited_each_way() {
    let demand = demand(TERMS);
    let (invoker, _routes) = invoker(scaled(&demand, vec![instance(Does::Echo, 8)]));
    let asked = async |body: &'static [u8]| {
        let mut call: Call = call();
        call.payload.body = Bytes::from_static(body);
        invoker.invoke(&target("e", None), call).await
    };
    assert!(asked(b"1234").await.unwrap().outcome.is_ok());
    let error = asked(b"12345").await.unwrap_err();
    assert_eq!(error.code().0, "ValidationError");
    assert!(error.to_string().ends_with("length less than or equal to 4"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_the_models_error() {
    let of = |most| {
        let demand = demand(Terms { max_payload: Some(most), ..TERMS });
        invoker(scaled(&demand, vec![instance(Does::Answer(101), 8)]))
    };
    let error = ask(&of(100).0).await.unwrap().outcome.unwrap_err();
    assert_eq!(error.code().0, "ModelError");
    assert!(error.to_string().contains("The response has 101 bytes"), "{error}");
    assert!(ask(&of(101).0).await.unwrap().outcome.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nothing_can_answer_is_told_why() {
    let demand = demand(TERMS);
    let (invoker, routes) = invoker(scaled(&demand, Vec::new()));
    let held = task::spawn("held", async move { ask(&invoker).await });
    let mut calls = demand.watch();
    calls.wait_for(|calls| *calls == 1).await.unwrap();
    demand.set_trouble(Some("The archive is gone.".into()));
    routes.publish(scaled(&demand, Vec::new()));
    let error = held.await.unwrap().unwrap_err();
    assert_eq!(error.code().0, "ModelError");
    assert!(error.to_string().contains("The archive is gone."), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_held_call_follows_an_update_to_instances_and_back() {
    let demand = demand(TERMS);
    let (invoker, routes) = invoker(scaled(&demand, Vec::new()));
    let busy = instance(Does::Take(Duration::from_secs(5)), 8);
    let held = {
        let invoker = invoker.clone();
        task::spawn("held", async move { ask(&invoker).await })
    };
    let mut calls = demand.watch();
    calls.wait_for(|calls| *calls == 1).await.unwrap();
    routes.publish(one(&busy));
    calls.wait_for(|calls| *calls == 0).await.unwrap();
    assert!(held.await.unwrap().unwrap().outcome.is_ok());
    routes.publish(scaled(&demand, vec![busy]));
    assert!(ask(&invoker).await.unwrap().outcome.is_ok());
}
