//! Several calls that go to a worker together.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::{Call, LaunchError, Reply, Runtime as _, Worker, WorkerError};
use tokio::time::{Instant, timeout};

use super::{Bench, MODEL, PATIENCE, ask, call, stop, told, until};

const ONE: &[(&str, &str)] = &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")];

/// Says how many calls it was given together; a call's body says what it does there.
const TOGETHER: &str = "
import os, time
def model_fn(model_dir): return os.getpid()
def input_fn(data, content_type):
    if data == b'unread': raise ValueError('no input')
    return bytes(data)
def predict_batch_fn(inputs, model, contexts):
    print('predicts', len(inputs), len(contexts))
    if b'bad' in inputs: raise KeyError('no such thing')
    if b'exit' in inputs: os._exit(3)
    if b'few' in inputs: return inputs[1:]
    if b'sleep' in inputs: time.sleep(0.3)
    return [b'%d of %d: %s' % (model, len(inputs), data) for data in inputs]
def output_fn(prediction, accept):
    if prediction.endswith(b'unwritten'): raise ValueError('no output')
    return prediction
";

async fn ask_all(worker: &Arc<dyn Worker>, bodies: &[&str]) -> Vec<Result<Reply, WorkerError>> {
    ask_calls(worker, bodies.iter().map(|body| call((*body).to_owned())).collect()).await
}

async fn ask_calls(
    worker: &Arc<dyn Worker>,
    mut calls: Vec<Call>,
) -> Vec<Result<Reply, WorkerError>> {
    for (at, call) in calls.iter_mut().enumerate() {
        call.request_id = format!("request-{at}").into();
    }
    let n_calls = calls.len();
    let answers = timeout(PATIENCE, worker.invoke(calls)).await.unwrap();
    assert_eq!(answers.len(), n_calls);
    answers
}

fn text(answer: &Result<Reply, WorkerError>) -> String {
    match answer {
        Ok(reply) => String::from_utf8(reply.payload.body.to_vec()).unwrap(),
        Err(WorkerError::Model { message, .. } | WorkerError::Died { message, .. }) => {
            message.clone()
        }
        Err(error) => error.to_string(),
    }
}

/// Each answer ends or begins with the wanted words.
fn check(answers: &[Result<Reply, WorkerError>], wanted: &[&str]) {
    assert_eq!(answers.len(), wanted.len());
    for (answer, wanted) in answers.iter().zip(wanted) {
        let text = text(answer);
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[tokio::test]
async fn calls_go_together_only_while_they_are_short() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, ONE).await;
    assert_eq!(worker.max_batch(), 1, "nothing is known yet");
    // On a busy machine, a call may wait for a core.
    until_async(async || {
        ask(&worker, "x").await.unwrap();
        worker.max_batch() >= 2
    })
    .await;
    assert_eq!(worker.max_batch_delay(), Duration::ZERO);
    ask(&worker, "sleep0.05").await.unwrap();
    assert_eq!(worker.max_batch(), 1);
    stop(&worker).await;
    let capped = [ONE[0], ("SAGEBRUSH_MAX_BATCH_SIZE", "1")];
    let worker = bench.launch(MODEL, &capped).await;
    for _ in 0..100 {
        ask(&worker, "x").await.unwrap();
    }
    assert_eq!(worker.max_batch(), 1);
    stop(&worker).await;
}

async fn until_async(mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "not in time");
    }
}

#[tokio::test]
async fn each_call_of_a_frame_is_answered_by_itself() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, ONE).await;
    let answers = ask_all(&worker, &["a", "raise", "", "print", "b"]).await;
    check(&answers, &["a", "no such thing", "", "print", "b"]);
    assert!(matches!(answers[1], Err(WorkerError::Model { status: 500, .. })));
    until(|| bench.logged("[request-3] printed") && bench.logged("[request-1] KeyError")).await;
    let large: Vec<_> = (0..9_u8).map(|i| call(vec![i; 90_000 + usize::from(i)])).collect();
    for (i, answer) in ask_calls(&worker, large).await.into_iter().enumerate() {
        let body = answer.unwrap().payload.body;
        assert!(body == vec![u8::try_from(i).unwrap(); 90_000 + i]);
    }
    assert!(ask_all(&worker, &[]).await.is_empty());
    stop(&worker).await;
}

