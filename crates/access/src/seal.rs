//! The secrets of access keys, as they are stored.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};

/// Seals secrets, each for its access key: one that is stored with another key does not open.
pub(crate) struct Seal(LessSafeKey);

/// What was to be opened was not sealed by us for that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored secret cannot be opened")]
pub(crate) struct Broken;

impl Seal {
    pub(crate) fn new(master: &[u8; 32]) -> Self {
        let mut key = Sha256::new();
        key.update(b"sagebrush access keys ");
        key.update(master);
        #[expect(clippy::expect_used, reason = "a SHA-256 has as many bytes as the key")]
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key.finalize()).expect("32 bytes");
        Self(LessSafeKey::new(key))
    }

    pub(crate) fn close(&self, access_key: &str, secret: &str) -> Result<String, Broken> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut text = secret.as_bytes().to_vec();
        let aad = Aad::from(access_key.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, aad, &mut text).map_err(|_| Broken)?;
        Ok(BASE64_STANDARD.encode([&nonce[..], &text].concat()))
    }

    pub(crate) fn open(&self, access_key: &str, sealed: &str) -> Result<String, Broken> {
        let bytes = BASE64_STANDARD.decode(sealed).map_err(|_| Broken)?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(Broken)?;
        let mut text = text.to_vec();
        let aad = Aad::from(access_key.as_bytes());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let secret = self.0.open_in_place(nonce, aad, &mut text).map_err(|_| Broken)?;
        String::from_utf8(secret.to_vec()).map_err(|_| Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_own_key_alone() {
        let seal = Seal::new(&[7; 32]);
        let sealed = seal.close("AKIA1", "secret").unwrap();
        assert!(!sealed.contains("secret"));
        assert_ne!(sealed, seal.close("AKIA1", "secret").unwrap());
        assert_eq!(seal.open("AKIA1", &sealed).as_deref(), Ok("secret"));
        assert_eq!(seal.open("AKIA2", &sealed), Err(Broken));
        assert_eq!(Seal::new(&[8; 32]).open("AKIA1", &sealed), Err(Broken));
        assert_eq!(seal.open("AKIA1", "AAAA"), Err(Broken));
        assert_eq!(seal.open("AKIA1", "no base64"), Err(Broken));
    }
}
