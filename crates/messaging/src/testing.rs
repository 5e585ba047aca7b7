//! What the tests share: a store in memory, and a clock that goes with `tokio`'s.

use std::sync::Arc;

use sagebrush_core::store::MetaStore;
use sagebrush_core::{AccountId, Clock, Region, Timestamp};
use sagebrush_store::MemoryStore;
use tokio::time::Instant;

/// Moves when a paused test moves on.
pub(crate) struct PausedClock(Instant);

impl PausedClock {
    pub(crate) fn start() -> Arc<dyn Clock> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let since = Instant::now() - self.0;
        Timestamp(1_000_000_000_000 + i64::try_from(since.as_millis()).unwrap())
    }
}

pub(crate) fn store() -> Arc<dyn MetaStore> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn account() -> AccountId {
    AccountId("123456789012".into())
}

pub(crate) fn region() -> Region {
    Region::new("us-east-1")
}
