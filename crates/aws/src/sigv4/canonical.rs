//! The canonical form of a request, which both sides hash.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sha2::{Digest as _, Sha256};

use super::keys::SigningKey;

pub(super) const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// How a path is written into the canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathRule {
    /// Resolve `.` and `..`, and drop empty segments.
    pub(super) normalize: bool,
    /// Encode what is encoded already once more.
    pub(super) encode_twice: bool,
}

impl PathRule {
    /// Keys of S3 may hold anything, so their paths are taken as they are.
    pub(super) fn of_service(service: &str) -> Self {
        let plain = service != "s3";
        Self { normalize: plain, encode_twice: plain }
    }
}

/// What goes into the canonical form.
pub(super) struct Canonical<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    /// Lower case, separated by `;`.
    pub(super) signed_headers: &'a str,
    pub(super) payload_hash: &'a [u8],
    pub(super) path_rule: PathRule,
}

impl Canonical<'_> {
    /// The text of the canonical form.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(self.method.as_str().as_bytes());
        text.push(b'\n');
        write_path(&mut text, self.uri.path(), self.path_rule);
        text.push(b'\n');
        write_query(&mut text, self.uri.query().unwrap_or_default());
        text.push(b'\n');
        for name in self.signed_headers.split(';') {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            write_header(&mut text, name, self.headers, self.uri);
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend_from_slice(self.signed_headers.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(self.payload_hash);
        text
    }

    /// The signature: `scope` is `20150830/us-east-1/sts/aws4_request`.
    pub(super) fn signature(&self, key: &SigningKey, at: &str, scope: &str) -> Hex {
        let hash = hash(&self.text());
        let parts = [super::ALGORITHM, "\n", at, "\n", scope, "\n"].map(str::as_bytes);
        key.sign(parts.into_iter().chain([hash.as_bytes()]))
    }
}

/// The SHA-256 of `bytes` in lower-case hex.
pub(super) fn hash(bytes: &[u8]) -> Hex {
    Hex::of(&Sha256::digest(bytes).into())
}

/// 32 bytes in lower-case hex, kept on the stack.
#[derive(Clone, Copy)]
pub(super) struct Hex([u8; 64]);

impl Hex {
    pub(super) fn of(bytes: &[u8; 32]) -> Self {
        // Arithmetic in place of a table, so that the compiler does many digits at once.
        let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
        let pairs = bytes.map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        let mut hex = [0; 64];
        hex.copy_from_slice(pairs.as_flattened());
        Self(hex)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // Always ASCII.
    }
}

fn write_path(text: &mut Vec<u8>, path: &str, rule: PathRule) {
    let path = if rule.normalize { normalize(path) } else { Cow::Borrowed(path) };
    let path = if rule.encode_twice {
        Cow::Borrowed(path.as_bytes())
    } else {
        percent_decode(path.as_bytes()).into()
    };
    if path.is_empty() {
        text.push(b'/');
    }
    write_encoded(text, &path, PATH);
}

/// Most paths come out as they went in.
fn normalize(path: &str) -> Cow<'_, str> {
    let is_normal = |pair: &[u8]| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.');
    if path.as_bytes().windows(2).all(is_normal) {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let end = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    Cow::Owned(["/", &segments.join("/"), end].concat())
}

/// Sorts by name, then by value, both encoded; a signature in the query does not sign itself.
fn write_query(text: &mut Vec<u8>, query: &str) {
    if query.is_empty() {
        return;
    }
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (reencode(name), reencode(value)))
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .collect();
    pairs.sort();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            text.push(b'&');
        }
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
    }
}

/// A plus sign is a blank, as it is when the parameters are read: otherwise two requests that
/// mean different things would share a signature.
fn reencode(text: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(text.len());
    for (index, part) in text.split('+').enumerate() {
        if index > 0 {
            encoded.extend_from_slice(b"%20");
        }
        let decoded: Cow<'_, [u8]> = percent_decode(part.as_bytes()).into();
        write_encoded(&mut encoded, &decoded, QUERY);
    }
    encoded
}

fn write_encoded(text: &mut Vec<u8>, bytes: &[u8], set: &'static AsciiSet) {
    for part in percent_encode(bytes, set) {
        text.extend_from_slice(part.as_bytes());
    }
}

/// All values of a header, trimmed, with runs of blanks made one.
fn write_header(text: &mut Vec<u8>, name: &str, headers: &HeaderMap, uri: &Uri) {
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() && name == "host" {
        // HTTP/2 carries it as `:authority`.
        let authority = uri.authority().map(http::uri::Authority::as_str);
        text.extend_from_slice(authority.unwrap_or_default().as_bytes());
    }
    for (index, value) in values.enumerate() {
        if index > 0 {
            text.push(b',');
        }
        write_value(text, value.as_bytes());
    }
}

/// Most values have no blank.
fn write_value(text: &mut Vec<u8>, value: &[u8]) {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if !value.iter().any(is_blank) {
        text.extend_from_slice(value);
        return;
    }
    for (index, word) in value.split(is_blank).filter(|word| !word.is_empty()).enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(query: &str) -> String {
        let mut text = Vec::new();
        write_query(&mut text, query);
        String::from_utf8(text).unwrap()
    }

    fn path(path: &str, normalize: bool, encode_twice: bool) -> String {
        let mut text = Vec::new();
        write_path(&mut text, path, PathRule { normalize, encode_twice });
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn queries() {
        assert_eq!(query(""), "");
        assert_eq!(query("b&a=2&a=1&&A=%7e"), "A=~&a=1&a=2&b=");
        assert_eq!(query("a+b=c%2Bd"), "a%20b=c%2Bd");
        assert_eq!(query("X-Amz-Signature=0&a=%e1%88%b4"), "a=%E1%88%B4");
        assert_eq!(query("a=100%"), "a=100%25");
    }

    #[test]
    fn paths() {
        assert_eq!(path("/a%20b", true, true), "/a%2520b");
        assert_eq!(path("/a%20b", false, false), "/a%20b");
        assert_eq!(path("//a/./b/../c//", true, true), "/a/c/");
        assert_eq!(path("/../..", true, true), "/");
        assert_eq!(path("//a/./b", false, false), "//a/./b");
        assert_eq!(path("", false, false), "/");
    }

    proptest! {
        #[test]
        fn order_does_not_count(mut pairs in prop::collection::vec("[a-c%+é]{0,3}=[a-c]{0,2}", 0..6)) {
            let one = query(&pairs.join("&"));
            pairs.reverse();
            prop_assert_eq!(&one, &query(&pairs.join("&")));
            prop_assert_eq!(&one, &query(&one)); // Its own canonical form.
        }
    }
}
