//! Keys that `AssumeRole` gives. Nothing of them is stored: the token says what they are good
//! for, and the secret follows from it, so they outlive a restart.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sagebrush_core::Timestamp;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::credentials::{Credentials, Grant, Refusal, Session};
use super::keys::{keyed, mac};

/// What the access keys of temporary credentials start with.
pub(super) const PREFIX: &str = "ASIA";

/// AWS's tokens are longer than a kilobyte, but none of ours is.
const MAX_TOKEN: usize = 4096;

/// 30 bytes are the 40 characters of base64 that secrets have.
const SECRET_BYTES: usize = 30;

/// Gives temporary keys, and knows them again.
pub struct TemporaryKeys {
    master: [u8; 32],
}

/// What `AssumeRole` hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub access_key: String,
    pub secret: String,
    pub token: String,
    pub expires_at: Timestamp,
}

/// What a token says: when it ends (in milliseconds), the role's ARN, the session's name and its
/// policy.
type Claims = (i64, String, String, Option<String>);

impl TemporaryKeys {
    /// `master` must be the same after a restart, and secret.
    #[must_use]
    pub fn new(master: [u8; 32]) -> Self {
        Self { master }
    }

    /// Whether an access key looks like one of ours.
    #[must_use]
    pub fn are_named(access_key: &str) -> bool {
        access_key.starts_with(PREFIX)
    }

    /// New keys for `session`, good until `expires_at`.
    #[must_use]
    pub fn issue(&self, session: &Session, expires_at: Timestamp) -> Issued {
        let access_key = access_key();
        let claims = (expires_at.0, &session.role_arn, &session.name, &session.policy);
        // Strings and numbers always serialize.
        let mut token = serde_json::to_vec(&claims).unwrap_or_default();
        let secret = self.secret_of(&access_key, &token);
        let seal = self.seal(&access_key, &token);
        token.extend_from_slice(&seal);
        Issued { access_key, secret, token: URL_SAFE_NO_PAD.encode(token), expires_at }
    }

    fn secret_of(&self, access_key: &str, claims: &[u8]) -> String {
        STANDARD.encode(&self.derive(b"secret", access_key, claims)[..SECRET_BYTES])
    }

    /// Shows that we wrote these claims for this access key.
    fn seal(&self, access_key: &str, claims: &[u8]) -> [u8; 32] {
        self.derive(b"seal", access_key, claims)
    }

    fn derive(&self, purpose: &[u8], access_key: &str, claims: &[u8]) -> [u8; 32] {
        // No part but the last may hold a zero byte, so no two inputs look alike.
        let text = [purpose, b"\0", access_key.as_bytes(), b"\0", claims].concat();
        mac(keyed(&self.master), &text)
    }
}

impl Credentials for TemporaryKeys {
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Grant<'_>, Refusal> {
        let token = token.filter(|token| token.len() <= MAX_TOKEN).ok_or(Refusal::Unknown)?;
        let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| Refusal::Unknown)?;
        let (claims, seal) = token.split_last_chunk::<32>().ok_or(Refusal::Unknown)?;
        let sealed: bool = self.seal(access_key, claims).ct_eq(seal).into();
        if !sealed || access_key.contains('\0') {
            return Err(Refusal::Unknown);
        }
        let (expires_at, role_arn, name, policy): Claims =
            serde_json::from_slice(claims).map_err(|_| Refusal::Unknown)?;
        if Timestamp(expires_at) <= now {
            return Err(Refusal::Expired);
        }
        let secret = Cow::Owned(self.secret_of(access_key, claims));
        Ok(Grant { secret, session: Some(Arc::new(Session { role_arn, name, policy })) })
    }
}

/// `ASIA` and 16 letters and digits, 80 random bits.
fn access_key() -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    // Of a v4 UUID only the version and the variant are fixed; they stand in the upper half.
    let random = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u128());
    let letters = (0..16).map(|index| {
        let bits = if index < 8 { random.0 } else { random.1 } >> (5 * (index % 8));
        char::from(ALPHABET[usize::try_from(bits & 31).unwrap_or_default()])
    });
    PREFIX.chars().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn session() -> Session {
        let policy = Some("{}".to_owned());
        Session { role_arn: "arn:aws:iam::1:role/r".to_owned(), name: "s".to_owned(), policy }
    }

    #[test]
    fn keys_outlive_a_restart() {
        let issued = TemporaryKeys::new([7; 32]).issue(&session(), Timestamp(2_000));
        assert_eq!((issued.access_key.len(), issued.secret.len()), (20, 40));
        let keys = TemporaryKeys::new([7; 32]);
        let grant = keys.secret(&issued.access_key, Some(&issued.token), NOW).ok().unwrap();
        assert_eq!(*grant.secret, *issued.secret);
        assert_eq!(grant.session.as_deref(), Some(&session()));
    }

    fn check(keys: &TemporaryKeys, access_key: &str, token: Option<&str>, expected: Refusal) {
        assert_eq!(keys.secret(access_key, token, NOW).err(), Some(expected), "{token:?}");
    }

    #[test]
    fn other_tokens_are_refused() {
        let keys = TemporaryKeys::new([7; 32]);
        let good = keys.issue(&session(), Timestamp(2_000));
        let other = keys.issue(&session(), Timestamp(2_000));
        let old = keys.issue(&session(), NOW);
        let token = Some(&*good.token);
        check(&keys, &good.access_key, None, Refusal::Unknown);
        check(&keys, &good.access_key, Some(""), Refusal::Unknown);
        check(&keys, &good.access_key, Some("nonsense"), Refusal::Unknown);
        check(&keys, &good.access_key, Some(&other.token), Refusal::Unknown);
        check(&keys, &other.access_key, token, Refusal::Unknown);
        check(&keys, &old.access_key, Some(&old.token), Refusal::Expired);
        check(&TemporaryKeys::new([8; 32]), &good.access_key, token, Refusal::Unknown);
        for index in 0..good.token.len() {
            let mut forged = good.token.clone().into_bytes();
            forged[index] = if forged[index] == b'A' { b'Q' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            check(&keys, &good.access_key, Some(&forged), Refusal::Unknown);
        }
    }
}
