//! What programs print, brought to the log line by line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::task;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::tree::Tree;

/// The longest line; the rest of a longer one is another line.
const LONGEST: u64 = 16 << 10;
/// How many lines a failure may show.
const KEPT: usize = 20;
/// How long a tail may wait for what was printed last.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The last lines that a program printed.
#[derive(Clone, Default)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// How many streams may bring more.
    open: Arc<watch::Sender<usize>>,
}

/// Brings all that `tree` prints to the log, until it ends.
#[must_use]
pub fn follow(tree: &Tree, log: &Arc<dyn LogSink>, at: &LogStream) -> Tail {
    let tail = Tail::default();
    if let Some((stdout, stderr)) = tree.output() {
        tail.open.send_modify(|open| *open += 2);
        let line = Lines { log: log.clone(), at: at.clone(), tail: tail.clone() };
        task::spawn("stdout", line.clone().pump(stdout));
        task::spawn("stderr", line.pump(stderr));
    }
    tail
}

impl Tail {
    /// The last lines, the newest last; empty if none was printed.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The same, once all that an ended program printed has been read; waits for that, but not
    /// for long.
    pub async fn complete(&self) -> String {
        let mut open = self.open.subscribe();
        let _late = timeout(LAST_WORDS, open.wait_for(|open| *open == 0)).await;
        self.text()
    }

    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

#[derive(Clone)]
struct Lines {
    log: Arc<dyn LogSink>,
    at: LogStream,
    tail: Tail,
}

impl Lines {
    async fn pump(self, from: impl AsyncRead + Unpin) {
        self.read(from).await;
        self.tail.open.send_modify(|open| *open -= 1);
    }

    async fn read(&self, from: impl AsyncRead + Unpin) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut from).take(LONGEST).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\n', '\r']);
            self.tail.push(text);
            self.log.write(&self.at, text);
        }
    }
}
