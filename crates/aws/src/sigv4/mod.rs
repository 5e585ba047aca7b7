//! AWS Signature Version 4: who sent this, and did anybody touch it on its way.
//!
//! [`Verifier`] and [`Signer`] share the canonical form in [`canonical`]; both are held to AWS's
//! own test suite.

mod canonical;
mod claim;
mod credentials;
mod error;
mod keys;
mod sign;
mod temporary;
#[cfg(test)]
mod tests;
mod time;
mod verify;

pub use credentials::{Credentials, Grant, Keys, Refusal, Session, StaticKeys};
pub use error::{AuthError, Dialect};
pub use sign::{SignError, Signer};
pub use temporary::{Issued, TemporaryKeys};
pub use verify::{Caller, Verifier, signs_body};

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
