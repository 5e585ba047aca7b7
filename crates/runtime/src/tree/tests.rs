use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Exit;
use super::proc::{Process, Snapshot};
use crate::sandbox::tests::{Trial, trials};
use crate::sandbox::{Confinement, Program};

#[test]
fn exits_read_as_sentences() {
    let cases = [
        (Exit::Code(3), "ended with exit code 3"),
        (Exit::Signal(11), "was killed by signal 11"),
        (Exit::Unknown, "is gone"),
    ];
    for (exit, wanted) in cases {
        assert_eq!(exit.to_string(), wanted);
    }
    let said = Exit::TooManyProcesses(99).to_string();
    assert_eq!(said, "was killed: it had 99 processes and threads, more than it may have");
}

#[tokio::test]
async fn programs_end_as_they_say() {
    for (_, trial) in trials().await {
        let cases = [
            ("raise SystemExit(0)", Exit::Code(0)),
            ("raise SystemExit(7)", Exit::Code(7)),
            ("import os; os.kill(os.getpid(), 11)", Exit::Signal(11)),
            ("import os; os.kill(os.getpid(), 9)", Exit::Signal(9)),
        ];
        for (script, wanted) in cases {
            assert_eq!(trial.run(script, &trial.confinement()).await.0, wanted, "{script}");
        }
    }
}

#[tokio::test]
async fn short_programs_may_end_before_they_are_seen() {
    for (_, trial) in trials().await {
        for _ in 0..20 {
            let program = Program { path: "true".into(), arguments: vec![], ..trial.python("") };
            let (tree, _) = trial.start(program, &Confinement::default()).await;
            assert_eq!(tree.ended().await, Exit::Code(0));
        }
        trial.assert_nothing_is_left();
    }
    assert!(!Process::gone(1).is_there() && !Process::gone(1).is_alive());
}

/// A daemon: in a session of its own, its parents gone.
const DAEMON: &str = "import os, sys, time\n\
    if os.fork() == 0:\n\
    \x20   os.setsid()\n\
    \x20   if os.fork() == 0:\n\
    \x20       FORGET\n\
    \x20       time.sleep(1000)\n\
    \x20   os._exit(0)\n\
    os.wait()\n";

#[tokio::test]
async fn daemons_end_with_their_program() {
    let forgets = "os.execve('/bin/sleep', ['sleep', '1000'], {})";
    for (mode, trial) in trials().await {
        for (daemon, end) in [("pass", "pass"), (forgets, "time.sleep(0.6)"), (forgets, "pass")] {
            let script = DAEMON.replace("FORGET", daemon) + end;
            let (exit, text) = trial.run(&script, &trial.confinement()).await;
            assert_eq!((exit, text.as_str()), (Exit::Code(0), ""), "{mode:?}");
            trial.assert_nothing_is_left();
            orphans_are_gone().await;
        }
    }
}

/// Waits, because tests beside this one have programs that orphans may belong to.
async fn orphans_are_gone() {
    let own = Process::of(rustix::process::getpid().as_raw_pid()).unwrap();
    let is_orphan = |process: &Process| process.is_our_child() && process.session != own.session;
    wait_until(|| !Snapshot::take().iter().any(is_orphan)).await;
}

async fn wait_until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn too_many_processes_end_the_program() {
    for (mode, trial) in trials().await {
        let confinement = Confinement { processes: Some(100), ..trial.confinement() };
        let script = "import os, time\n\
            for i in range(2000):\n\
            \x20   if os.fork() == 0: time.sleep(1000)\n\
            time.sleep(1000)";
        let (exit, _) = trial.run(script, &confinement).await;
        assert!(matches!(exit, Exit::TooManyProcesses(n) if n > 100), "{mode:?} {exit:?}");
        trial.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn threads_count_as_processes() {
    for (_, trial) in trials().await {
        let confinement = Confinement { processes: Some(20), ..trial.confinement() };
        let script = "import threading, time\n\
            for i in range(30): threading.Thread(target=time.sleep, args=[1000]).start()";
        let (exit, _) = trial.run(script, &confinement).await;
        assert!(matches!(exit, Exit::TooManyProcesses(n) if n > 20), "{exit:?}");
    }
}

#[tokio::test]
async fn a_worker_that_leaks_dies_alone() {
    for (_, trial) in trials().await {
        let confinement = Confinement { memory_bytes: Some(128 << 20), ..trial.confinement() };
        // Shared memory is not bounded by what a process may allocate.
        let script = "import mmap, os, time\n\
            child = os.fork()\n\
            if child == 0:\n\
            \x20   kept = []\n\
            \x20   while True:\n\
            \x20       kept.append(mmap.mmap(-1, 8 << 20)); kept[-1].write(bytes(8 << 20))\n\
            \x20       time.sleep(0.01)\n\
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))";
        let (exit, text) = trial.run(script, &confinement).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(0), "-9"));
        let lines = trial.log.lines();
        let said = lines.iter().any(|(_, line)| line.contains("may have 128 MiB"));
        assert!(said, "{lines:?}");
    }
}

