//! The limit: as little of a server as can do the work, to measure ours against.
//!
//! hyper, ONNX Runtime or Python behind a framed socket, and nothing else: no signatures, no
//! routes, no queues with bounds, no errors that a caller could read. It runs as a process of its
//! own (`cargo xtask bench-limit`), so that CPU time and memory are measured as any other side's.

mod echo;
mod picture;
mod row;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sagebrush_core::task;
use tokio::net::TcpListener;

#[derive(clap::Args)]
pub(crate) struct Args {
    workload: Workload,
    #[arg(long)]
    listen: SocketAddr,
    /// The folder with the model.
    #[arg(long)]
    model: PathBuf,
    #[arg(long)]
    library: PathBuf,
    #[arg(long)]
    python: PathBuf,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Workload {
    Row,
    Image,
    Echo,
}

/// Answers calls.
trait Handler: Send + Sync + 'static {
    fn answer(&self, body: Bytes) -> impl Future<Output = Result<Bytes>> + Send;
}

pub(super) fn run(args: &Args) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build()?;
    runtime.block_on(async {
        match args.workload {
            Workload::Row => serve(args, row::Forest::load(&args.library, &args.model)?).await,
            Workload::Image => {
                serve(args, picture::Pool::start(&args.library, &args.model, cores)?).await
            }
            Workload::Echo => serve(args, echo::Crew::start(&args.python, cores)?).await,
        }
    })
}

async fn serve(args: &Args, handler: impl Handler) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await?;
    let handler = Arc::new(handler);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handler = Arc::clone(&handler);
        let service = service_fn(move |request| call(Arc::clone(&handler), request));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // Whoever hangs up is of no interest.
        drop(task::spawn("connection", connection));
    }
}

async fn call(
    handler: Arc<impl Handler>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(handler.answer(body).await?)))
}
