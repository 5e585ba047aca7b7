//! The head of an answer, as far as the load generator has to know it.

use anyhow::{Context as _, Result, bail};

/// An answer that has come in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) has_retry_after: bool,
    pub(crate) body: &'a [u8],
}

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) has_retry_after: bool,
    pub(super) closes: bool,
    /// Of the head itself, with the empty line.
    pub(super) length: usize,
    pub(super) body_length: usize,
}

/// Reads the head at the start of `bytes`; `None` if it is not whole yet.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.context("an answer without a status")?.parse()?;
    let (mut has_retry_after, mut closes, mut body_length) = (false, false, None);
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            body_length = Some(value.trim().parse()?);
        } else if name.eq_ignore_ascii_case("retry-after") {
            has_retry_after = true;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    if body_length.is_none() && status != 204 {
        bail!("an answer without a length: {text}");
    }
    let body_length = body_length.unwrap_or(0);
    Ok(Some(Head { status, has_retry_after, closes, length: end + END.len(), body_length }))
}

#[cfg(test)]
mod tests {
    use super::{Head, head};

    #[test]
    fn reads_what_counts() {
        let bytes = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\nretry-after: 1\r\n\
            Connection: close\r\n\r\nno";
        let expected = Head {
            status: 429,
            has_retry_after: true,
            closes: true,
            length: bytes.len() - 2,
            body_length: 2,
        };
        assert_eq!(head(bytes).unwrap(), Some(expected));
        assert_eq!(head(&bytes[..40]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
