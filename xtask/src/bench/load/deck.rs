//! Questions, and the bytes that ask them.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use sagebrush_aws::sigv4::Signer;
use sagebrush_core::{Clock as _, SystemClock};

use super::expected::Expected;

pub(crate) const SIGNER: Signer<'static> = Signer {
    access_key: "sagebrush",
    secret: "sagebrush",
    token: None,
    region: "us-east-1",
    service: "sagemaker",
};

/// Where calls go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Without the scheme.
    pub(crate) address: String,
    pub(crate) path: String,
    /// Ours wants to know who calls; others do not.
    pub(crate) is_signed: bool,
    /// The root of the processes that answer.
    pub(crate) pid: u32,
}

/// What is asked, and what must come back.
pub(crate) struct Question {
    pub(crate) content_type: &'static str,
    /// More headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) expected: Expected,
}

/// Questions with the bytes that ask them, in the order in which they are asked, over and over.
pub(crate) struct Deck<'a> {
    pub(crate) address: &'a str,
    cards: Vec<(Bytes, &'a Expected)>,
    order: &'a [usize],
}

impl<'a> Deck<'a> {
    /// Makes and signs all requests now: no call that is measured waits for a signature.
    pub(crate) fn new(
        target: &'a Target,
        questions: &'a [Question],
        order: &'a [usize],
    ) -> Result<Self> {
        let card = |question: &'a Question| {
            let content_type = ("content-type", question.content_type.to_owned());
            let headers: Vec<_> = question.headers.iter().cloned().chain([content_type]).collect();
            let signer = target.is_signed.then_some(&SIGNER);
            let bytes =
                request(("POST", &target.address, &target.path), &headers, &question.body, signer)?;
            Ok((Bytes::from(bytes), &question.expected))
        };
        let cards = questions.iter().map(card).collect::<Result<_>>()?;
        Ok(Self { address: &target.address, cards, order })
    }

    /// The request of the `n`-th call.
    pub(crate) fn card(&self, n: usize) -> Result<(&Bytes, &'a Expected)> {
        let place = n.checked_rem(self.order.len()).context("an order without questions")?;
        let index = self.order.get(place).copied().unwrap_or_default();
        let (bytes, expected) = self.cards.get(index).context("no such question")?;
        Ok((bytes, *expected))
    }
}

/// A whole request as it goes over the wire.
pub(crate) fn request(
    (method, address, path): (&str, &str, &str),
    headers: &[(&'static str, String)],
    body: &[u8],
    signer: Option<&Signer<'_>>,
) -> Result<Vec<u8>> {
    let mut builder = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    let (mut parts, ()) = builder.body(())?.into_parts();
    match signer {
        Some(signer) => signer.sign(&mut parts, body, SystemClock.now())?,
        None => {
            parts.headers.insert(http::header::HOST, address.parse()?);
        }
    }
    let mut bytes = format!("{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in &parts.headers {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    bytes.push_str("\r\n");
    let mut bytes = bytes.into_bytes();
    bytes.extend_from_slice(body);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{SIGNER, request};

    #[test]
    fn a_request_has_its_length_and_a_signature_if_wanted() {
        let headers = [("content-type", "text/csv".to_owned())];
        let line = ("POST", "127.0.0.1:1", "/a");
        let plain = String::from_utf8(request(line, &headers, b"1,2", None).unwrap()).unwrap();
        assert_eq!(
            plain,
            "POST /a HTTP/1.1\r\ncontent-length: 3\r\ncontent-type: text/csv\r\n\
             host: 127.0.0.1:1\r\n\r\n1,2"
        );
        let signed = request(line, &headers, b"1,2", Some(&SIGNER)).unwrap();
        let signed = String::from_utf8(signed).unwrap();
        assert!(signed.contains("\r\nauthorization: AWS4-HMAC-SHA256 Credential=sagebrush/"));
        assert!(signed.contains("\r\nhost: 127.0.0.1:1\r\n") && signed.ends_with("\r\n\r\n1,2"));
    }
}
