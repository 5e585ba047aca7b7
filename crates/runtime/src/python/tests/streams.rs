//! Answers in parts.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use sagebrush_core::worker::{ReplyParts, StreamedReply, Worker, WorkerError};
use tokio::time::{Instant, timeout};

use super::{Bench, PATIENCE, ask, call, stop, told, until};

/// Does as the body says, one word after the other.
const MODEL: &str = "
import os, sys, time

def model_fn(model_dir): return None

def words(data):
    home = os.environ['HOME']
    print('begun')
    try:
        for word in bytes(data).decode().split():
            if word == 'pid': yield str(os.getpid())
            elif word == 'bytes': yield bytearray(b'\\x00\\xff')
            elif word == 'empty': yield ''
            elif word == 'large': yield b'x' * (5 << 20)
            elif word == 'endless':
                while True: yield b'y' * 10_000
            elif word == 'number': yield 1
            elif word == 'raise': raise KeyError('no such thing')
            elif word == 'sys.exit': sys.exit(3)
            elif word == 'kill': os.kill(os.getpid(), 9)
            elif word == 'hang': time.sleep(1000)
            elif word == 'fork':
                if os.fork() == 0: yield 'child'
            else: yield word
    finally:
        print('closed')

def transform_fn(model, data, content_type, accept, context):
    if data == b'whole': return 'in one'
    if data == b'refuse': raise ValueError('refused')
    if data == b'status':
        context.set_response_status(418, 'teapot')
    return words(data), 'text/x'
";

async fn stream(worker: &Arc<dyn Worker>, body: &str) -> Result<StreamedReply, WorkerError> {
    timeout(PATIENCE, worker.stream(call(body.to_owned()))).await.unwrap()
}

async fn rest(mut parts: ReplyParts) -> (Vec<String>, Option<WorkerError>) {
    let mut texts = Vec::new();
    while let Some(part) = timeout(PATIENCE, parts.next()).await.unwrap() {
        match part {
            Ok(part) if part.is_empty() => {}
            Ok(part) => texts.push(String::from_utf8_lossy(&part).into_owned()),
            Err(error) => return (texts, Some(error)),
        }
    }
    (texts, None)
}

async fn all(worker: &Arc<dyn Worker>, body: &str) -> Vec<String> {
    let (texts, error) = rest(stream(worker, body).await.unwrap().parts).await;
    assert!(error.is_none(), "{error:?}");
    texts
}

async fn one_worker(bench: &Bench) -> (Arc<dyn Worker>, Vec<String>) {
    let worker = bench.launch(MODEL, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
    let pid = all(&worker, "pid").await;
    (worker, pid)
}

#[tokio::test]
async fn parts_of_any_kind_and_size() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    let reply = stream(&worker, "a b \u{e4}").await.unwrap();
    assert_eq!(reply.content_type.as_deref(), Some("text/x"));
    assert_eq!(rest(reply.parts).await.0, ["a", "b", "\u{e4}"]);
    assert_eq!(all(&worker, "").await, [""; 0]);
    assert_eq!(all(&worker, "empty a empty").await, ["a"]);
    assert_eq!(all(&worker, "bytes").await, [String::from_utf8_lossy(b"\x00\xff")]);
    assert_eq!(all(&worker, "large a").await.concat(), "x".repeat(5 << 20) + "a");
    assert_eq!(all(&worker, "whole").await, ["in one"]);
    let long = "word ".repeat(20_000);
    assert_eq!(all(&worker, &long).await.len(), 20_000);
    assert_eq!(ask(&worker, "a b c").await.unwrap().payload.body, "abc", "joined");
    assert_eq!(all(&worker, "pid").await, pid, "all of it by one process");
    until(|| bench.logged("[request-1] begun") && bench.logged("[request-1] closed")).await;
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn what_raises_ends_the_parts_and_not_the_worker() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    for (body, texts, words) in [
        ("a raise b", &["a"][..], "no such thing"),
        ("a number", &["a"], "transform_fn yielded a int: each part must be bytes or str"),
    ] {
        let (seen, error) = rest(stream(&worker, body).await.unwrap().parts).await;
        let (status, message) = told(Err(error.unwrap()));
        assert_eq!((seen, status), (texts.iter().map(ToString::to_string).collect(), 500));
        assert!(message.contains(words), "{message}");
    }
    for (body, wanted) in [("raise", 500), ("number", 500), ("refuse", 500), ("status", 418)] {
        let (status, _) = told(match stream(&worker, body).await {
            Ok(_) => panic!("{body} has no first part"),
            Err(error) => Err(error),
        });
        assert_eq!(status, wanted, "{body}");
    }
    assert_eq!(all(&worker, "pid").await, pid);
    stop(&worker).await;
}

