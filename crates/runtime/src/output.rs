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
/// What a pipe of the system holds: one read empties it.
const PIPE: usize = 64 << 10;
/// How long a tail may wait for what was printed last. Once a program has ended, its pipes have;
/// unless it handed them to a program that is not ours to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The last lines that a program printed.
#[derive(Clone, Default)]
pub struct Tail(Arc<Kept>);

#[derive(Default)]
struct Kept {
    lines: Mutex<VecDeque<String>>,
    /// How many pipes are being read.
    open: watch::Sender<usize>,
}

/// Brings all that `tree` prints to the log, until it ends.
#[must_use]
pub fn follow(tree: &Tree, log: &Arc<dyn LogSink>, at: &LogStream) -> Tail {
    let tail = Tail::default();
    tree.set_log(log, at);
    if let Some((stdout, stderr)) = tree.output() {
        task::spawn("stdout", Lines::new(log, at, &tail).pump(stdout));
        task::spawn("stderr", Lines::new(log, at, &tail).pump(stderr));
    }
    tail
}

impl Tail {
    /// The last lines, the newest last; empty if none was printed.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The same, once all that an ended program printed has been read; waits for that, but not
    /// for long.
    pub async fn complete(&self) -> String {
        let mut open = self.0.open.subscribe();
        // What is missing after that does not come.
        let _late = timeout(LAST_WORDS, open.wait_for(|open| *open == 0)).await;
        self.text()
    }

    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // The room of the oldest line is used again: programs may print a million in a second.
        let mut room =
            if lines.len() < KEPT { None } else { lines.pop_front() }.unwrap_or_default();
        room.clear();
        room.push_str(line);
        lines.push_back(room);
    }
}

/// Reads one pipe.
struct Lines {
    log: Arc<dyn LogSink>,
    at: LogStream,
    tail: Tail,
}

impl Lines {
    fn new(log: &Arc<dyn LogSink>, at: &LogStream, tail: &Tail) -> Self {
        tail.0.open.send_modify(|open| *open += 1);
        Self { log: log.clone(), at: at.clone(), tail: tail.clone() }
    }

    async fn pump(self, from: impl AsyncRead + Unpin) {
        let mut from = BufReader::with_capacity(PIPE, from);
        let mut line = Vec::new();
        loop {
            let room = LONGEST - line.len() as u64;
            match (&mut from).take(room).read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) if line.is_empty() => return,
                Ok(0) | Err(_) => {
                    self.write(&line);
                    return;
                }
                Ok(_) => {}
            }
            // A line that is cut is cut between two letters; what remains begins the next one.
            let cut = if line.ends_with(b"\n") { line.len() } else { last_letter(&line) };
            self.write(&line[..cut]);
            line.drain(..cut);
        }
    }

    fn write(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\n', '\r']);
        self.tail.push(text);
        self.log.write(&self.at, text);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.tail.0.open.send_modify(|open| *open -= 1);
    }
}

/// The length of `line` without the begun letter at its end, if there is one.
fn last_letter(line: &[u8]) -> usize {
    match std::str::from_utf8(line) {
        Ok(_) => line.len(),
        // No length: the input ended too early for this letter. Else it was none.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => line.len(),
    }
}

#[cfg(test)]
mod tests;
