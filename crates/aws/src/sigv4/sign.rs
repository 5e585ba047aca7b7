//! The signer, for our own clients and for tests.

use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, InvalidHeaderValue};
use http::request::Parts;
use http::uri::{InvalidUri, PathAndQuery};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sagebrush_core::Timestamp;

use super::canonical::{self, Canonical, PathRule, UNSIGNED_PAYLOAD};
use super::keys::SigningKey;
use super::{ALGORITHM, time};

/// What somebody who signs has.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub access_key: &'a str,
    pub secret: &'a str,
    pub token: Option<&'a str>,
    pub region: &'a str,
    pub service: &'a str,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("the request names no host")]
    NoHost,
    #[error("a credential cannot stand in a header")]
    Header(#[from] InvalidHeaderValue),
    #[error("a credential cannot stand in a URL")]
    Url(#[from] InvalidUri),
    #[error("the URL cannot be put together again")]
    Parts(#[from] http::uri::InvalidUriParts),
}

/// Headers that others on the way add or change.
const NOT_SIGNED: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-amzn-trace-id",
];

impl Signer<'_> {
    /// Signs in the `Authorization` header. Sets `host` from the URL where it is missing.
    pub fn sign(&self, parts: &mut Parts, body: &[u8], now: Timestamp) -> Result<(), SignError> {
        set_host(parts)?;
        let at = time::format(now);
        let hash = canonical::hash(body);
        set(parts, "x-amz-date", &at)?;
        if let Some(token) = self.token {
            set(parts, "x-amz-security-token", token)?;
        }
        if self.service == "s3" {
            set(parts, "x-amz-content-sha256", hash.as_str())?;
        }
        let signed_headers = signed_headers(parts);
        let rule = PathRule::of_service(self.service);
        let signature = self.signature(parts, &signed_headers, hash.as_str(), &at, rule);
        let access_key = self.access_key;
        let scope = self.scope(&at);
        let authorization = format!(
            "{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={signed_headers}, \
             Signature={signature}"
        );
        parts.headers.insert(AUTHORIZATION, authorization.parse()?);
        Ok(())
    }

    /// Signs in the query, so that the URL alone is good for `expires_after`.
    pub fn presign(
        &self,
        parts: &mut Parts,
        expires_after: Duration,
        now: Timestamp,
    ) -> Result<(), SignError> {
        set_host(parts)?;
        let at = time::format(now);
        let signed_headers = signed_headers(parts);
        let credential = format!("{}/{}", self.access_key, self.scope(&at));
        let seconds = expires_after.as_secs().to_string();
        append(parts, "X-Amz-Algorithm", ALGORITHM)?;
        append(parts, "X-Amz-Credential", &credential)?;
        append(parts, "X-Amz-Date", &at)?;
        append(parts, "X-Amz-Expires", &seconds)?;
        append(parts, "X-Amz-SignedHeaders", &signed_headers)?;
        if let Some(token) = self.token {
            append(parts, "X-Amz-Security-Token", token)?;
        }
        let hash = canonical::hash(b"");
        let hash = if self.service == "s3" { UNSIGNED_PAYLOAD } else { hash.as_str() };
        let rule = PathRule::of_service(self.service);
        let signature = self.signature(parts, &signed_headers, hash, &at, rule);
        append(parts, "X-Amz-Signature", &signature)
    }

    pub(super) fn signature(
        &self,
        parts: &Parts,
        signed_headers: &str,
        payload_hash: &str,
        at: &str,
        path_rule: PathRule,
    ) -> String {
        let canonical = Canonical {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            signed_headers,
            payload_hash: payload_hash.as_bytes(),
            path_rule,
        };
        let date = at.get(..8).unwrap_or_default();
        let key = SigningKey::derive(self.secret, date, self.region, self.service);
        canonical.signature(&key, at, &self.scope(at)).as_str().to_owned()
    }

    fn scope(&self, at: &str) -> String {
        let date = at.get(..8).unwrap_or_default();
        format!("{date}/{}/{}/aws4_request", self.region, self.service)
    }
}

fn set_host(parts: &mut Parts) -> Result<(), SignError> {
    if !parts.headers.contains_key(HOST) {
        let host = parts.uri.authority().ok_or(SignError::NoHost)?;
        let host = HeaderValue::from_str(host.as_str())?;
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

fn set(parts: &mut Parts, name: &'static str, value: &str) -> Result<(), SignError> {
    parts.headers.insert(HeaderName::from_static(name), value.parse()?);
    Ok(())
}

fn signed_headers(parts: &Parts) -> String {
    let names = parts.headers.keys().map(HeaderName::as_str);
    let mut names: Vec<&str> = names.filter(|name| !NOT_SIGNED.contains(name)).collect();
    names.sort_unstable();
    names.join(";")
}

fn append(parts: &mut Parts, name: &str, value: &str) -> Result<(), SignError> {
    let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
    let path = parts.uri.path();
    let path_and_query: PathAndQuery = match parts.uri.query() {
        Some(query) => format!("{path}?{query}&{name}={value}").parse()?,
        None => format!("{path}?{name}={value}").parse()?,
    };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(path_and_query);
    parts.uri = http::Uri::from_parts(uri)?;
    Ok(())
}
