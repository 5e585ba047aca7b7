//! One HTTP/1.1 connection. It has no task of its own: the call that uses it drives it, which
//! saves the way through another thread, and a call that is given up closes it at once.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::address::{Address, Wire};

/// The head of a reply; a model that needs more is at fault. hyper allows 100 headers in it.
const LARGEST_HEAD: usize = 64 << 10;

type Driver = http1::Connection<TokioIo<Wire>, Full<Bytes>>;

pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended.
    driver: Option<Pin<Box<Driver>>>,
    heard: Arc<AtomicBool>,
}

/// Why a request has no response.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: hyper::Error,
    /// It may have reached the other side.
    pub(crate) written: bool,
    /// Some byte of a response came back.
    pub(crate) heard: bool,
}

impl Connection {
    pub(crate) async fn open(address: &Address) -> io::Result<Self> {
        let heard = Arc::new(AtomicBool::new(false));
        let wire = address.connect(heard.clone()).await?;
        let mut builder = http1::Builder::new();
        builder.max_header_size(LARGEST_HEAD);
        let (sender, driver) =
            builder.handshake(TokioIo::new(wire)).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver: Some(Box::pin(driver)), heard })
    }

    /// Sends a request and waits for the head of the response.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Lost> {
        self.heard.store(false, Ordering::Relaxed);
        let response = self.sender.try_send_request(request);
        let response = drive(&mut self.driver, response).await;
        response.map_err(|mut failed| Lost {
            written: failed.take_message().is_none(),
            error: failed.into_error(),
            heard: self.heard.load(Ordering::Relaxed),
        })
    }

    /// The next bytes of a response's body; `None` at its end.
    pub(crate) async fn chunk(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        loop {
            let Some(frame) = drive(&mut self.driver, body.frame()).await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// True if it can take another request: the last response was read to its end, and the other
    /// side has not closed it since.
    pub(crate) async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| {
            turn(&mut self.driver, cx);
            let ready = matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())));
            Poll::Ready(ready && self.driver.is_some())
        })
        .await
    }
}

/// Waits for `work`, which waits for what `driver` does.
async fn drive<F: Future>(driver: &mut Option<Pin<Box<Driver>>>, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        turn(driver, cx);
        work.as_mut().poll(cx)
    })
    .await
}

/// Reads and writes what is due. An ended driver is dropped, which ends all who wait for it.
fn turn(driver: &mut Option<Pin<Box<Driver>>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
        *driver = None;
    }
}
