//! The connection to one worker process, and the exchange of a call for its reply.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::task;
use sagebrush_core::worker::{Call, Reply, WorkerError};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use super::frame::{FrameError, Start, call_head};
use super::line::Line;
use super::pool::Pool;
use super::template::Forked;

/// How long we wait to hear how a worker ended whose socket is closed.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Room for the start of a reply; small replies need no more.
const FIRST_READ: usize = 4 << 10;

/// A worker process that is idle, or that one exchange holds.
pub(super) struct Conn {
    pub(super) forked: Forked,
    line: Line,
}

impl Conn {
    pub(super) fn new(forked: Forked, line: Line) -> Self {
        Self { forked, line }
    }

    /// Waits until the worker has loaded its model.
    pub(super) async fn loaded(&mut self) -> Result<(), NotLoaded> {
        let mut input = Vec::with_capacity(FIRST_READ);
        match read_frame(&self.line, &mut input).await {
            Ok(start) => match start.loaded(&input.into()) {
                Ok(()) => Ok(()),
                Err(FrameError::Failed { reason }) => Err(NotLoaded::Failed(reason)),
                Err(
                    error @ (FrameError::TooLong { .. }
                    | FrameError::TooMuch
                    | FrameError::Unexpected { .. }),
                ) => Err(NotLoaded::Ended(error.to_string())),
            },
            Err(_) => Err(NotLoaded::Ended(self.last_words().await)),
        }
    }

    /// How the worker ended.
    async fn last_words(&mut self) -> String {
        match timeout(LAST_WORDS, self.forked.ended()).await {
            Ok(ending) => ending,
            Err(_) => "closed its socket and is still there".to_owned(),
        }
    }
}

/// Why a worker did not load its model.
pub(super) enum NotLoaded {
    /// The code raised; the traceback.
    Failed(String),
    /// The process ended, and how.
    Ended(String),
}

/// A call on its way through a worker. Dropped before its end, it is brought to its end in the
/// background: the worker computes anyway, and is of use again afterwards.
pub(super) struct Exchange {
    /// `None` once the exchange is over.
    conn: Option<Conn>,
    pool: Arc<Pool>,
    head: Bytes,
    body: Bytes,
    input: Vec<u8>,
    /// When the worker counts as hung.
    limit: Instant,
    is_unsent: bool,
    /// Nobody waits for the reply any more.
    is_background: bool,
}

impl Exchange {
    pub(super) fn new(pool: Arc<Pool>, conn: Conn, call: &Call, limit: Instant) -> Self {
        let head = call_head(call).freeze();
        let input = Vec::with_capacity(FIRST_READ);
        let body = call.payload.body.clone();
        let conn = Some(conn);
        Self { conn, pool, head, body, input, limit, is_unsent: true, is_background: false }
    }

    /// Brings the exchange to its end. Whoever gives up waiting may drop it.
    ///
    /// # Errors
    /// `Gone` if the worker had ended before it got anything of the call: another may answer it.
    pub(super) async fn run(mut self) -> Result<Reply, WorkerError> {
        let done = timeout_at(self.limit, self.pass()).await;
        let Some(mut conn) = self.conn.take() else { return Err(WorkerError::TimedOut) };
        let frame = Bytes::from(std::mem::take(&mut self.input));
        match done {
            Ok(Ok(start)) => {
                self.pool.put(conn);
                start.reply(&frame)
            }
            Ok(Err(Broken::Unsent)) => {
                conn.forked.kill(); // If it is there still, it has closed its socket.
                Err(WorkerError::Gone { reason: "its process has ended".to_owned() })
            }
            Ok(Err(Broken::Stream)) => {
                let ending = conn.last_words().await;
                conn.forked.kill();
                let message = format!("The worker process {ending} while it answered this call.");
                Err(WorkerError::Model { status: 500, message, content_type: None })
            }
            Ok(Err(Broken::Frame(error))) => {
                conn.forked.kill();
                let message = format!("The worker process was ended: {error}.");
                Err(WorkerError::Model { status: 500, message, content_type: None })
            }
            Err(_) => {
                conn.forked.kill(); // It may never come back: another one takes its place.
                Err(WorkerError::TimedOut)
            }
        }
    }

    /// Sends what is left of the call and reads what is left of the reply.
    async fn pass(&mut self) -> Result<Start, Broken> {
        let Some(conn) = &mut self.conn else { return Err(Broken::Stream) };
        let unsent = self.head.len();
        if let Err(error) = conn.line.write(&mut self.head, &mut self.body).await {
            self.is_unsent &= self.head.len() == unsent;
            return Err(if self.is_unsent { Broken::Unsent } else { error.into() });
        }
        self.is_unsent = false;
        read_frame(&conn.line, &mut self.input).await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.is_background || Handle::try_current().is_err() {
            conn.forked.kill(); // The server itself ends.
            return;
        }
        let left = Self {
            conn: Some(conn),
            pool: self.pool.clone(),
            head: std::mem::take(&mut self.head),
            body: std::mem::take(&mut self.body),
            input: std::mem::take(&mut self.input),
            limit: self.limit,
            is_unsent: self.is_unsent,
            is_background: true,
        };
        task::spawn("python-call", async move { drop(left.run().await) });
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

/// Reads one frame to its end; `input` keeps what came before a cancellation.
async fn read_frame(line: &Line, input: &mut Vec<u8>) -> Result<Start, Broken> {
    loop {
        if let Some(start) = Start::read(input).map_err(Broken::Frame)? {
            let missing = start.length().saturating_sub(input.len());
            if input.len() > start.length() {
                return Err(Broken::Frame(FrameError::TooMuch));
            }
            if missing == 0 {
                return Ok(start);
            }
            input.reserve_exact(missing);
        }
        if line.read(input).await? == 0 {
            return Err(Broken::Stream);
        }
    }
}
