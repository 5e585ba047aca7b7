//! The connection to one worker process, and the exchange of calls for their replies.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Reply, WorkerError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::frame::{FrameError, Ready, Replies, frame};
use super::line::Line;
use super::pool::Pool;
use super::template::Forked;

/// How long we wait to hear how a worker ended whose socket is closed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A worker process that is idle, or that one exchange holds.
pub(super) struct Conn {
    pub(super) forked: Forked,
    pub(super) line: Line,
    /// It answers the calls of a frame together, not one by one.
    together: bool,
}

impl Conn {
    pub(super) fn new(forked: Forked, line: Line) -> Self {
        Self { forked, line, together: false }
    }

    /// Waits until the worker has loaded its model.
    pub(super) async fn loaded(&mut self) -> Result<Ready, NotLoaded> {
        let mut input = Vec::new();
        loop {
            match Ready::read(&mut input) {
                Ok(Some(ready)) => {
                    self.together = ready.together;
                    return Ok(ready);
                }
                Ok(None) => {}
                Err(FrameError::Failed { reason }) => return Err(NotLoaded::Failed(reason)),
                Err(
                    error @ (FrameError::TooLong { .. }
                    | FrameError::LongPart { .. }
                    | FrameError::TooMuch
                    | FrameError::Unexpected { .. }),
                ) => return Err(NotLoaded::Ended(error.to_string())),
            }
            if !matches!(self.line.read(&mut input).await, Ok(1..)) {
                let ending = self.last_words().await;
                let ending = ending.unwrap_or_else(|still_there| still_there.to_string());
                return Err(NotLoaded::Ended(ending));
            }
        }
    }

    /// How the worker ended whose socket is closed.
    async fn last_words(&mut self) -> Result<String, StillThere> {
        timeout(LAST_WORDS, self.forked.ended()).await.map_err(|_late| StillThere)
    }

    /// What a call is told that the worker had when its socket closed.
    pub(super) async fn died(&mut self) -> WorkerError {
        let ending = self.last_words().await;
        let once_more = ending.is_ok();
        let ending = ending.unwrap_or_else(|still_there| still_there.to_string());
        let message = format!("The worker process {ending} while it answered this call.");
        WorkerError::Died { message, once_more }
    }
}

#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("closed its socket and is still there")]
struct StillThere;

/// Why a worker did not load its model.
pub(super) enum NotLoaded {
    /// The code raised; the traceback.
    Failed(String),
    /// The process ended, and how.
    Ended(String),
}

/// What became of one call of an exchange.
pub(super) enum Outcome {
    Answered(Result<Reply, WorkerError>),
    /// The worker ended before it began this one.
    NotBegun,
    /// The worker ended with several, of which any may be the cause: it may be tried alone.
    Lost(WorkerError),
}

/// Calls on their way through a worker. Dropped before its end, it is brought to its end in the
/// background: the worker computes anyway, and is of use again afterwards.
pub(super) struct Exchange {
    pool: Arc<Pool>,
    n_calls: usize,
    /// How long one call may take.
    call_timeout: Duration,
    /// When the worker counts as hung.
    limit: Instant,
    /// `None` once the exchange is over.
    trip: Option<Trip>,
}

/// What is under way.
struct Trip {
    conn: Conn,
    /// What is still to be sent.
    parts: VecDeque<Bytes>,
    replies: Replies,
    is_unsent: bool,
}

impl Exchange {
    pub(super) fn new(pool: Arc<Pool>, conn: Conn, calls: &[Call], call_timeout: Duration) -> Self {
        let now = Instant::now();
        let parts = frame(calls, now, call_timeout);
        let replies = Replies::new(calls.len());
        let trip = Some(Trip { conn, parts, replies, is_unsent: true });
        Self { pool, n_calls: calls.len(), call_timeout, limit: now + call_timeout, trip }
    }

    /// Brings the exchange to its end. Whoever gives up waiting may drop it. `None` if the worker
    /// had ended before it got anything: another may answer.
    pub(super) async fn run(mut self) -> Option<Vec<Outcome>> {
        let passed = self.trip.as_mut()?.pass().await;
        let Trip { mut conn, mut replies, .. } = self.trip.take()?;
        let error = match passed {
            Ok(()) => {
                self.pool.put(conn);
                return Some(replies.take().into_iter().map(Outcome::Answered).collect());
            }
            Err(Broken::Unsent) => {
                conn.forked.kill(); // If it is there still, it has closed its socket.
                return None;
            }
            Err(Broken::Stream) => conn.died().await,
            Err(Broken::Frame(error)) => {
                let message = format!("The worker process was ended: {error}.");
                WorkerError::Model { status: 500, message, content_type: None }
            }
        };
        let at_fault = self.at_fault(&conn);
        conn.forked.kill();
        let mut outcomes: Vec<_> = replies.take().into_iter().map(Outcome::Answered).collect();
        for at in outcomes.len()..self.n_calls {
            outcomes.push(match at_fault {
                Some(fault) if fault == at => Outcome::Answered(Err(error.clone())),
                Some(_) => Outcome::NotBegun,
                None => Outcome::Lost(error.clone()),
            });
        }
        Some(outcomes)
    }

    /// Which call a worker that has ended was at; `None` if that cannot be said.
    fn at_fault(&self, conn: &Conn) -> Option<usize> {
        match self.n_calls {
            1 => Some(0),
            _ if conn.together => None,
            n => conn.forked.mark().filter(|at| *at < n),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(trip) = self.trip.take() else { return };
        if Handle::try_current().is_err() {
            trip.conn.forked.kill(); // The server itself ends.
            return;
        }
        let one_by_one = self.n_calls > 1 && !trip.conn.together;
        let call_timeout = one_by_one.then_some(self.call_timeout);
        let finish = finish(trip, self.pool.clone(), self.limit, call_timeout);
        task::spawn("python-call", finish);
    }
}

/// Ends a trip for whose replies nobody waits any more. The worker counts as hung at `limit`, but
/// not if it has begun another of several calls since: each may take `call_timeout`.
async fn finish(
    mut trip: Trip,
    pool: Arc<Pool>,
    mut limit: Instant,
    call_timeout: Option<Duration>,
) {
    let mut mark = Some(0); // The first call was begun when the limit was set.
    loop {
        match timeout_at(limit, trip.pass()).await {
            Ok(Ok(())) => return pool.put(trip.conn),
            Ok(Err(_)) => break,
            Err(_late) => {}
        }
        let newer = trip.conn.forked.mark();
        let Some(call_timeout) = call_timeout.filter(|_| newer != mark) else { break };
        (mark, limit) = (newer, Instant::now() + call_timeout);
    }
    trip.conn.forked.kill(); // It may never come back: another one takes its place.
}

impl Trip {
    /// Sends what is left of the calls and reads what is left of the replies.
    async fn pass(&mut self) -> Result<(), Broken> {
        let unsent = self.parts.front().map(Bytes::len);
        if let Err(error) = self.conn.line.write(&mut self.parts).await {
            self.is_unsent &= self.parts.front().map(Bytes::len) == unsent;
            return Err(if self.is_unsent { Broken::Unsent } else { error.into() });
        }
        self.is_unsent = false;
        while !self.replies.advance().map_err(Broken::Frame)? {
            if self.conn.line.read(self.replies.input()).await? == 0 {
                return Err(Broken::Stream);
            }
        }
        Ok(())
    }
}

/// Why an exchange failed.
enum Broken {
    /// Nothing was sent yet.
    Unsent,
    Stream,
    Frame(FrameError),
}

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self::Stream
    }
}
