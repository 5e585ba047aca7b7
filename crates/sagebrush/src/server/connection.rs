//! One connection, from its first byte to its end.
//!
//! It rests while nothing is asked: then it has no buffer and no HTTP state, only its socket. A
//! byte of a request wakes it. Nothing of it costs a call anything but a look at a timer that is
//! set each ten seconds.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::asked::Asked;
use super::open::Seat;
use super::socket::{Begun, Doing, Socket};

/// How patient a connection is with its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// How often it looks whether anything is being asked.
    pub(super) look: Duration,
    /// After how many looks the head of a request must be there.
    pub(super) n_looks: u32,
    /// How long it rests.
    pub(super) rest: Duration,
    /// How long a client may take nothing of its reply.
    pub(super) reply: Duration,
    /// How long the rest of a refused request is awaited, so that the client reads its reply.
    pub(super) linger: Duration,
}

impl Patience {
    /// A head must be there after 20 to 30 seconds.
    pub(super) const USUAL: Self = Self {
        look: Duration::from_secs(10),
        n_looks: 3,
        rest: Duration::from_mins(5),
        reply: Duration::from_mins(1),
        linger: Duration::from_secs(2),
    };
}

/// HTTP/2 streams of one connection.
const MAX_STREAMS: u32 = 128;
/// How often a silent client of HTTP/2 is asked whether it is there, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// What HTTP/2 begins with, as far as no method of HTTP/1 does.
const HTTP2: &[u8] = b"PRI";
/// The most that is read of a refused request.
const MAX_LINGER: usize = 32 << 20;

/// Serves the connection until its end.
pub(super) async fn serve<A, F, B>(stream: TcpStream, seat: Seat, patience: Patience, answer: A)
where
    A: Fn(Request<Asked>) -> F + Clone + Send + Sync + Unpin + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut socket = Socket::new(stream, patience.reply);
    if !rest(&mut socket, &seat, patience.rest, is_clear).await {
        return;
    }
    if socket.read.starts_with(HTTP2) {
        return talk_http2(socket, &seat, answer).await;
    }
    let mut n_looks = 0;
    loop {
        let n_calls = socket.doing.n_calls();
        let Some(same) = talk(socket, &seat, patience, answer.clone()).await else { return };
        socket = same;
        if socket.read.is_empty() {
            n_looks = 0;
            if !rest(&mut socket, &seat, patience.rest, |_| true).await {
                return;
            }
            continue;
        }
        n_looks = if socket.doing.n_calls() == n_calls { n_looks + 1 } else { 1 };
        if n_looks >= patience.n_looks {
            tracing::debug!("the head of a request came too slowly");
            return;
        }
    }
}

/// Whether the first bytes tell which protocol it is.
fn is_clear(read: &[u8]) -> bool {
    read.len() >= HTTP2.len() || !HTTP2.starts_with(read)
}

