//! Signing keys, derived from secrets, and a cache of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sagebrush_core::Region;
use sagebrush_core::shards::Shards;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::canonical::Hex;
use super::claim::Scope;

/// A key that signs for one day, region and service.
pub(super) struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub(super) fn derive(secret: &str, date: &str, region: &str, service: &str) -> Self {
        let mut key = keyed(&["AWS4".as_bytes(), secret.as_bytes()].concat());
        for step in [date, region, service, "aws4_request"] {
            key = keyed(&mac(key, step.as_bytes()));
        }
        Self(key)
    }

    /// Signs the text that these parts make.
    pub(super) fn sign<'p>(&self, parts: impl IntoIterator<Item = &'p [u8]>) -> Hex {
        let mut mac = self.0.clone();
        parts.into_iter().for_each(|part| mac.update(part));
        Hex::of(&mac.finalize().into_bytes().into())
    }
}

/// HMAC-SHA-256 keyed with `key`, of any length.
pub(super) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    Hmac::new_from_slice(key).expect("any length")
}

pub(super) fn mac(mut key: Hmac<Sha256>, text: &[u8]) -> [u8; 32] {
    key.update(text);
    key.finalize().into_bytes().into()
}

/// What is remembered of a credential that has signed well.
pub(super) struct Known {
    pub(super) key: SigningKey,
    pub(super) access_key: Arc<str>,
    pub(super) region: Region,
    secret: String,
}

impl Known {
    pub(super) fn derive(scope: &Scope<'_>, secret: &str) -> Self {
        Self {
            key: SigningKey::derive(secret, scope.date, scope.region, scope.service),
            access_key: scope.access_key.into(),
            region: Region::new(scope.region),
            secret: secret.to_owned(),
        }
    }
}

/// Signing keys by credential: deriving one costs four HMACs, and each call needs one. Threads
/// keep their own, for each call also counts who refers to them.
///
/// Only credentials that have signed well get in, so that nobody else can fill it.
#[derive(Default)]
pub(super) struct KeyCache(Shards<Mutex<HashMap<String, Arc<Known>>>>);

/// Some hundred clients, each with a few regions and services.
const MAX_KEYS: usize = 4096;

impl KeyCache {
    /// The key of `credential`, if it was derived from this very `secret`.
    pub(super) fn get(&self, credential: &str, secret: &str) -> Option<Arc<Known>> {
        let cache = self.mine();
        let known = cache.get(credential)?;
        let unchanged: bool = known.secret.as_bytes().ct_eq(secret.as_bytes()).into();
        unchanged.then(|| known.clone())
    }

    pub(super) fn put(&self, credential: &str, known: Arc<Known>) {
        let mut cache = self.mine();
        if cache.len() >= MAX_KEYS {
            cache.clear(); // Yesterday's keys go too.
        }
        cache.insert(credential.to_owned(), known);
    }

    fn mine(&self) -> MutexGuard<'_, HashMap<String, Arc<Known>>> {
        self.0.mine(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}
