//! Queues: what is sent is kept until who received it deletes it.
//!
//! A message is a record of the store, and durable once its sender has an answer. Beside it, each
//! queue has an index in memory ([`shelf`]) of which messages there are and when they may be seen;
//! it is made anew at the start.

mod api;
mod batch;
mod checksum;
mod error;
mod receive;
mod record;
mod send;
mod settings;
mod shelf;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt as _};
use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::store::{MetaStore, Query, StoreError};
use sagebrush_core::{AccountId, Arn, Clock, Region, task};
use tokio::sync::{Notify, watch};

pub(crate) use api::operations;
pub(crate) use error::QueueError;
pub(crate) use send::Letter;
pub(crate) use settings::MAX_MESSAGE;

use record::{MessageKind, Place, QueueId, QueueKind, QueueSpec};
use settings::QueueSettings;
use shelf::{Entry, Shelf};

/// How many messages are read at once at the start.
const PAGE: usize = 500;
/// How many are removed at the same time: they share a commit.
const AT_ONCE: usize = 64;

/// All queues.
pub(crate) struct Queues {
    queues: Table<QueueKind>,
    messages: Table<MessageKind>,
    clock: Arc<dyn Clock>,
    account: AccountId,
    live: Mutex<BTreeMap<(Region, String), Arc<Queue>>>,
    /// Held by who makes, changes or removes a queue.
    changing: tokio::sync::Mutex<()>,
    /// True once nobody is to wait any more.
    stopping: watch::Sender<bool>,
}

/// One queue that there is.
pub(crate) struct Queue {
    stored: Mutex<Stored<QueueKind>>,
    shelf: Mutex<Shelf>,
    arrived: Notify,
}

