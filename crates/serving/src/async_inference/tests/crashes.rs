//! A server that dies at each step of a call, and what the next one makes of it.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fakes::{Does, Power, World, worker};

/// How long a server may go on for, once it has no more power or nothing more to do.
const LONG: Duration = Duration::from_secs(30);

/// Cuts the power at each step of a call in turn. Returns how many steps there are.
async fn check(first: Does, then: &Does, headers: &[(&'static str, &str)]) -> usize {
    for n_steps in 0.. {
        let world = World::new();
        world.objects.add("s3://b/in", "1,2");
        let power = Power::for_steps(n_steps);
        let session = world.start(&power, &[worker(first.clone(), 1)]).await;
        let mut accepted = None;
        if let Some(session) = &session {
            let answer = timeout(LONG, session.accept(headers)).await;
            accepted = answer.ok().map(Result::unwrap);
            let mut is_out = power.is_out.subscribe();
            let _cut = timeout(LONG, is_out.wait_for(|is_out| *is_out)).await.is_ok();
            session.asynchronous.stop();
        }
        let was_cut = *power.is_out.borrow();
        drop(session);
        sleep(Duration::from_secs(1)).await;

        let again = world.serve(then.clone()).await;
        world.is_quiet().await;
        let place = format!("step {n_steps}");
        match &accepted {
            Some(accepted) => assert_eq!(world.told(accepted), (1, 1), "{place}"),
            // It may be durable, though nobody was told so.
            None => assert!(world.topics.taken.lock().unwrap().len() <= 1, "{place}"),
        }
        again.asynchronous.stop();
        if !was_cut {
            return n_steps;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_call_has_one_result_and_one_notification() {
    // List, put, get, put object, get object, put, publish, remove: before and after most of them.
    assert!(check(Does::Echo, &Does::Echo, &[]).await >= 14);
    check(Does::Fail, &Does::Fail, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_run_that_ends_otherwise_does_not_count() {
    check(Does::Echo, &Does::Fail, &[]).await;
    check(Does::Fail, &Does::Echo, &[]).await;
    check(Does::Echo, &Does::Die(9), &[]).await;
}

#[tokio::test(start_paused = true)]
async fn inputs_from_objects_and_names_of_ones_own() {
    let headers = [
        ("x-amzn-sagemaker-inputlocation", "s3://b/in"),
        ("x-amzn-sagemaker-inference-id", "mine"),
        ("x-amzn-sagemaker-filename", "mine.json"),
    ];
    check(Does::Echo, &Does::Fail, &headers).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_again_and_again() {
    let world = World::new();
    let mut accepted = Vec::new();
    for n_steps in 0..120 {
        let power = Power::for_steps(n_steps);
        let Some(session) = world.start(&power, &[worker(Does::Echo, 1)]).await else { continue };
        for _ in 0..3 {
            if let Ok(answer) = timeout(LONG, session.accept(&[])).await {
                accepted.push(answer.unwrap());
            }
        }
        session.asynchronous.stop();
        sleep(Duration::from_millis(10)).await;
    }
    assert!(accepted.len() > 100);
    let session = world.serve(Does::Echo).await;
    world.is_quiet().await;
    for accepted in &accepted {
        assert_eq!(world.told(accepted), (1, 1), "{}", accepted.inference_id);
    }
    session.asynchronous.stop();
}
