//! Connections for which there is no place: they are told so, and do not wait for ever.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::task;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Beyond this, connections are closed without a word.
const MAX_REFUSALS: usize = 32;
/// How long such a client may take to send its request and to read its reply.
const TIMEOUT: Duration = Duration::from_secs(1);
const REPLY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\n\
    x-amzn-errortype: ServiceUnavailable\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 55\r\n\r\n\
    {\"message\":\"The server has too many open connections.\"}";

/// Refuses connections.
pub(super) struct Refusals(Arc<Semaphore>);

impl Refusals {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REFUSALS)))
    }

    pub(super) fn refuse(&self, stream: TcpStream) {
        let Ok(place) = self.0.clone().try_acquire_owned() else { return };
        task::spawn("refusal", async move {
            let _refused = timeout(TIMEOUT, tell(stream)).await;
            drop(place);
        });
    }
}

/// The request is read first: a reply before it would be lost with the reset that unread bytes
/// cause.
async fn tell(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    if stream.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    stream.write_all(REPLY).await?;
    stream.shutdown().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        Refusals::new().refuse(listener.accept().await.unwrap().0);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{said}");
    }
}
