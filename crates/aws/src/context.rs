//! What a handler knows of the call besides its input.

use std::net::IpAddr;
use std::sync::Arc;

use sagebrush_core::{AccountId, Region};
use tokio::sync::watch;
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
    pub source_ip: Option<IpAddr>,
    /// Whether the caller's side of the connection is encrypted.
    pub is_secure: bool,
    pub caller: Presence,
}

/// Where a request comes from, among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub ip: IpAddr,
    /// Whether its side of the connection is encrypted: by a proxy, for we are plain.
    pub is_secure: bool,
}

impl Peer {
    /// One that nobody speaks for.
    #[must_use]
    pub fn plain(ip: IpAddr) -> Self {
        Self { ip, is_secure: false }
    }
}

/// Whether the caller still waits for the answer. A call goes on when its caller has left; this
/// is for those that only wait.
#[derive(Debug, Clone, Default)]
pub struct Presence(Option<watch::Receiver<()>>);

impl Presence {
    /// A caller who is there until the other half is dropped.
    pub(crate) fn new() -> (watch::Sender<()>, Self) {
        let (sender, receiver) = watch::channel(());
        (sender, Self(Some(receiver)))
    }

    /// Returns when the caller has left.
    pub async fn left(mut self) {
        match &mut self.0 {
            Some(caller) => while caller.changed().await.is_ok() {},
            None => std::future::pending().await,
        }
    }
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
            source_ip: None,
            is_secure: false,
            caller: Presence::default(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::Presence;

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_there_until_the_door_lets_go() {
        let hour = Duration::from_hours(1);
        let (here, caller) = Presence::new();
        assert!(timeout(hour, caller.clone().left()).await.is_err());
        drop(here);
        caller.left().await;
        assert!(timeout(hour, Presence::default().left()).await.is_err());
    }
}
