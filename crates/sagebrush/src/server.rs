//! Listens, serves connections, and ends in good order.

use std::convert::Infallible;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use sagebrush_core::task;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::assemble::{App, CLOSE_TIMEOUT, STOP_TIMEOUT};
use crate::config::{Config, LogFormat};
use crate::failure::Failure;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long calls under way may take after SIGTERM.
const DRAIN: Duration = Duration::from_secs(26);
/// Whoever asked the server to end may rely on this, whatever models do.
const END: Duration = Duration::from_secs(40);
const _: () = assert!(
    DRAIN.as_secs() + STOP_TIMEOUT.as_secs() + CLOSE_TIMEOUT.as_secs() < END.as_secs(),
    "the parts of the end take longer than the whole"
);
/// Connections beyond this wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 8192;
/// HTTP/2 streams of one connection.
const MAX_STREAMS: u32 = 128;
/// When the system gives no more sockets, the listener tries again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs the server until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the data directory or the address cannot be had.
pub fn serve(mut config: Config) -> Result<(), Failure> {
    start_logging(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            Failure::Other(format!("cannot listen on {}: {error}", config.listen))
        })?;
        config.listen = listener.local_addr()?;
        let app = App::start(&config).await?;
        announce(&config)?;
        accept_until(&app, listener, stop_signal()).await;
        app.stop().await;
        Ok(())
    })
}

fn start_logging(config: &Config) -> Result<(), Failure> {
    // The S3 library logs each 404 as an error; our own door logs what is one.
    let filter = format!("{},s3s=off", config.log);
    let filter = tracing_subscriber::EnvFilter::try_new(filter).map_err(|_| {
        let (name, value) = ("log", config.log.clone());
        let reason = "it is error, warn, info, debug, trace or a filter of them";
        crate::config::ConfigError::Value { name, value, reason }
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// Says where the server is: in the log, and in a file for scripts.
fn announce(config: &Config) -> Result<(), Failure> {
    let url = config.endpoint_url();
    let path = config.data_dir.join("endpoint");
    write_whole(&path, &format!("{url}\n"))
        .map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))?;
    tracing::info!("listening on {url}");
    Ok(())
}

/// A reader sees the old text or the new one, never half of it.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let half = path.with_extension("new");
    std::fs::File::create(&half)?.write_all(text.as_bytes())?;
    std::fs::rename(&half, path)
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught");
            let _ended = tokio::signal::ctrl_c().await;
        }
    }
}

/// Serves connections until `stop`; then those that are open finish what they have.
async fn accept_until(app: &Arc<App>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &connections) => accepted,
            () = &mut stop => break,
        };
        if let Some((stream, permit)) = accepted {
            serve_connection(app.clone(), stream, permit, &graceful);
        }
    }
    tracing::info!("stopping: calls under way are finished first");
    app.set_stopping();
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were cut off at the end of the drain");
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    let accepted: std::io::Result<(TcpStream, SocketAddr)> = listener.accept().await;
    match accepted {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await; // Out of sockets: spinning would not help.
            None
        }
    }
}

fn serve_connection(
    app: Arc<App>,
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    graceful: &GracefulShutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket without TCP_NODELAY");
    }
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(app.answer(request).await) }
    });
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = graceful.watch(connection);
    task::spawn("connection", async move {
        if let Err(error) = watched.await {
            tracing::debug!(%error, "a connection broke");
        }
        drop(permit);
    });
}