impl Queues {
    /// Reads all queues and which messages they have.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn open(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        account: AccountId,
    ) -> Result<Arc<Self>, StoreError> {
        let queues = Table::new(store.clone(), clock.clone());
        let messages = Table::new(store, clock.clone());
        let mut live = BTreeMap::new();
        for stored in queues.all().await? {
            live.insert((stored.region.clone(), stored.name.clone()), Queue::new(stored));
        }
        let this = Self {
            queues,
            messages,
            clock,
            account,
            live: Mutex::new(live),
            changing: tokio::sync::Mutex::default(),
            stopping: watch::Sender::new(false),
        };
        let orphans = this.fill().await?;
        let this = Arc::new(this);
        if !orphans.is_empty() {
            let clean = this.clone();
            task::spawn("queue-orphans", async move { clean.discard(orphans).await });
        }
        Ok(this)
    }

    /// Puts all messages into their queues; returns those of queues that are gone.
    async fn fill(&self) -> Result<Vec<Place>, StoreError> {
        let by_id: BTreeMap<QueueId, Arc<Queue>> =
            self.all().into_iter().map(|queue| (queue.stored().spec.id, queue)).collect();
        let mut orphans = Vec::new();
        let mut query = Query { limit: PAGE, ..Query::default() };
        loop {
            let (messages, next) = self.messages.list(&query).await?;
            for message in messages {
                let Some(place) = Place::of_key(&message.region, &message.name) else { continue };
                match by_id.get(&place.queue) {
                    Some(queue) => queue.shelf().put(place.message, entry(&message)),
                    None => orphans.push(place),
                }
            }
            let Some(next) = next else { return Ok(orphans) };
            query.after = Some(next);
        }
    }

    /// Removes messages that belong to nobody any more. What fails is left to the next start.
    async fn discard(&self, places: Vec<Place>) {
        let remove = |place: Place| async move {
            if let Err(error) = self.forget(&place).await {
                tracing::warn!(%error, "a message without a queue could not be removed");
            }
        };
        stream::iter(places).for_each_concurrent(AT_ONCE, remove).await;
    }

    /// Answers those who wait for a message.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<(Region, String), Arc<Queue>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Queue>> {
        self.live().values().cloned().collect()
    }

    /// The queues of a region whose name starts with `prefix`, by name.
    fn named(&self, region: &Region, prefix: &str) -> Vec<Arc<Queue>> {
        let live = self.live();
        let named =
            live.iter().filter(|((place, name), _)| place == region && name.starts_with(prefix));
        named.map(|(_, queue)| queue.clone()).collect()
    }

    fn get(&self, region: &Region, name: &str) -> Result<Arc<Queue>, QueueError> {
        let name = (region.clone(), name.to_owned());
        self.live().get(&name).cloned().ok_or(QueueError::NoQueue)
    }

    /// The queue of an ARN.
    pub(crate) fn of_arn(&self, arn: &str) -> Result<Arc<Queue>, QueueError> {
        let arn: Arn = arn.parse().map_err(|_| QueueError::NoQueue)?;
        if arn.service != "sqs" || *arn.account != *self.account.0 {
            return Err(QueueError::NoQueue);
        }
        self.get(&Region::new(&arn.region), &arn.resource)
    }

    fn arn(&self, queue: &Stored<QueueKind>) -> String {
        let arn = Arn {
            service: "sqs".to_owned(),
            region: queue.region.to_string(),
            account: self.account.to_string(),
            resource: queue.name.clone(),
        };
        arn.to_string()
    }

    /// Makes a queue, or finds the one that is just like it.
    pub(crate) async fn create(
        &self,
        region: &Region,
        name: &str,
        attributes: &BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<Arc<Queue>, QueueError> {
        check_name(name)?;
        let settings = QueueSettings::default().with(attributes)?;
        let _changing = self.changing.lock().await;
        if let Ok(queue) = self.get(region, name) {
            let same = queue.stored().spec.settings.attributes();
            let wanted = settings.attributes();
            let other = attributes.keys().find(|name| same.get(*name) != wanted.get(*name));
            return match other {
                Some(other) => Err(QueueError::Exists(other.clone())),
                None => Ok(queue),
            };
        }
        let spec = QueueSpec { id: QueueId::new(), settings };
        let queue = Queue::new(self.queues.create(region, name, spec, tags).await?);
        self.live().insert((region.clone(), name.to_owned()), queue.clone());
        Ok(queue)
    }

    /// Changes what the store has of a queue.
    async fn change(
        &self,
        queue: &Queue,
        change: impl FnOnce(&mut Stored<QueueKind>) -> Result<(), QueueError> + Send,
    ) -> Result<(), QueueError> {
        let _changing = self.changing.lock().await;
        let mut stored = queue.stored();
        // It may be gone since it was found.
        self.get(&stored.region, &stored.name)?;
        change(&mut stored)?;
        let stored = self.queues.update(stored).await?;
        *queue.stored.lock().unwrap_or_else(PoisonError::into_inner) = stored;
        Ok(())
    }

    async fn delete(self: &Arc<Self>, queue: &Queue) -> Result<(), QueueError> {
        let changing = self.changing.lock().await;
        let stored = queue.stored();
        self.queues.remove(&stored).await?;
        self.live().remove(&(stored.region.clone(), stored.name.clone()));
        drop(changing);
        self.discard_all(queue, &stored);
        Ok(())
    }

    /// Removes all messages of a queue: it gets a new identity, and those of the old one have
    /// lost their owner.
    async fn purge(self: &Arc<Self>, queue: &Queue) -> Result<(), QueueError> {
        let before = queue.stored();
        self.change(queue, |stored| {
            stored.spec.id = QueueId::new();
            Ok(())
        })
        .await?;
        self.discard_all(queue, &before);
        Ok(())
    }

    fn discard_all(self: &Arc<Self>, queue: &Queue, stored: &Stored<QueueKind>) {
        let (region, id) = (&stored.region, &stored.spec.id);
        let shelf = std::mem::take(&mut *queue.shelf());
        let place = |message| Place { region: region.clone(), queue: id.clone(), message };
        let places = shelf.messages().map(place).collect();
        let this = self.clone();
        task::spawn("queue-discard", async move { this.discard(places).await });
    }

    /// Removes the record of a message, whatever its version is.
    async fn forget(&self, place: &Place) -> Result<(), StoreError> {
        loop {
            let Some(stored) = self.messages.get(&place.region, &place.key()).await? else {
                return Ok(());
            };
            match self.messages.remove(&stored).await {
                Err(StoreError::Conflict { .. }) => {} // Received meanwhile.
                outcome => return outcome,
            }
        }
    }
}

impl Queue {
    fn new(stored: Stored<QueueKind>) -> Arc<Self> {
        let (shelf, arrived) = (Mutex::default(), Notify::new());
        Arc::new(Self { stored: Mutex::new(stored), shelf, arrived })
    }

    fn stored(&self) -> Stored<QueueKind> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(test)]
    pub(crate) fn n_messages(&self) -> usize {
        self.shelf().messages().count()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(message: &Stored<MessageKind>) -> Entry {
    let visible_at = message.status.visible_at.unwrap_or(message.spec.delayed_until);
    Entry { sent_at: message.spec.sent_at, visible_at, n_received: message.status.n_received }
}

fn check_name(name: &str) -> Result<(), QueueError> {
    if name.ends_with(".fifo") {
        return Err(QueueError::Fifo);
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_valid = (1..=80).contains(&name.len()) && name.bytes().all(is_plain);
    if is_valid { Ok(()) } else { Err(QueueError::InvalidName) }
}
