//! The verifier.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue};
use sagebrush_core::{Clock, Region, Timestamp};
use subtle::ConstantTimeEq as _;

use super::canonical::{self, Canonical, Hex, PathRule, UNSIGNED_PAYLOAD};
use super::claim::{Claim, Scope};
use super::credentials::{Credentials, Refusal, Session};
use super::error::AuthError;
use super::keys::{KeyCache, Known};
use super::time;
use crate::ReadBody;

static CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");

/// How far the clocks of a client and ours may be apart.
const MAX_SKEW: Duration = Duration::from_mins(15);

/// Seven days, as AWS has it.
const MAX_EXPIRES_AFTER: u32 = 7 * 24 * 3600;

/// Who signed a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub access_key: Arc<str>,
    pub region: Region,
    pub session: Option<Arc<Session>>,
}

/// Tells whether a request was signed by somebody we know, and is as it was when signed.
pub struct Verifier {
    credentials: Arc<dyn Credentials>,
    clock: Arc<dyn Clock>,
    keys: KeyCache,
}

impl Verifier {
    #[must_use]
    pub fn new(credentials: Arc<dyn Credentials>, clock: Arc<dyn Clock>) -> Self {
        Self { credentials, clock, keys: KeyCache::default() }
    }

    /// Checks that the request was signed for `service`.
    pub fn verify(&self, parts: &Parts, body: &[u8], service: &str) -> Result<Caller, AuthError> {
        let hash = || canonical::hash(body);
        self.verify_by(parts, hash, service, PathRule::of_service(service))
    }

    /// As [`Self::verify`], for a body that was hashed while it was read.
    pub fn verify_read(
        &self,
        parts: &Parts,
        body: &ReadBody,
        service: &str,
    ) -> Result<Caller, AuthError> {
        let hash = || Hex::of(&body.sha256());
        self.verify_by(parts, hash, service, PathRule::of_service(service))
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> &KeyCache {
        &self.keys
    }

    pub(super) fn verify_by(
        &self,
        parts: &Parts,
        body_hash: impl FnOnce() -> Hex,
        service: &str,
        path_rule: PathRule,
    ) -> Result<Caller, AuthError> {
        let now = self.clock.now();
        let claim = Claim::of(parts)?;
        let scope = claim.scope()?;
        check_time(&claim, now)?;
        check_scope(&scope, &claim, service)?;
        let grant = self
            .credentials
            .secret(scope.access_key, claim.token.as_deref(), now)
            .map_err(refused)?;
        check_coverage(parts, &claim)?;
        let payload_hash = payload_hash(parts, body_hash, &claim, service)?;
        let canonical = Canonical {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            signed_headers: &claim.signed_headers,
            payload_hash: payload_hash.as_bytes(),
            path_rule,
        };
        let cached = self.keys.get(&claim.credential, &grant.secret);
        let is_new = cached.is_none();
        let known = cached.unwrap_or_else(|| Arc::new(Known::derive(&scope, &grant.secret)));
        let signature = canonical.signature(&known.key, &claim.signed_at, claim.scope_text(&scope));
        let same: bool = signature.as_bytes().ct_eq(claim.signature.as_bytes()).into();
        if !same {
            return Err(AuthError::Mismatch);
        }
        let caller = Caller {
            access_key: known.access_key.clone(),
            region: known.region.clone(),
            session: grant.session,
        };
        if is_new {
            self.keys.put(&claim.credential, known);
        }
        Ok(caller)
    }
}

/// Whether the signature of a request covers its body, as far as the head says.
#[must_use]
pub fn signs_body(parts: &Parts) -> bool {
    let header = parts.headers.get(&CONTENT_SHA256).map(HeaderValue::as_bytes);
    header != Some(UNSIGNED_PAYLOAD.as_bytes())
}

fn refused(refusal: Refusal) -> AuthError {
    match refusal {
        Refusal::Unknown => AuthError::UnknownKey,
        Refusal::Expired => AuthError::TokenExpired,
    }
}

fn check_time(claim: &Claim<'_>, now: Timestamp) -> Result<(), AuthError> {
    let at = &claim.signed_at;
    let Some(signed_at) = time::parse(at) else {
        return Err(AuthError::Incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{at}'. See \
             http://en.wikipedia.org/wiki/ISO_8601"
        )));
    };
    let good_for = match claim.expires_after {
        None => MAX_SKEW,
        Some(seconds @ 1..=MAX_EXPIRES_AFTER) => Duration::from_secs(seconds.into()),
        Some(_) => {
            return Err(AuthError::Incomplete(format!(
                "X-Amz-Expires must be between 1 and {MAX_EXPIRES_AFTER} seconds"
            )));
        }
    };
    if now.since(signed_at) > good_for {
        let clock = time::format(now);
        let earliest = time::format(before(now, good_for));
        let minutes = good_for.as_secs() / 60;
        return Err(AuthError::OutOfScope(format!(
            "Signature expired: {at} is now earlier than {earliest} ({clock} - {minutes} min.)"
        )));
    }
    if signed_at.since(now) > MAX_SKEW {
        let clock = time::format(now);
        let latest = time::format(after(now, MAX_SKEW));
        return Err(AuthError::OutOfScope(format!(
            "Signature not yet current: {at} is still later than {latest} ({clock} + 15 min.)"
        )));
    }
    Ok(())
}

