//! Code that does what code should not.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::{Runtime as _, Worker, WorkerError};
use tokio::time::{Instant, timeout};

use super::{Bench, Mode, PATIENCE, ask, stop, told, until};

const ONE: &[(&str, &str)] = &[("SAGEMAKER_MODEL_SERVER_WORKERS", "1")];

/// Runs the call's body as code, which sets `answer`.
const RUNS: &str = "
import atexit, os, socket, sys, threading, time
def model_fn(model_dir): return None
def input_fn(data, content_type): return bytes(data).decode()
def predict_fn(data, model, context):
    names = {'answer': b'fine', 'context': context}
    exec(data, globals(), names)
    return names['answer']
def output_fn(prediction, accept): return prediction
def hang_up():
    for fd in range(3, 50):
        try: socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)
        except OSError: pass
    print('hung up', flush=True)
class Mute(Exception):
    def __str__(self): raise ValueError('no words')
    message = property(__str__)
";

async fn said(worker: &Arc<dyn Worker>, code: &str) -> String {
    let body = ask(worker, code.to_owned()).await.unwrap().payload.body;
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_worker_that_hangs_up_is_replaced() {
    let bench = Bench::new();
    let worker = bench.launch(RUNS, ONE).await;
    let check = async |code: &str, why: &str| {
        let since = Instant::now();
        let (status, message) = told(ask(&worker, code.to_owned()).await);
        assert!(status == 500 && message.contains(why), "{code}: {message}");
        assert_eq!(said(&worker, "pass").await, "fine", "after {code}");
        assert!(since.elapsed() < Duration::from_secs(8), "{code}: {:?}", since.elapsed());
    };
    check("os.closerange(0, 50); time.sleep(1000)", "closed its socket and is still there").await;
    check("atexit.register(time.sleep, 1000); sys.exit()", "closed its socket").await;
    check("answer = bytes(300 << 20)", "its reply would have 314572800 bytes").await;
    let leaves = "os.fork() or (os.setsid(), time.sleep(1000)); os.closerange(0, 3); os._exit(3)";
    check(leaves, "exit code 3").await;
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

/// Nobody reads from an idle worker: only the next call finds out.
#[tokio::test]
async fn an_idle_worker_that_hangs_up_is_replaced() {
    let bench = Bench::new();
    let worker = bench.launch(RUNS, ONE).await;
    let code = "atexit.register(time.sleep, 1000); threading.Timer(0.05, hang_up).start()";
    assert_eq!(said(&worker, code).await, "fine");
    until(|| bench.logged("hung up")).await;
    let next = timeout(Duration::from_secs(5), said(&worker, "pass")).await;
    assert_eq!(next.unwrap(), "fine");
    stop(&worker).await;
}

#[tokio::test]
async fn only_one_process_answers_a_call() {
    let bench = Bench::new();
    let forks = format!("{RUNS}\nos.fork()\ndef model_fn(model_dir): os.fork()\n");
    let worker = bench.launch(&forks, ONE).await;
    for i in 0..5 {
        let code = "answer = b'child' if os.fork() == 0 else b'parent'";
        assert_eq!(said(&worker, code).await, "parent");
        assert_eq!(said(&worker, &format!("answer = b'{i}'")).await, i.to_string());
    }
    let pool = "
from multiprocessing import get_context
with get_context('fork').Pool(2) as pool: answer = str(sum(pool.map(abs, [-1, -2]))).encode()";
    assert_eq!(said(&worker, pool).await, "3");
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

#[tokio::test]
async fn what_a_worker_has_started_ends_with_it() {
    for mode in [Mode::Auto, Mode::Group] {
        let bench = Bench::in_mode(mode);
        let worker = bench.launch(RUNS, ONE).await;
        for end in ["os._exit(3)", "os.closerange(0, 50); time.sleep(1000)"] {
            let starts = "import subprocess
answer = str(subprocess.Popen(['sleep', '1000']).pid).encode()";
            let pid = said(&worker, starts).await;
            told(ask(&worker, end).await);
            timeout(Duration::from_secs(10), gone(&worker, &pid)).await.unwrap();
        }
        stop(&worker).await;
        assert_eq!(bench.homes(), 0);
    }
}

/// Waits until the worker finds no such process.
async fn gone(worker: &Arc<dyn Worker>, pid: &str) {
    let look = format!(
        "
try: os.kill({pid}, 0)
except ProcessLookupError: answer = b'gone'"
    );
    while said(worker, &look).await != "gone" {}
}

#[tokio::test]
async fn a_fault_in_a_reply_is_the_calls_own() {
    let bench = Bench::new();
    let worker = bench.launch(RUNS, ONE).await;
    let pid = said(&worker, "answer = str(os.getpid()).encode()").await;
    for (code, why) in [
        ("answer = (b'1', 'text/x\\r\\nx: y')", "no header of a reply: 'text/x"),
        ("answer = (b'1', 'text/\\u00e9')", "no header of a reply"),
        ("answer = (b'1', 'text/\\u4e2d')", "no header of a reply"),
        ("context.custom_attributes = 'a\\nb'", "no header of a reply: '"),
        ("context.set_response_status(-1)", "no status of a reply: -1"),
        ("context.set_response_status(1 << 40)", "no status of a reply"),
        ("raise Mute()", "Mute"),
        ("raise ValueError('x' * (1 << 20))", "xxx"),
        ("sys.stdout = sys.stderr = None; raise KeyError('unheard')", "KeyError: 'unheard'"),
    ] {
        let (status, message) = told(ask(&worker, code).await);
        assert!(status == 500 && message.contains(why), "{code}: {message}");
        assert!(message.len() <= 64 << 10, "{code}");
    }
    let long = "context.custom_attributes = 'x' * 1025";
    assert_eq!(ask(&worker, long).await.unwrap().custom_attributes, None);
    let fits = "context.custom_attributes = 'x' * 1024";
    assert_eq!(ask(&worker, fits).await.unwrap().custom_attributes.map(|it| it.len()), Some(1024));
    assert_eq!(said(&worker, "answer = str(os.getpid()).encode()").await, pid, "it goes on");
    until(|| bench.logged("[request-1] KeyError: 'unheard'")).await;
    let left_out = "[request-1] Custom attributes of 1025 characters are left out.";
    until(|| bench.logged(left_out)).await;
    stop(&worker).await;
}

#[tokio::test]
async fn what_is_printed_in_any_way_is_logged() {
    let bench = Bench::new();
    let logs = "
import logging, signal
logging.basicConfig(level='INFO', stream=sys.stdout, format='%(message)s')
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print('imported', end='')
atexit.register(print, 'goodbye')
class Last:
    def __del__(self): raise OSError('in del')
";
    let worker = bench.launch(&format!("{RUNS}{logs}"), ONE).await;
    said(&worker, "logging.info('by logging'); print('no end', end=''); Last()").await;
    said(&worker, "sys.__stdout__.write('around it')").await;
    until(|| bench.logged("[request-1] by logging") && bench.logged("[request-1] no end")).await;
    until(|| bench.logged("OSError: in del")).await;
    let imported = bench.log.lines().iter().filter(|(_, line)| line == "imported").count();
    assert_eq!(imported, 1);
    stop(&worker).await;
    until(|| bench.logged("goodbye") && bench.logged("around it")).await;
}

#[tokio::test]
async fn calls_under_way_learn_how_the_template_ended() {
    let bench = Bench::new();
    let code = format!("{RUNS}\nTEMPLATE = os.getpid()\n");
    let worker = bench.launch(&code, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "2")]).await;
    let since = Instant::now();
    let kill = "time.sleep(0.2); os.kill(TEMPLATE, 9); time.sleep(1000)";
    let (one, two) = tokio::join!(ask(&worker, "time.sleep(1000)"), ask(&worker, kill));
    assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
    for reply in [one, two] {
        let (status, message) = told(reply);
        let why = "ended with its template, which was killed by signal 9";
        assert!(status == 500 && message.contains(why), "{message}");
    }
    let next = ask(&worker, "pass").await;
    assert!(matches!(next, Err(WorkerError::Gone { .. })), "{next:?}");
    stop(&worker).await;
    assert_eq!(bench.homes(), 0);
}

const SLEEPS: &str = "
import os, time
def model_fn(model_dir): print('loading', flush=True); time.sleep(1000)
def predict_fn(data, model): return data
";

#[tokio::test]
async fn a_load_that_hangs_is_ended() {
    let bench = Bench::new();
    let mut spec = bench.spec(Some(SLEEPS), ONE);
    spec.startup_timeout = Duration::from_secs(2);
    let error = timeout(PATIENCE, bench.runtime.launch(&spec)).await.unwrap().err().unwrap();
    assert!(error.to_string().starts_with("The model was not loaded within"), "{error}");
    assert_eq!(bench.homes(), 0);

    spec.startup_timeout = PATIENCE;
    let launch = bench.runtime.launch(&spec);
    let lines = bench.log.lines().len();
    tokio::select! {
        _ = launch => panic!("it was launched"),
        () = until(|| bench.log.lines().len() > lines) => {} // It is loading.
    }
    until(|| bench.homes() == 0).await;
}

/// The first of two workers serves, the second still loads.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_load() {
    let bench = Bench::new();
    let code = "
import os, time
def model_fn(model_dir):
    try: os.mkdir(os.path.expanduser('~/first'))
    except FileExistsError: print('loading', flush=True); time.sleep(1000)
def predict_fn(data, model): return data
";
    let worker = bench.launch(code, &[("SAGEMAKER_MODEL_SERVER_WORKERS", "2")]).await;
    until(|| bench.logged("loading")).await;
    let since = Instant::now();
    timeout(PATIENCE, worker.stop(Instant::now() + Duration::from_secs(60))).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(bench.homes(), 0);
}
