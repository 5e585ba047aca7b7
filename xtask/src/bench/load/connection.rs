//! One connection that is kept open, with one call at a time.

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::{self, Answer};

/// What is read at once, at least.
const CHUNK: usize = 16 << 10;

pub(crate) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    /// The answer to the last call.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects at the first call, and again after whatever broke.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: Vec::with_capacity(CHUNK) }
    }

    /// Connects now, so that the first call need not.
    pub(crate) async fn connect(&mut self) -> Result<()> {
        self.stream = Some(connect(&self.address).await?);
        Ok(())
    }

    /// Sends a request and reads its answer whole.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address).await?,
        };
        let head = exchange(&mut stream, request, &mut self.buffer).await?;
        if !head.closes {
            self.stream = Some(stream);
        }
        let body = self.buffer.get(head.length..).unwrap_or_default();
        Ok(Answer { status: head.status, has_retry_after: head.has_retry_after, body })
    }
}

async fn connect(address: &str) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("connecting")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> Result<answer::Head> {
    buffer.clear();
    // Whoever refuses may do so before it has read everything: its answer counts all the same.
    let written = stream.write_all(request).await;
    loop {
        buffer.reserve(CHUNK);
        if stream.read_buf(buffer).await? == 0 {
            written?;
            bail!("the connection was closed without an answer");
        }
        if let Some(head) = answer::head(buffer)? {
            read_body(stream, buffer, head.length + head.body_length).await?;
            return Ok(answer::Head { closes: head.closes || written.is_err(), ..head });
        }
    }
}

async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, total: usize) -> Result<()> {
    buffer.reserve(total.saturating_sub(buffer.len()));
    while buffer.len() < total {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection was closed amid an answer");
        }
    }
    if buffer.len() > total {
        bail!("an answer is longer than it says");
    }
    Ok(())
}