fn before(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

fn after(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

fn check_scope(scope: &Scope<'_>, claim: &Claim<'_>, service: &str) -> Result<(), AuthError> {
    let Scope { date, region, terminator, .. } = *scope;
    let signed_at = &claim.signed_at;
    let day = signed_at.get(..8).unwrap_or_default();
    let is_region = (1..=64).contains(&region.len())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let wrong = if terminator != "aws4_request" {
        format!(
            "Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'."
        )
    } else if scope.service != service {
        format!("Credential should be scoped to correct service: '{service}'. ")
    } else if !is_region {
        format!("Credential should be scoped to a valid region, not '{region}'. ")
    } else if date != day {
        format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '{date}' != '{day}', from '{signed_at}'."
        )
    } else {
        return Ok(());
    };
    Err(AuthError::OutOfScope(wrong))
}

/// The host and all `x-amz-*` headers must be signed, or somebody could add them on the way.
fn check_coverage(parts: &Parts, claim: &Claim<'_>) -> Result<(), AuthError> {
    // By bytes: the search for a character is made for longer texts.
    let signed = claim.signed_headers.as_bytes();
    let is_signed =
        |name: &str| signed.split(|byte| *byte == b';').any(|signed| signed == name.as_bytes());
    if !is_signed("host") {
        let message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(AuthError::OutOfScope(message.to_owned()));
    }
    let names = parts.headers.keys().map(HeaderName::as_str);
    let unsigned: Vec<&str> =
        names.filter(|name| name.starts_with("x-amz-") && !is_signed(name)).collect();
    if unsigned.is_empty() { Ok(()) } else { Err(AuthError::Unsigned(unsigned.join(", "))) }
}

enum PayloadHash {
    Unsigned,
    Of(Hex),
}

impl PayloadHash {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Unsigned => UNSIGNED_PAYLOAD.as_bytes(),
            Self::Of(hash) => hash.as_bytes(),
        }
    }
}

fn payload_hash(
    parts: &Parts,
    body_hash: impl FnOnce() -> Hex,
    claim: &Claim<'_>,
    service: &str,
) -> Result<PayloadHash, AuthError> {
    let header = parts.headers.get(&CONTENT_SHA256).map(HeaderValue::as_bytes);
    let is_presigned_object = service == "s3" && claim.expires_after.is_some();
    if header == Some(UNSIGNED_PAYLOAD.as_bytes()) || (header.is_none() && is_presigned_object) {
        return Ok(PayloadHash::Unsigned);
    }
    let hash = body_hash();
    if header.is_some_and(|header| header != hash.as_bytes()) {
        return Err(AuthError::OtherPayload);
    }
    Ok(PayloadHash::Of(hash))
}
