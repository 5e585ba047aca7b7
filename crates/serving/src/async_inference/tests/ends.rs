//! How calls end, with no crash.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::demand::Demand;
use sagebrush_core::route::RouteTable;
use tokio::time::sleep;

use super::fakes::{Does, ERROR_TOPIC, Power, Session, TOPIC, World, worker};
use crate::async_inference::accept::{Accepted, Refused};

/// The call has one failure object, with these words, and one notification of that status.
fn check_failed(world: &World, accepted: &Accepted, status: &str, words: &str) {
    let said = world.objects.text(&accepted.failure_location);
    assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{said:?}");
    assert_eq!(world.told(accepted), (1, 1));
    check_told(world, ERROR_TOPIC, status, words);
}

fn check_told(world: &World, topic: &str, status: &str, words: &str) {
    let taken = world.topics.taken.lock().unwrap();
    let mut told = taken.iter().filter(|((to, _), _)| to == topic).map(|(_, body)| body);
    let status = format!("\"invocationStatus\":\"{status}\"");
    assert!(told.any(|body| body.contains(&status) && body.contains(words)), "{taken:?}");
}

async fn accept(session: &Session) -> Accepted {
    session.accept(&[]).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_stored_and_told_with_what_it_says() {
    let world = World::new();
    let session = world.serve(Does::Echo).await;
    let accepted = accept(&session).await;
    world.is_quiet().await;
    assert_eq!(world.objects.text(&accepted.output_location).as_deref(), Some("1,2"));
    assert_eq!(world.told(&accepted), (1, 1));
    check_told(&world, TOPIC, "Completed", "\"content\":\"MSwy\"");
    let lines = session.log.lines();
    assert_eq!(&*lines[0].0.stream, "v/i-0/data-log");
    assert!(lines[0].1.contains(&accepted.inference_id), "{lines:?}");
    let text = session.metrics.render();
    let labels = "{region=\"r\",endpoint=\"e\",variant=\"v\"}";
    let wanted = format!("sagebrush_async_invocations_processed_total{labels} 1\n");
    assert!(text.contains(&wanted), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_models_own_error_is_final() {
    let world = World::new();
    let session = world.serve(Does::Fail).await;
    let accepted = accept(&session).await;
    world.is_quiet().await;
    check_failed(&world, &accepted, "Failed", "not that");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_is_asked_again_but_not_forever() {
    let world = World::new();
    let session = world.serve(Does::Die(2)).await;
    let accepted = accept(&session).await;
    world.is_quiet().await;
    assert!(world.objects.text(&accepted.output_location).is_some());
    assert_eq!(world.told(&accepted), (1, 1));
    let world = World::new();
    let session = world.serve(Does::Die(3)).await;
    let accepted = accept(&session).await;
    world.is_quiet().await;
    check_failed(&world, &accepted, "Failed", "it is dead");
}

#[tokio::test(start_paused = true)]
async fn a_rest_that_is_over_is_no_reason_to_hurry_while_there_is_no_room() {
    let world = World::new();
    let worker = worker(Does::Die(1), 1);
    let session = world.start(&Power::on(), std::slice::from_ref(&worker)).await.unwrap();
    let accepted = accept(&session).await;
    sleep(Duration::from_millis(10)).await;
    session.routes.publish(world.table(&[], None));
    sleep(Duration::from_secs(600)).await; // It would not come to an end if the queue hurried.
    assert_eq!(world.told(&accepted), (0, 0));
    session.routes.publish(world.table(&[worker], None));
    world.is_quiet().await;
    assert!(world.objects.text(&accepted.output_location).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_call_has_its_own_time() {
    let world = World::new();
    let session = world.serve(Does::Take(Duration::from_secs(800))).await;
    let long = accept(&session).await;
    let short =
        session.accept(&[("x-amzn-sagemaker-invocationtimeoutseconds", "5")]).await.unwrap();
    world.is_quiet().await;
    assert_eq!(world.told(&long), (1, 1));
    assert!(world.objects.text(&long.output_location).is_some());
    // It began when the other had ended: no time was lost by waiting.
    check_failed(&world, &short, "Expired", "timed out");
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_an_instance_until_they_are_too_old() {
    let world = World::new();
    let session = world.start(&Power::on(), &[]).await.unwrap();
    let old = session.accept(&[("x-amzn-sagemaker-requestttlseconds", "60")]).await.unwrap();
    let patient = accept(&session).await;
    sleep(Duration::from_secs(59)).await;
    assert_eq!(world.told(&old), (0, 0));
    sleep(Duration::from_secs(3)).await;
    check_failed(&world, &old, "Expired", "RequestTTLSeconds");
    assert_eq!(world.told(&patient), (0, 0));
    session.asynchronous.look();
    let text = session.metrics.render();
    let wanted = "sagebrush_async_has_backlog_without_capacity{region=\"r\",endpoint=\"e\"} 1\n";
    assert!(text.contains(wanted), "{text}");
    session.routes.publish(world.table(&[worker(Does::Echo, 1)], None));
    world.is_quiet().await;
    assert_eq!(world.told(&patient), (1, 1));
    assert!(world.objects.text(&patient.output_location).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_variant_hears_of_the_calls_that_want_it() {
    let world = World::new();
    let session = world.start(&Power::on(), &[]).await.unwrap();
    let demand = Demand::new(None);
    session.routes.publish(world.table(&[], Some(demand.clone())));
    for _ in 0..3 {
        accept(&session).await;
    }
    let mut calls = demand.watch();
    calls.wait_for(|calls| *calls == 3).await.unwrap();
    session.routes.publish(world.table(&[worker(Does::Echo, 1)], Some(demand.clone())));
    calls.wait_for(|calls| *calls == 0).await.unwrap();
    world.is_quiet().await;
}

#[tokio::test(start_paused = true)]
async fn calls_of_a_deleted_endpoint_fail() {
    let world = World::new();
    let session = world.start(&Power::on(), &[]).await.unwrap();
    let calls = [accept(&session).await, accept(&session).await];
    session.routes.publish(Arc::new(RouteTable::default()));
    world.is_quiet().await;
    for accepted in &calls {
        check_failed(&world, accepted, "Failed", "The endpoint was deleted");
    }
    let Err(Refused::Invalid(error)) = session.accept(&[]).await else { panic!("it is gone") };
    assert!(error.to_string().contains("not found"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn inputs_that_cannot_be_read() {
    let world = World::new();
    let session = world.serve(Does::Echo).await;
    for (uri, words) in [("s3://b/none", "no such object"), ("s3://c/k", "no such bucket: c")] {
        let input = [("x-amzn-sagemaker-inputlocation", uri)];
        let accepted = session.accept(&input).await.unwrap();
        world.is_quiet().await;
        check_failed(&world, &accepted, "Failed", words);
    }
}

/// A world whose results go elsewhere.
fn storing(output: &str, failure: &str) -> World {
    let mut world = World::new();
    world.config.output_path = output.to_owned();
    world.config.failure_path = Some(failure.to_owned());
    world
}

#[tokio::test(start_paused = true)]
async fn outputs_that_cannot_be_stored() {
    for (bucket, words) in [("none", "no such bucket"), ("full", "not enough space")] {
        let world = storing(&format!("s3://{bucket}/o"), "s3://b/f");
        let session = world.serve(Does::Echo).await;
        let accepted = accept(&session).await;
        world.is_quiet().await;
        check_failed(&world, &accepted, "Failed", words);
        // Neither can the failure: it is told all the same, and nothing is stuck.
        let world = storing(&format!("s3://{bucket}/o"), &format!("s3://{bucket}/f"));
        let session = world.serve(Does::Echo).await;
        let accepted = accept(&session).await;
        world.is_quiet().await;
        assert_eq!(world.told(&accepted), (0, 1));
        assert!(session.log.lines()[0].1.contains(words));
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_gone_keeps_nothing() {
    let mut world = World::new();
    world.config.success_topic = Some("arn:aws:sns:r:123456789012:gone".to_owned());
    let session = world.serve(Does::Echo).await;
    let accepted = accept(&session).await;
    world.is_quiet().await;
    assert_eq!(world.told(&accepted), (1, 0));
    let text = session.metrics.render();
    assert!(text.contains("sagebrush_async_notification_failures_total"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_now_and_then_loses_nothing() {
    for every in [3, 5, 7] {
        let world = World::flaky(every);
        let session = world.serve(Does::Echo).await;
        let mut accepted = Vec::new();
        for _ in 0..20 {
            accepted.extend(session.accept(&[]).await.ok());
        }
        assert!(accepted.len() >= 5);
        world.is_quiet().await;
        for accepted in &accepted {
            assert_eq!(world.told(accepted), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_has_so_many_calls_at_once() {
    for (given, concurrency, want) in [(Some(2), 8, 2), (None, 1, 1), (None, 8, 8)] {
        let mut world = World::new();
        world.config.max_concurrent_per_instance = given;
        let worker = worker(Does::Take(Duration::from_secs(1)), concurrency);
        let session = world.start(&Power::on(), std::slice::from_ref(&worker)).await.unwrap();
        for _ in 0..20 {
            accept(&session).await;
        }
        world.is_quiet().await;
        assert_eq!(worker.at_once.lock().unwrap().1, want, "{given:?}, {concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_goes_on_after_a_restart() {
    let world = World::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let session = world.start(&Power::on(), &[]).await.unwrap();
    session.accept(&[("traceparent", parent), ("tracestate", "v=1")]).await.unwrap();
    session.accept(&[("traceparent", &parent.replace("-01", "-00"))]).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    session.asynchronous.stop();
    drop(session);
    let session = world.serve(Does::Fail).await;
    world.is_quiet().await;
    session.asynchronous.stop();
    let spans = world.spans.spans();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let wanted = ["backlog", "input", "queue", "batch", "model", "output", "AsyncInference e"];
    assert_eq!(names, wanted);
    let [backlog, .., root] = &spans[..] else { panic!("spans") };
    assert_eq!(root.parent.unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!((root.state.as_deref(), root.is_failed), (Some("v=1"), true));
    assert!(backlog.took >= Duration::from_secs(5) && root.took >= backlog.took);
}
