//! What a handler knows of the call besides its input.

use std::sync::Arc;

use sagebrush_core::{AccountId, Region};
use uuid::Uuid;

use crate::sigv4::Session;

/// The circumstances of one call.
#[derive(Debug, Clone)]
pub struct Context {
    /// From the credential scope.
    pub region: Region,
    pub account: AccountId,
    pub request_id: Arc<str>,
    /// Who signed; empty if nobody did.
    pub access_key: Arc<str>,
    /// Set when the caller signed with keys from `AssumeRole`.
    pub session: Option<Arc<Session>>,
    pub user_agent: Option<String>,
    /// The `Host` header, with its port.
    pub host: Option<String>,
}

impl Context {
    /// A call of nobody in particular.
    #[must_use]
    pub fn new(region: Region, account: AccountId) -> Self {
        Self {
            region,
            account,
            request_id: request_id(),
            access_key: "".into(),
            session: None,
            user_agent: None,
            host: None,
        }
    }

    /// Nobody signs a link in a message.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        !self.access_key.is_empty()
    }
}

/// A new id for a call.
#[must_use]
pub fn request_id() -> Arc<str> {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    id.into()
}