#[tokio::test]
async fn a_worker_that_ends_in_the_middle_says_why_and_is_replaced() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    for (body, why) in [("a kill", "was killed by signal 9"), ("a sys.exit", "exit code 3")] {
        let (seen, error) = rest(stream(&worker, body).await.unwrap().parts).await;
        let (status, message) = told(Err(error.unwrap()));
        assert_eq!((seen.as_slice(), status), (&["a".to_owned()][..], 500));
        assert!(message.contains(why), "{message}");
        assert_ne!(all(&worker, "pid").await, pid);
    }
    stop(&worker).await;
}

#[tokio::test]
async fn a_worker_that_ends_before_the_first_part_has_begun_nothing() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    let Err(error) = stream(&worker, "kill").await else { panic!("it is there") };
    let WorkerError::Died { message, once_more: true } = error else { panic!("{error:?}") };
    assert!(message.contains("was killed by signal 9"), "{message}");
    assert_ne!(all(&worker, "pid").await, pid);
    stop(&worker).await;
}

#[tokio::test]
async fn who_drops_the_parts_closes_the_generator_and_keeps_the_worker() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    let closed = || bench.log.lines().iter().filter(|(_, line)| line.contains("closed")).count();
    for (n, n_read) in [0, 1, 50].into_iter().enumerate() {
        let mut parts = stream(&worker, "endless").await.unwrap().parts;
        for _ in 0..n_read {
            assert!(parts.next().await.unwrap().is_ok());
        }
        drop(parts);
        until(|| closed() == 2 + 2 * n).await;
        assert_eq!(all(&worker, "pid").await, pid);
        until(|| closed() == 3 + 2 * n).await;
    }
    for _ in 0..20 {
        // The worker may find the call and the word that it was given up in one read.
        assert!(worker.stream(call("endless")).now_or_never().is_none());
        assert_eq!(all(&worker, "pid").await, pid, "given up before the first part");
    }
    stop(&worker).await;
}

#[tokio::test]
async fn a_worker_waits_for_who_reads_slowly() {
    let bench = Bench::new();
    let model = MODEL.replace("while True: yield", "while True: print('made'); yield");
    let worker = bench.launch(&model, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
    let made = || bench.log.lines().iter().filter(|(_, line)| line.contains("made")).count();
    let mut parts = stream(&worker, "endless").await.unwrap().parts;
    for n_taken in 0..500 {
        // What a socket holds is some 200 kB.
        assert!(made() < n_taken + 100, "{} parts were made, {n_taken} were taken", made());
        assert!(parts.next().await.unwrap().is_ok());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    until(|| made() > 500).await;
    drop(parts);
    stop(&worker).await;
}

#[tokio::test]
async fn a_part_that_hangs_is_given_up() {
    let bench = Bench::new();
    let limit = [
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "1"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "0.5"),
    ];
    let worker = bench.launch(MODEL, &limit).await;
    let (seen, error) = rest(stream(&worker, "a hang").await.unwrap().parts).await;
    assert_eq!(seen, ["a"]);
    assert!(matches!(error, Some(WorkerError::TimedOut)), "{error:?}");
    assert!(matches!(stream(&worker, "hang").await, Err(WorkerError::TimedOut)));
    // A client who leaves does not keep the worker for longer than that, either.
    let mut parts = stream(&worker, "a hang").await.unwrap().parts;
    assert!(parts.next().await.unwrap().is_ok());
    drop(parts);
    let end = Instant::now() + PATIENCE;
    while stream(&worker, "again").await.is_err() {
        assert!(Instant::now() < end, "it was never replaced");
    }
    stop(&worker).await;
}

#[tokio::test]
async fn code_that_forks_between_parts_answers_once() {
    let bench = Bench::new();
    let (worker, pid) = one_worker(&bench).await;
    assert_eq!(all(&worker, "a fork b").await, ["a", "b"]);
    assert_eq!(all(&worker, "pid").await, pid);
    stop(&worker).await;
}

#[tokio::test]
async fn generators_where_a_model_may_have_them() {
    let check = async |code: &str, content_type: &str| {
        let bench = Bench::new();
        let code = format!("def model_fn(d): return None\n{code}");
        let worker = bench.launch(&code, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")]).await;
        let reply = stream(&worker, "[1]").await.unwrap();
        assert_eq!(reply.content_type.as_deref(), Some(content_type), "{code}");
        assert_eq!(rest(reply.parts).await.0, ["a", "b"], "{code}");
        assert_eq!(ask(&worker, "[1]").await.unwrap().payload.body, "ab", "{code}");
        stop(&worker).await;
    };
    check("def transform_fn(m, d, c, a):\n    yield 'a'\n    yield b'b'\n", "application/json")
        .await;
    let asynchronous = "
import asyncio
async def parts():
    queue = asyncio.Queue()
    async def fill():
        for part in 'ab':
            await asyncio.sleep(0)
            await queue.put(part)
        await asyncio.sleep(1000)
    filler = asyncio.create_task(fill())
    for _ in range(2):
        yield await queue.get()
def transform_fn(m, d, c, a): return parts(), 'text/x'
";
    check(asynchronous, "text/x").await;
}