#[tokio::test]
async fn only_the_call_that_ends_a_worker_fails() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, ONE).await;
    let answers = ask_all(&worker, &["a", "b", "exit7", "pid", "exit8", "c"]).await;
    check(&answers, &["a", "b", "exit code 7", "", "exit code 8", "c"]);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 2);
    stop(&worker).await;
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_not_begun() {
    let bench = Bench::new();
    let worker = bench.launch(MODEL, ONE).await;
    let mut calls = vec![call("sleep0.2"), call("print"), call("in time")];
    calls[1].deadline = Instant::now() + Duration::from_millis(100);
    let answers = ask_calls(&worker, calls).await;
    check(&answers, &["sleep0.2", "in time", "in time"]);
    assert!(matches!(answers[1], Err(WorkerError::TimedOut)), "{:?}", answers[1]);
    assert!(!bench.logged("[request-1] printed"));
    stop(&worker).await;
}

#[tokio::test]
async fn only_one_process_goes_on_to_the_next_call() {
    let bench = Bench::new();
    let forks = MODEL
        .replace("if data == b'raise'", "if data == b'fork': os.fork()\n    if data == b'raise'");
    let worker = bench.launch(&forks, ONE).await;
    let answers = ask_all(&worker, &["fork", "print", "fork", "print"]).await;
    check(&answers, &["fork", "print", "fork", "print"]);
    ask(&worker, "x").await.unwrap();
    until(|| bench.logged("[request-3] printed")).await;
    let printed = bench.log.lines().iter().filter(|(_, line)| line.ends_with("printed")).count();
    assert_eq!(printed, 2);
    stop(&worker).await;
}

/// A worker that is at another call than before is not hung.
#[tokio::test]
async fn calls_given_up_are_brought_to_their_end_as_long_as_each_is_in_time() {
    let bench = Bench::new();
    let limit = [ONE[0], ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "1")];
    let worker = bench.launch(MODEL, &limit).await;
    let pid = text(&ask(&worker, "pid").await);
    let late = ask_all(&worker, &["sleep0.6", "sleep0.6"]).await;
    assert!(late.iter().all(|answer| matches!(answer, Err(WorkerError::TimedOut))), "{late:?}");
    assert_eq!(text(&ask(&worker, "pid").await), pid, "it was not replaced");
    let hung = ask_all(&worker, &["hang", "x"]).await;
    assert!(matches!(hung[0], Err(WorkerError::TimedOut)), "{hung:?}");
    until_async(async || ask(&worker, "pid").await.is_ok_and(|it| it.payload.body != pid)).await;
    stop(&worker).await;
}

#[tokio::test]
async fn predict_batch_fn_gets_calls_together() {
    let bench = Bench::new();
    let worker = bench.launch(TOGETHER, ONE).await;
    assert_eq!((worker.max_batch(), worker.max_batch_delay()), (32, Duration::ZERO));
    check(&[ask(&worker, "alone").await], &["of 1: alone"]);
    let answers = ask_all(&worker, &["a", "unread", "b", "unwritten"]).await;
    check(&answers, &["of 3: a", "no input", "of 3: b", "no output"]);
    let model = answers[0].as_ref().unwrap().timings.model;
    assert!(!model.is_zero() && model == answers[2].as_ref().unwrap().timings.model);
    until(|| bench.logged("[request-0+2] for request-0, request-2, request-3")).await;
    assert!(bench.logged("[request-0+2] predicts 3 3"));
    until(|| bench.logged("[request-1] ValueError: no input")).await;
    stop(&worker).await;
}

#[tokio::test]
async fn predict_batch_fn_gets_large_bodies_together() {
    let bench = Bench::new();
    let code = TOGETHER.replace("data) for", "b'%d %d' % (data[0], len(data))) for");
    let worker = bench.launch(&code, ONE).await;
    let lengths = [900_000, 3, 16 << 10, (16 << 10) + 1, 400_000];
    let bodies = (b'0'..).zip(lengths).map(|(byte, length)| call(vec![byte; length]));
    let answers = ask_calls(&worker, bodies.collect()).await;
    let wanted = (b'0'..).zip(lengths).map(|(byte, length)| format!("of 5: {byte} {length}"));
    let wanted: Vec<_> = wanted.collect();
    check(&answers, &wanted.iter().map(String::as_str).collect::<Vec<_>>());
    stop(&worker).await;
}

