//! A client's socket: what was read of it before its turn, and the end of those who take no reply.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::burst;
use super::pace::Pace;

/// What a connection does, for those who look from outside.
///
/// All of it is written and read in the connection's own task.
#[derive(Debug, Default)]
pub(super) struct Doing {
    /// Calls since the beginning; it may wrap.
    n_calls: AtomicUsize,
    /// Calls whose reply is not all with the HTTP library yet.
    n_open: AtomicUsize,
    /// Whether the library holds bytes of replies.
    has_unsent: AtomicBool,
    /// Whether bytes of an answered request may still come.
    is_spoiled: AtomicBool,
}

impl Doing {
    /// Counts a call until the value is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Begun {
        self.n_calls.fetch_add(1, Ordering::Relaxed);
        self.n_open.fetch_add(1, Ordering::Relaxed);
        Begun(self.clone())
    }

    pub(super) fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }

    pub(super) fn spoil(&self) {
        self.is_spoiled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.is_spoiled.load(Ordering::Relaxed)
    }

    /// Whether there is no call and no reply under way.
    pub(super) fn is_nothing(&self) -> bool {
        self.n_open.load(Ordering::Relaxed) == 0 && !self.has_unsent.load(Ordering::Relaxed)
    }
}

/// A call under way.
pub(super) struct Begun(Arc<Doing>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.n_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The socket as the HTTP library sees it.
pub(super) struct Socket<S> {
    pub(super) stream: S,
    /// Read already, and first in turn.
    pub(super) read: Bytes,
    pub(super) doing: Arc<Doing>,
    /// The time for a client to take its reply.
    pace: Pace,
    /// Whether the client has said that nothing more comes.
    pub(super) is_ended: bool,
    /// Whether the bytes that are being written had their turn before.
    had_turn: bool,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, grace: Duration) -> Self {
        let (read, doing) = (Bytes::new(), Arc::default());
        Self { stream, read, doing, pace: Pace::new(grace), is_ended: false, had_turn: false }
    }

    /// Pending once for each reply of a busy thread, so that others are computed first.
    fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        let waits = !self.had_turn && burst::lets_others_go(Arc::as_ptr(&self.doing).addr());
        self.had_turn = true;
        if waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// What a write came to; the client's time runs while it takes nothing.
    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.doing.has_unsent.store(true, Ordering::Relaxed);
        match written {
            Poll::Ready(written) => {
                self.pace.moved(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => {
                ready!(self.pace.poll_lost(context));
                let message = "the client did not take its reply";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let n_bytes = self.read.len().min(buffer.remaining());
            buffer.put_slice(&self.read[..n_bytes]);
            self.read.advance(n_bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if outcome.is_ok() && buffer.filled().len() == before && buffer.remaining() > 0 {
            self.is_ended = true;
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_turn(context));
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The library calls it when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.doing.has_unsent.store(false, Ordering::Relaxed);
        self.pace.reset();
        self.had_turn = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, advance};

    use super::*;

    const GRACE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_nobody_takes_ends_the_connection() {
        let (server, _client) = duplex(16);
        let mut socket = Socket::new(server, GRACE);
        let began = Instant::now();
        let error = socket.write_all(&[1; 17]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_taken_late_is_taken() {
        let (server, mut client) = duplex(16);
        let mut socket = Socket::new(server, GRACE);
        let reader = async {
            tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
            client.read_exact(&mut [0; 17]).await
        };
        let (written, read) = tokio::join!(socket.write_all(&[1; 17]), reader);
        written.unwrap();
        read.unwrap();
        assert!(!socket.doing.is_nothing());
        socket.flush().await.unwrap();
        assert!(socket.doing.is_nothing());
    }

    #[tokio::test(start_paused = true)]
    async fn replies_of_several_clients_let_others_go_first() {
        let (server, mut clients) = duplex(64);
        let mut one = Socket::new(server, GRACE);
        let (server, _other) = duplex(64);
        let mut two = Socket::new(server, GRACE);
        let at_once = async |socket: &mut Socket<DuplexStream>, after: u64| {
            advance(Duration::from_micros(after)).await;
            let mut write = pin!(socket.write_all(b"reply"));
            let first = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
            if first.is_pending() {
                write.await.unwrap();
            }
            socket.flush().await.unwrap();
            first.is_ready()
        };
        assert!(at_once(&mut one, 0).await);
        assert!(at_once(&mut one, 1).await, "nobody else is there");
        assert!(!at_once(&mut two, 1).await);
        assert!(!at_once(&mut one, 100).await);
        assert!(at_once(&mut two, 1000).await, "long after the other's");
        let mut replies = [0; 15];
        clients.read_exact(&mut replies).await.unwrap();
        assert_eq!(&replies, b"replyreplyreply");
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (server, mut client) = duplex(16);
        let mut socket = Socket::new(server, GRACE);
        socket.read = Bytes::from_static(b"one ");
        client.write_all(b"two").await.unwrap();
        drop(client);
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        assert_eq!((text.as_str(), socket.is_ended), ("one two", true));
    }
}
