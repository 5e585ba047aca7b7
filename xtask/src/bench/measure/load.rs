//! The load generator: connections that are kept open, each with one call at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sagebrush_aws::sigv4::Signer;
use sagebrush_core::{Clock as _, SystemClock, task};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::workload::Workload;
use super::{Bounds, Measured, WARM_UP, cpu, histogram, micros};
use crate::interrupt::Interrupt;

const SIGNER: Signer<'static> = Signer {
    access_key: "sagebrush",
    secret: "sagebrush",
    token: None,
    region: "us-east-1",
    service: "sagemaker",
};

/// Where calls go.
pub(super) struct Target {
    /// Without the scheme.
    pub(super) address: String,
    pub(super) path: String,
    /// Ours wants to know who calls; others do not.
    pub(super) is_signed: bool,
    /// The root of the processes that answer.
    pub(super) pid: u32,
}

/// What all connections share.
struct Job {
    address: String,
    path: String,
    is_signed: bool,
    content_type: &'static str,
    body: Bytes,
    /// Calls that were begun.
    begun: AtomicU64,
    calls: u64,
    until: Instant,
    interrupt: Interrupt,
}

type Sender = SendRequest<Full<Bytes>>;

pub(super) fn measure(
    target: &Target,
    workload: &Workload,
    bounds: Bounds,
    interrupt: &Interrupt,
) -> Result<Measured> {
    // One thread: the server has the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let job = |calls| Arc::new(Job::new(target, workload, bounds, calls, interrupt));
        run(&job(WARM_UP), bounds.connections).await?;
        let (cpu_before, began) = (cpu::of_tree(target.pid)?, Instant::now());
        let latencies = run(&job(bounds.calls), bounds.connections).await?;
        let (took, cpu) = (began.elapsed(), cpu::of_tree(target.pid)? - cpu_before);
        Ok(Measured { calls: latencies.len(), took, latencies, cpu })
    })
}

impl Job {
    fn new(
        target: &Target,
        workload: &Workload,
        bounds: Bounds,
        calls: u64,
        interrupt: &Interrupt,
    ) -> Self {
        Self {
            address: target.address.clone(),
            path: target.path.clone(),
            is_signed: target.is_signed,
            content_type: workload.content_type,
            body: Bytes::from(workload.body.clone()),
            begun: AtomicU64::new(0),
            calls,
            until: Instant::now() + bounds.time,
            interrupt: interrupt.clone(),
        }
    }

    /// True if another call may begin.
    fn goes_on(&self) -> bool {
        let more = self.begun.fetch_add(1, Ordering::Relaxed) < self.calls;
        more && Instant::now() < self.until && !self.interrupt.is_raised()
    }

    fn request(&self) -> Result<Request<Full<Bytes>>> {
        let request = Request::post(format!("http://{}{}", self.address, self.path))
            .header("content-type", self.content_type)
            .header("content-length", self.body.len());
        let (mut parts, ()) = request.body(())?.into_parts();
        if self.is_signed {
            SIGNER.sign(&mut parts, &self.body, SystemClock.now())?;
        } else {
            parts.headers.insert(http::header::HOST, self.address.parse()?);
        }
        parts.uri = self.path.parse()?; // A server is sent the path alone.
        Ok(Request::from_parts(parts, Full::new(self.body.clone())))
    }
}

async fn run(job: &Arc<Job>, connections: usize) -> Result<hdrhistogram::Histogram<u64>> {
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (job, sender) = (job.clone(), connect(&job.address).await?);
        tasks.push(task::spawn("connection", async move { call_on(&job, sender).await }));
    }
    let mut latencies = histogram()?;
    for task in tasks {
        latencies.add(task.await??)?;
    }
    if job.interrupt.is_raised() {
        bail!("interrupted");
    }
    Ok(latencies)
}

async fn connect(address: &str) -> Result<Sender> {
    let stream = TcpStream::connect(address).await.context("connecting to the server")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends when the sender is dropped; an error of it is the sender's too.
    drop(task::spawn("http", connection));
    Ok(sender)
}

/// One call after the other; the answer is read whole.
async fn call_on(job: &Job, mut sender: Sender) -> Result<hdrhistogram::Histogram<u64>> {
    let mut latencies = histogram()?;
    while job.goes_on() {
        let request = job.request()?;
        sender.ready().await?;
        let began = Instant::now();
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
        }
        latencies.record(micros(began.elapsed()))?;
    }
    Ok(latencies)
}