/// Waits for bytes that `are_enough`. False when there will be none.
async fn rest(
    socket: &mut Socket<TcpStream>,
    seat: &Seat,
    longest: Duration,
    are_enough: fn(&[u8]) -> bool,
) -> bool {
    let _rest = seat.rest();
    let mut left = pin!(seat.left());
    let mut end = pin!(sleep(longest));
    loop {
        tokio::select! {
            readable = socket.stream.readable() => if readable.is_err() { return false },
            () = &mut left => return false,
            () = &mut end => return false,
        }
        match read_some(socket) {
            Ok(0) => return false,
            Ok(_) if are_enough(&socket.read) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
}

/// Most heads fit into the buffer, which is on the stack: who rests has none.
fn read_some(socket: &mut Socket<TcpStream>) -> io::Result<usize> {
    let mut buffer = [0; 2048];
    let n_bytes = socket.stream.try_read(&mut buffer)?;
    socket.read = [&socket.read[..], &buffer[..n_bytes]].concat().into();
    Ok(n_bytes)
}

/// Talks HTTP/1 until nothing is asked any more, and gives the socket back with what was read of
/// the next request. None when the connection is at its end.
async fn talk<A, F, B>(
    socket: Socket<TcpStream>,
    seat: &Seat,
    patience: Patience,
    answer: A,
) -> Option<Socket<TcpStream>>
where
    A: Fn(Request<Asked>) -> F + Unpin,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let doing = socket.doing.clone();
    let mut looks = Looks::new(doing.clone(), patience.look);
    let service = service_fn(move |request| counted(&doing, request, &answer));
    // The timeouts are ours: the library's would set a timer for each request.
    let http = http1::Builder::new().header_read_timeout(None).to_owned();
    let mut http = Box::new(http.serve_connection(TokioIo::new(socket), service));
    let mut left = pin!(seat.left());
    let mut is_leaving = false;
    let ended = poll_fn(|context| {
        if !is_leaving && left.as_mut().poll(context).is_ready() {
            is_leaving = true;
            Pin::new(&mut *http).graceful_shutdown();
        }
        if let Poll::Ready(ended) = Pin::new(&mut *http).poll(context) {
            return Poll::Ready(Some(ended));
        }
        if is_leaving { Poll::Pending } else { looks.poll_idle(context).map(|()| None) }
    });
    let ended = ended.await;
    if let Some(Err(error)) = &ended {
        tracing::debug!(%error, "a connection broke");
        return None;
    }
    let parts = http.into_parts();
    let mut socket = parts.io.into_inner();
    if ended.is_some() || socket.doing.is_spoiled() {
        linger(socket, patience.linger).await;
        return None;
    }
    if !parts.read_buf.is_empty() {
        socket.read = parts.read_buf;
    }
    Some(socket)
}

async fn talk_http2<A, F, B>(socket: Socket<TcpStream>, seat: &Seat, answer: A)
where
    A: Fn(Request<Asked>) -> F + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let doing = socket.doing.clone();
    let service = service_fn(move |request| counted(&doing, request, &answer));
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    http.keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
    let mut http = Box::pin(http.serve_connection(TokioIo::new(socket), service));
    let mut left = pin!(seat.left());
    let mut is_leaving = false;
    let ended = poll_fn(|context| {
        if !is_leaving && left.as_mut().poll(context).is_ready() {
            is_leaving = true;
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(context)
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Closing while the client still sends would take the reply from it.
async fn linger(mut socket: Socket<TcpStream>, longest: Duration) {
    if socket.is_ended {
        return;
    }
    let drained = async {
        let (mut buffer, mut n_read) = (vec![0; 16 << 10], 0);
        while n_read < MAX_LINGER {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n_bytes) => n_read += n_bytes,
            }
        }
    };
    let _drained = timeout(longest, drained).await;
}

/// Has a request answered, and keeps count of it.
fn counted<A, F, B>(
    doing: &Arc<Doing>,
    request: Request<Incoming>,
    answer: &A,
) -> impl Future<Output = Result<Response<Counted<B>>, Infallible>> + use<A, F, B>
where
    A: Fn(Request<Asked>) -> F,
    F: Future<Output = Response<B>>,
{
    let begun = doing.begin();
    // Boxed: the library would move it into a place of the connection's, and there as many are
    // cold as there are connections. A box that was just given back is warm.
    let reply = Box::pin(answer(request.map(|body| Asked::new(body, doing.clone()))));
    async move { Ok(reply.await.map(|body| Counted { body, _begun: begun })) }
}

/// The body of a reply, which is under way until this is dropped.
struct Counted<B> {
    body: B,
    _begun: Begun,
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Looks now and then whether anything is being asked.
struct Looks {
    doing: Arc<Doing>,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    /// The timer wakes the connection's task: until its time is over it need not be polled, as it
    /// would be some times for each call.
    is_set: bool,
    n_calls: usize,
}

impl Looks {
    fn new(doing: Arc<Doing>, every: Duration) -> Self {
        let n_calls = doing.n_calls();
        Self { doing, every, timer: Box::pin(sleep(every)), is_set: false, n_calls }
    }

    /// Ready when nothing was asked since the last look, and all replies are with the system.
    /// Always called in the same task.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_set && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let n_calls = self.doing.n_calls();
            if n_calls == self.n_calls && self.doing.is_nothing() {
                return Poll::Ready(());
            }
            self.n_calls = n_calls;
            self.timer.as_mut().reset(Instant::now() + self.every);
        }
        self.is_set = true;
        Poll::Pending
    }
}
