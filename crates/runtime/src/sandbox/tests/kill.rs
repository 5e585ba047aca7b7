//! What runs when we are killed ends, too: at once in namespaces, else at our next start.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Process, Snapshot, trials_in};
use crate::sandbox::{Mode, Sandbox};

const FOLDER: &str = "SAGEBRUSH_TEST_FOLDER";

/// Its marker stays, its parents do not.
const DAEMON: &str = "import os, time\n\
    if os.fork() == 0:\n\
    \x20   os.setsid()\n\
    \x20   if os.fork() == 0: print('up', flush=True); time.sleep(1000)\n\
    \x20   os._exit(0)\n\
    time.sleep(1000)";

/// Started by the test below: starts programs and waits to be killed.
#[tokio::test]
#[ignore = "it is the process that is killed"]
async fn runs_until_it_is_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the test tells its child")]
    let folder = std::env::var(FOLDER).unwrap();
    for (mode, trial) in trials_in(Path::new(&folder)).await {
        std::mem::forget(trial.start(trial.python(DAEMON), &trial.confinement()).await);
        trial.first_line().await;
        writeln!(std::io::stdout().lock(), "up {mode:?}").unwrap();
        std::mem::forget(trial);
    }
    writeln!(std::io::stdout().lock(), "all up").unwrap();
    std::future::pending::<()>().await;
}

fn programs(run_dir: &Path) -> Vec<Process> {
    let marker = format!("SAGEBRUSH_HOME={}/", run_dir.display());
    let is_ours =
        |process: &&Process| process.environment_has(|entry| entry.starts_with(marker.as_bytes()));
    Snapshot::take().iter().filter(is_ours).cloned().collect()
}

#[tokio::test]
async fn programs_do_not_outlive_us() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sandbox::tests::kill::runs_until_it_is_killed"])
        .args(["--ignored", "--nocapture"])
        .env(FOLDER, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let up: Vec<String> = lines.take_while(|line| !line.contains("all up")).collect();
    let (namespaces, group) = (path.join("Namespaces/run"), path.join("Group/run"));
    let has_namespaces = up.iter().any(|line| line.contains("up Namespaces"));
    assert!(!programs(&group).is_empty());
    assert_eq!(!programs(&namespaces).is_empty(), has_namespaces);
    server.kill().unwrap(); // SIGKILL.
    server.wait().unwrap();
    let start = tokio::time::Instant::now();
    while !programs(&namespaces).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for (run_dir, mode) in [(&namespaces, Mode::Namespaces), (&group, Mode::Group)] {
        let _next = Sandbox::open(run_dir.clone()).unwrap().with_mode(mode);
        assert_eq!(programs(run_dir), []);
        assert_eq!(std::fs::read_dir(run_dir).unwrap().count(), 0);
    }
}
