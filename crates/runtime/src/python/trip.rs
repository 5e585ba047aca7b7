//! A call on its way through a worker that answers it in parts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, WorkerError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::conn::Conn;
use super::frame::{ENOUGH, FrameError, Received, Said, frame_for_parts};
use super::pool::Pool;

/// Dropped before its end, it is brought to its end in the background: the worker is told that it
/// is enough, ends before its next part, and is of use again.
pub(super) struct Trip {
    pool: Arc<Pool>,
    /// How long one part may take.
    part_timeout: Duration,
    /// `None` once it is over.
    passage: Option<Passage>,
}

struct Passage {
    conn: Conn,
    /// What is still to be sent.
    unsent: VecDeque<Bytes>,
    /// Nothing was sent yet.
    is_unsent: bool,
    has_enough: bool,
    received: Received,
}

/// Why a worker says nothing more.
enum Broken {
    /// It had ended before it got anything.
    Unsent,
    Stream,
    Frame(FrameError),
}

impl Trip {
    pub(super) fn new(pool: Arc<Pool>, conn: Conn, call: &Call, part_timeout: Duration) -> Self {
        let unsent = frame_for_parts(call, Instant::now(), part_timeout);
        let received = Received::default();
        let passage = Passage { conn, unsent, is_unsent: true, has_enough: false, received };
        Self { pool, part_timeout, passage: Some(passage) }
    }

    /// What the worker says next; nothing follows the last reply. `None` if it had ended before it
    /// got anything: another may answer.
    pub(super) async fn next(&mut self) -> Option<Said> {
        let passage = self.passage.as_mut()?;
        let Ok(said) = timeout(self.part_timeout, passage.next()).await else {
            self.kill(); // It may never come back: another one takes its place.
            return Some(Said::Last(Err(WorkerError::TimedOut)));
        };
        let broken = match said {
            Ok(said @ Said::Part(_)) => return Some(said),
            Ok(said @ Said::Last(_)) => {
                self.pool.put(self.passage.take()?.conn);
                return Some(said);
            }
            Err(broken) => broken,
        };
        let error = match broken {
            Broken::Unsent => {
                self.kill();
                return None;
            }
            Broken::Stream => passage.conn.died().await,
            Broken::Frame(error) => {
                let message = format!("The worker process was ended: {error}.");
                WorkerError::Model { status: 500, message, content_type: None }
            }
        };
        self.kill();
        Some(Said::Last(Err(error)))
    }

    fn kill(&mut self) {
        if let Some(passage) = self.passage.take() {
            passage.conn.forked.kill();
        }
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        let Some(mut passage) = self.passage.take() else { return };
        if Handle::try_current().is_err() {
            passage.conn.forked.kill(); // The server itself ends.
            return;
        }
        let (pool, longest) = (self.pool.clone(), self.part_timeout);
        task::spawn("python-stream", async move {
            match timeout(longest, passage.finish()).await {
                Ok(Ok(())) => pool.put(passage.conn),
                Ok(Err(_)) | Err(_) => passage.conn.forked.kill(),
            }
        });
    }
}

impl Passage {
    async fn next(&mut self) -> Result<Said, Broken> {
        self.send().await?;
        loop {
            match self.received.next().map_err(Broken::Frame)? {
                Some(said @ Said::Part(_)) => return Ok(said),
                Some(said @ Said::Last(_)) => {
                    self.say_enough();
                    self.send().await?;
                    return Ok(said);
                }
                None => {}
            }
            if self.conn.line.read(self.received.input()).await? == 0 {
                return Err(Broken::Stream);
            }
        }
    }

    /// Tells the worker that it is enough, and hears it out.
    async fn finish(&mut self) -> Result<(), Broken> {
        self.say_enough();
        while let Said::Part(_) = self.next().await? {}
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Broken> {
        let unsent = self.unsent.front().map(Bytes::len);
        let sent = self.conn.line.write(&mut self.unsent).await;
        self.is_unsent &= sent.is_err() && self.unsent.front().map(Bytes::len) == unsent;
        match sent {
            Err(_) if self.is_unsent => Err(Broken::Unsent),
            sent => Ok(sent?),
        }
    }

    /// Has it said once, after what is still to be sent.
    fn say_enough(&mut self) {
        if !std::mem::replace(&mut self.has_enough, true) {
            self.unsent.push_back(ENOUGH);
        }
    }
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Stream
    }
}
