//! Where secrets come from.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use sagebrush_core::Timestamp;
use subtle::ConstantTimeEq as _;

use super::temporary::{self, TemporaryKeys};

/// Knows the secrets of access keys.
pub trait Credentials: Send + Sync + 'static {
    /// The secret that `access_key` signs with, if it may sign now, with that session token.
    ///
    /// Called for each request; it must not wait.
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Grant<'_>, Refusal>;
}

/// A secret and whom it makes its owner.
#[derive(Clone)]
pub struct Grant<'a> {
    pub secret: Cow<'a, str>,
    /// Set for temporary keys.
    pub session: Option<Arc<Session>>,
}

impl Grant<'_> {
    /// The same, with a secret of its own.
    #[must_use]
    pub fn into_owned(self) -> Grant<'static> {
        Grant { secret: Cow::Owned(self.secret.into_owned()), session: self.session }
    }
}

/// Why there is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No such access key, or not with this session token.
    Unknown,
    Expired,
}

/// A role somebody has assumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The ARN that was passed to `AssumeRole`.
    pub role_arn: String,
    pub name: String,
    /// A policy that limits it further than the role's own.
    pub policy: Option<String>,
}

/// Access keys from the settings.
#[derive(Clone, Default)]
pub struct StaticKeys(HashMap<String, StaticKey>);

#[derive(Clone)]
struct StaticKey {
    secret: String,
    token: Option<String>,
}

impl StaticKeys {
    #[must_use]
    pub fn with(mut self, access_key: &str, secret: &str) -> Self {
        let key = StaticKey { secret: secret.to_owned(), token: None };
        self.0.insert(access_key.to_owned(), key);
        self
    }

    /// A key that is good only with its session token.
    #[must_use]
    pub fn with_token(mut self, access_key: &str, secret: &str, token: &str) -> Self {
        let key = StaticKey { secret: secret.to_owned(), token: Some(token.to_owned()) };
        self.0.insert(access_key.to_owned(), key);
        self
    }
}

impl Credentials for StaticKeys {
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        _: Timestamp,
    ) -> Result<Grant<'_>, Refusal> {
        let key = self.0.get(access_key).ok_or(Refusal::Unknown)?;
        let token_fits = match (&key.token, token) {
            (None, None) => true,
            (Some(wanted), Some(token)) => wanted.as_bytes().ct_eq(token.as_bytes()).into(),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !token_fits {
            return Err(Refusal::Unknown);
        }
        Ok(Grant { secret: Cow::Borrowed(&key.secret), session: None })
    }
}

/// The keys of the settings, and those that `AssumeRole` gives.
pub struct Keys {
    pub fixed: StaticKeys,
    pub temporary: TemporaryKeys,
}

impl Credentials for Keys {
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Grant<'_>, Refusal> {
        if access_key.starts_with(temporary::PREFIX) && !self.fixed.0.contains_key(access_key) {
            return self.temporary.secret(access_key, token, now);
        }
        self.fixed.secret(access_key, token, now)
    }
}
