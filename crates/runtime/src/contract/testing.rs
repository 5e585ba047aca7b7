//! What the tests of processes and containers share.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::logs::{LogStream, MemoryLog};
use sagebrush_core::worker::{Call, LaunchSpec, Payload, Reply, Resources, Worker, WorkerError};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

/// A folder as an archive unpacks to.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn with(files: &[(&str, &str)]) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        for (file, content) in files {
            fs::write(dir.path().join(file), content).unwrap();
        }
        Arc::new(Self(dir))
    }
}

impl ArtifactLease for Files {
    fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn bytes(&self) -> u64 {
        let entries = fs::read_dir(self.0.path()).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }
}

pub(crate) fn call(body: &str) -> Call {
    Call {
        payload: Payload {
            content_type: Some("text/plain".to_owned()),
            body: Bytes::from(body.to_owned()),
        },
        accept: None,
        headers: Vec::new(),
        target_model: None,
        target_container: None,
        request_id: "r-1".into(),
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

pub(crate) fn spec(image: &str, log: &Arc<MemoryLog>) -> LaunchSpec {
    LaunchSpec {
        name: "AllTraffic/i-0".to_owned(),
        image: image.to_owned(),
        model: None,
        code: None,
        environment: BTreeMap::new(),
        hostname: "primary".to_owned(),
        network_isolation: false,
        resources: Resources { cpus: 2, memory_bytes: 4 << 30, concurrency: None },
        startup_timeout: Duration::from_secs(20),
        log: log.clone(),
        log_stream: LogStream { region: "r".into(), group: "g".into(), stream: "s".into() },
    }
}

pub(crate) async fn answer(worker: &dyn Worker, call: Call) -> Result<Reply, WorkerError> {
    let mut replies = worker.invoke(vec![call]).await;
    assert_eq!(replies.len(), 1);
    replies.remove(0)
}

/// The text of a reply.
pub(crate) async fn said(worker: &dyn Worker, body: &str) -> String {
    let reply = answer(worker, call(body)).await.unwrap();
    String::from_utf8(reply.payload.body.to_vec()).unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let looks = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), looks).await.unwrap_or_else(|_late| panic!("never: {what}"));
}

pub(crate) fn lines(log: &MemoryLog) -> Vec<String> {
    log.lines().into_iter().map(|(_, line)| line).collect()
}
