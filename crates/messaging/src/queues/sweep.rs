//! Removes the messages that nobody received in time.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::record::Place;
use super::{AT_ONCE, Queue, Queues};

/// Short against the shortest time that messages are kept.
const EVERY: Duration = Duration::from_secs(30);

impl Queues {
    pub(crate) async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            for queue in self.all() {
                self.sweep(&queue).await;
            }
        }
    }

    async fn sweep(&self, queue: &Queue) {
        let owner = queue.stored();
        let expired = queue.shelf().expired(self.clock.now(), owner.spec.settings.retention());
        let (region, id) = (&owner.region, &owner.spec.id);
        let remove = |message| async move {
            let place = Place { region: region.clone(), queue: id.clone(), message };
            match self.forget(&place).await {
                Ok(()) => queue.shelf().remove(message),
                Err(error) => tracing::warn!(%error, "an old message could not be removed"),
            }
        };
        stream::iter(expired).for_each_concurrent(AT_ONCE, remove).await;
    }
}
