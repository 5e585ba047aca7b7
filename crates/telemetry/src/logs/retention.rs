//! Retention: what has expired is not shown any more, and goes from the disk at the next sweep.

use std::sync::Arc;
use std::time::Duration;

use super::LogStore;
use super::error::LogError;
use super::groups::Group;
use super::stream::Shared;

/// How often the disk is swept.
const EVERY: Duration = Duration::from_hours(1);

impl LogStore {
    /// Sweeps now and then, for ever.
    pub async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "expired log events could not be removed");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Removes what has expired. Lines are written between one stream and the next.
    pub(super) async fn sweep(&self) -> Result<(), LogError> {
        for group in self.groups.expiring() {
            let Some(before) = group.expired_before(self.clock.now()) else { continue };
            for stream in self.streams_of(&group) {
                self.change(move |writer| Ok(writer.expire(&stream, before)?)).await?;
            }
        }
        Ok(())
    }

    pub(super) fn streams_of(&self, group: &Group) -> Vec<Shared> {
        self.streams.of_group(group)
    }
}