#[tokio::test]
async fn what_a_program_takes_can_be_asked() {
    for (_, trial) in trials().await {
        let script = "import os, time\n\
            x = b'x' * (64 << 20)\n\
            pid = os.fork()\n\
            if pid == 0:\n\
            \x20   y = b'y' * (32 << 20)\n\
            \x20   print(os.getppid(), os.getpid(), flush=True)\n\
            time.sleep(1000)";
        let (tree, _) = trial.start(trial.python(script), &trial.confinement()).await;
        let line = trial.first_line().await;
        let (parent, child) = line.split_once(' ').unwrap();
        let of = |id: &str| tree.memory_of(id.parse().unwrap()).unwrap() >> 20;
        assert!((32..60).contains(&of(child)), "{}", of(child));
        assert!(of(parent) < 60, "its pages are shared with the child: {}", of(parent));
        assert_eq!(tree.memory_of(1_000_000), None);
        wait_until(|| tree.usage().processes == 2).await;
        wait_until(|| tree.usage().resident_bytes > 128 << 20).await;
        assert_eq!(tree.kill().await, Exit::Signal(9));
        assert_eq!(tree.memory_of(child.parse().unwrap()), None);
    }
}

const STUBBORN: &str = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); \
    print('up', flush=True); time.sleep(1000)";
const POLITE: &str = "import signal, sys, time; \
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('up', flush=True); \
    time.sleep(1000)";

#[tokio::test]
async fn programs_are_asked_to_end_and_then_ended() {
    for (_, trial) in trials().await {
        check_stop(&trial, POLITE, Duration::from_secs(20), Exit::Code(3)).await;
    }
    for (_, trial) in trials().await {
        check_stop(&trial, STUBBORN, Duration::from_millis(100), Exit::Signal(9)).await;
    }
}

async fn check_stop(trial: &Trial, script: &str, patience: Duration, wanted: Exit) {
    let (tree, tail) = trial.start(trial.python(script), &trial.confinement()).await;
    trial.first_line().await;
    let start = Instant::now();
    assert_eq!(tree.stop(start + patience).await, wanted, "{}", tail.text());
    assert!(start.elapsed() < Duration::from_secs(5));
    trial.assert_nothing_is_left();
}

#[tokio::test]
async fn dropped_programs_end() {
    for (_, trial) in trials().await {
        let (tree, _) = trial.start(trial.python(STUBBORN), &trial.confinement()).await;
        trial.first_line().await;
        let mut exit = tree.exit.clone();
        drop(tree);
        let seen = timeout(Duration::from_secs(10), exit.wait_for(Option::is_some)).await;
        assert_eq!(*seen.unwrap().unwrap(), Some(Exit::Signal(9)));
        trial.assert_nothing_is_left();
    }
}

#[test]
fn programs_end_without_a_runtime_to_wait_for_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (trees, trials) = runtime.block_on(async {
        let trials = trials().await;
        let mut trees = Vec::new();
        for (_, trial) in &trials {
            let script = DAEMON.replace("FORGET", "pass") + STUBBORN;
            trees.push(trial.start(trial.python(&script), &trial.confinement()).await.0);
            trial.first_line().await;
        }
        (trees, trials)
    });
    drop(runtime);
    drop(trees);
    for (_, trial) in &trials {
        trial.assert_no_process_is_left();
    }
}