#[tokio::test]
async fn what_fails_together_is_tried_alone() {
    let bench = Bench::new();
    let worker = bench.launch(TOGETHER, ONE).await;
    let pid = ask(&worker, "x").await.unwrap().payload.body;
    let answers = ask_all(&worker, &["a", "bad", "b"]).await;
    check(&answers, &["of 1: a", "no such thing", "of 1: b"]);
    until(|| bench.logged("3 calls failed together; each is tried alone. KeyError")).await;
    let answers = ask_all(&worker, &["a", "few"]).await;
    check(&answers, &["of 1: a", "predict_batch_fn returned 0 predictions for 1 inputs"]);
    let (status, _) = told(ask(&worker, "bad").await);
    assert_eq!(status, 500);
    assert_eq!(ask(&worker, "x").await.unwrap().payload.body, pid, "it goes on");
    let answers = ask_all(&worker, &["a", "exit", "b"]).await;
    check(&answers, &["of 1: a", "exit code 3", "of 1: b"]);
    // It had its second try.
    assert!(matches!(answers[1], Err(WorkerError::Died { once_more: false, .. })), "{answers:?}");
    let answer = ask(&worker, "exit").await;
    assert!(matches!(answer, Err(WorkerError::Died { once_more: true, .. })), "{answer:?}");
    stop(&worker).await;
}

#[tokio::test]
async fn code_that_must_not_see_a_call_twice_does_not() {
    let bench = Bench::new();
    let worker = bench.launch(TOGETHER, &[ONE[0], ("SAGEBRUSH_RETRY_AFTER_DEATH", "false")]).await;
    ask(&worker, "x").await.unwrap();
    let answers = ask_all(&worker, &["a", "exit", "b"]).await;
    check(&answers, &["exit code 3", "exit code 3", "exit code 3"]);
    ask(&worker, "x").await.unwrap();
    stop(&worker).await;
}

#[tokio::test]
async fn how_many_calls_may_go_together_is_said_by_the_environment() {
    let bench = Bench::new();
    let given = [("SAGEBRUSH_MAX_BATCH_SIZE", "7"), ("SAGEBRUSH_MAX_BATCH_DELAY_MS", "5")];
    let worker = bench.launch(TOGETHER, &given).await;
    assert_eq!((worker.max_batch(), worker.max_batch_delay()), (7, Duration::from_millis(5)));
    stop(&worker).await;
    for (name, value, why) in [
        ("SAGEBRUSH_MAX_BATCH_SIZE", "0", "SAGEBRUSH_MAX_BATCH_SIZE=0; it must be from 1 to 1024"),
        ("SAGEBRUSH_MAX_BATCH_SIZE", "1025", "must be from 1 to 1024"),
        ("SAGEBRUSH_MAX_BATCH_SIZE", "many", "SAGEBRUSH_MAX_BATCH_SIZE=many, which is no number"),
        ("SAGEBRUSH_MAX_BATCH_DELAY_MS", "1001", "MAX_BATCH_DELAY_MS=1001; it must be from 0 to"),
        ("SAGEBRUSH_MAX_BATCH_DELAY_MS", "-1", "which is no number"),
        ("SAGEBRUSH_RETRY_AFTER_DEATH", "no", "SAGEBRUSH_RETRY_AFTER_DEATH=no; it must be true or"),
    ] {
        let spec = bench.spec(Some(TOGETHER), &[(name, value)]);
        let error = bench.runtime.launch(&spec).await.err().unwrap();
        assert!(matches!(error, LaunchError::Permanent { .. }), "{error:?}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let mix = bench.refusal(&format!("{TOGETHER}\ndef predict_fn(data, model): pass")).await;
    assert!(mix.to_string().contains("predict_batch_fn cannot be used together with"), "{mix}");
}
