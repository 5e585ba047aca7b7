//! A Python process a core, each behind a socket with frames of a length and that many bytes.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use super::Handler;

const SCRIPT: &str = include_str!("echo.py");
/// Longer bodies are sent apart from their length: joining would copy them.
const JOINED: usize = 32 << 10;

pub(super) struct Crew {
    idle: Mutex<Vec<UnixStream>>,
    n_idle: Semaphore,
}

impl Crew {
    pub(super) fn start(python: &Path, workers: usize) -> Result<Self> {
        let idle: Vec<UnixStream> = (0..workers).map(|_| start(python)).collect::<Result<_>>()?;
        Ok(Self { n_idle: Semaphore::new(idle.len()), idle: Mutex::new(idle) })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<UnixStream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It ends when its socket is closed.
fn start(python: &Path) -> Result<UnixStream> {
    let (ours, theirs) = StdStream::pair()?;
    let mut command = Command::new(python);
    command.args(["-I", "-S", "-c", SCRIPT]).stdin(Stdio::from(OwnedFd::from(theirs)));
    drop(command.spawn().context("starting Python")?);
    ours.set_nonblocking(true)?;
    Ok(UnixStream::from_std(ours)?)
}

impl Handler for Crew {
    async fn answer(&self, body: Bytes) -> Result<Bytes> {
        let _place = self.n_idle.acquire().await?;
        let mut worker = self.idle().pop().context("no worker is left")?;
        let answer = exchange(&mut worker, &body).await?;
        self.idle().push(worker);
        Ok(answer)
    }
}

async fn exchange(worker: &mut UnixStream, body: &[u8]) -> Result<Bytes> {
    let length = u32::try_from(body.len())?.to_le_bytes();
    if body.len() <= JOINED {
        worker.write_all(&[&length, body].concat()).await?;
    } else {
        worker.write_all(&length).await?;
        worker.write_all(body).await?;
    }
    let length = usize::try_from(worker.read_u32_le().await?)?;
    let mut answer = BytesMut::with_capacity(length);
    while answer.len() < length {
        let read = worker.read_buf(&mut answer).await?;
        anyhow::ensure!(read > 0, "a worker ended");
    }
    Ok(answer.freeze())
}
