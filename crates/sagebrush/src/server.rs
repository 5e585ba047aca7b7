//! Listens, serves connections, and ends in good order.

pub(crate) mod asked;
mod burst;
mod connection;
mod forwarded;
pub(crate) mod limits;
mod open;
mod pace;
pub(crate) mod patient;
mod refuse;
mod socket;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use sagebrush_core::{shards, task};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use self::asked::Asked;
use self::connection::Patience;
use self::forwarded::Proxies;
use self::open::Open;
use self::refuse::Refusals;
use crate::assemble::{App, CLOSE_TIMEOUT, LAST_TELLING, STOP_TIMEOUT};
use crate::config::{Config, LogFormat};
use crate::failure::Failure;

/// How long calls under way may take after SIGTERM.
const DRAIN: Duration = Duration::from_secs(26);
/// Whoever asked the server to end may rely on this, whatever models do.
const END: Duration = Duration::from_secs(40);
const _: () = assert!(
    DRAIN.as_secs() + STOP_TIMEOUT.as_secs() + LAST_TELLING.as_secs() + CLOSE_TIMEOUT.as_secs()
        < END.as_secs(),
    "the parts of the end take longer than the whole"
);
/// Connections that knocked and are not let in yet; the system may allow less.
const BACKLOG: u32 = 4096;
/// When the system gives no more sockets, the listener tries again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// And says so no more often than this.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Runs the server until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the data directory or the address cannot be had.
pub fn serve(mut config: Config) -> Result<(), Failure> {
    start_logging(&config)?;
    let n_connections = limits::raise();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Those that answer calls begin first.
    runtime.enable_all().on_thread_start(|| _ = shards::number_thread());
    let runtime = runtime.build()?;
    runtime.block_on(async move {
        let listener = listen(config.listen).map_err(|error| {
            Failure::Other(format!("cannot listen on {}: {error}", config.listen))
        })?;
        config.listen = listener.local_addr()?;
        let app = App::start(&config).await?;
        announce(&config)?;
        let proxies = Proxies::new(&config.trusted_proxies);
        accept_until(&app, listener, (n_connections, proxies), stop_signal()).await;
        app.stop().await;
        Ok(())
    })
}

/// Like `TcpListener::bind`, with room for more who knock at once.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
async fn accept_until(
    app: &Arc<App>,
    listener: TcpListener,
    (n_connections, proxies): (u32, Proxies),
    stop: impl Future<Output = ()>,
) {
    let (open, refusals) = (Open::new(n_connections, app.connections()), Refusals::new());
    let mut entrance = Entrance { app: app.clone(), open, refusals, proxies, last_warning: None };
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => entrance.admit(stream, peer.ip()).await,
            Err(error) => entrance.make_room(&error).await,
        }
    }
    tracing::info!("stopping: calls under way are finished first");
    app.set_stopping();
    drop(listener);
    if tokio::time::timeout(DRAIN, entrance.open.stop()).await.is_err() {
        tracing::warn!("some connections were cut off at the end of the drain");
    }
}

/// Lets connections in.
struct Entrance {
    app: Arc<App>,
    open: Arc<Open>,
    refusals: Refusals,
    proxies: Proxies,
    last_warning: Option<Instant>,
}

impl Entrance {
    async fn admit(&self, stream: TcpStream, peer: IpAddr) {
        let Some(seat) = self.open.seat().await else { return self.refusals.refuse(stream) };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a socket without TCP_NODELAY");
        }
        // In a box of the connection's own: each call counts who refers to it.
        let app = Arc::new(self.app.clone());
        let (proxies, connected) = (self.proxies.clone(), peer.to_canonical());
        let answer = move |mut request: Request<Asked>| {
            let app = app.clone();
            let peer = proxies.peer(connected, request.headers());
            request.extensions_mut().insert(peer);
            async move { app.answer(request).await }
        };
        task::spawn("connection", connection::serve(stream, seat, Patience::USUAL, answer));
    }

    /// The system gives no more sockets, most likely: spinning would not help, one less would.
    async fn make_room(&mut self, error: &std::io::Error) {
        if self.last_warning.is_none_or(|at| at.elapsed() > WARN_EVERY) {
            self.last_warning = Some(Instant::now());
            tracing::warn!(%error, "a connection could not be accepted");
        }
        self.open.evict();
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
