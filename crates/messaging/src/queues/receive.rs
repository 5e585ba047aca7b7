//! Receiving, and what becomes of what was received.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use sagebrush_core::Timestamp;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::StoreError;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::record::{MessageKind, MessageSpec, Place, QueueKind};
use super::shelf::{Entry, NotHeld};
use super::{Queue, QueueError, Queues};

/// The clock's own grain.
const TICK: Duration = Duration::from_millis(1);

/// What a receiver asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) most: usize,
    /// Else what the queue says.
    pub(super) visibility_timeout: Option<Duration>,
    pub(super) wait: Option<Duration>,
}

/// What shows that somebody received a message, and for the how manieth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receipt {
    message: Uuid,
    n_received: u32,
}

/// A message in somebody's hands.
pub(super) struct Received {
    pub(super) id: Uuid,
    pub(super) receipt: Receipt,
    pub(super) message: Stored<MessageKind>,
}

impl Receipt {
    pub(super) fn handle(self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}", self.message.simple(), self.n_received))
    }

    pub(super) fn read(handle: &str) -> Result<Self, QueueError> {
        let invalid = || QueueError::InvalidReceipt(handle.to_owned());
        let text = URL_SAFE_NO_PAD.decode(handle).ok().and_then(|it| String::from_utf8(it).ok());
        let text = text.ok_or_else(invalid)?;
        let (message, n_received) = text.split_once('.').ok_or_else(invalid)?;
        let message = message.parse().map_err(|_| invalid())?;
        Ok(Self { message, n_received: n_received.parse().map_err(|_| invalid())? })
    }
}

impl Queues {
    /// Takes messages out of the others' sight. Waits for the first one, as long as it is told;
    /// no longer than until somebody has `left`, or the server stops.
    pub(super) async fn receive(
        &self,
        queue: &Queue,
        wish: Wish,
        left: impl Future<Output = ()>,
    ) -> Result<Vec<Received>, QueueError> {
        let wait =
            Duration::from_secs(queue.stored().spec.settings.receive_message_wait_time.into());
        let until = Instant::now() + wish.wait.unwrap_or(wait);
        let mut left = pin!(left);
        let mut stopped = self.stopping.subscribe();
        loop {
            let received = self.receive_now(queue, wish).await?;
            let next = self.next_visible(queue);
            if !received.is_empty() && next.is_some_and(|next| next <= Instant::now() + TICK) {
                queue.arrived.notify_one(); // For who else waits.
            }
            if !received.is_empty() || Instant::now() >= until {
                return Ok(received);
            }
            let next = next.map_or(until, |next| until.min(next));
            tokio::select! {
                biased;
                () = &mut left => return Ok(Vec::new()),
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(Vec::new()),
                () = queue.arrived.notified() => {}
                () = sleep_until(next) => {} // Something may be seen, or the time is over.
            }
            let owner = queue.stored();
            self.get(&owner.region, &owner.name)?; // It may be deleted meanwhile.
        }
    }

    /// When the next message may be seen; a bit later, so that it is not looked for too early.
    fn next_visible(&self, queue: &Queue) -> Option<Instant> {
        let next = queue.shelf().next_visible()?;
        Some(Instant::now() + next.since(self.clock.now()) + TICK)
    }

    async fn receive_now(&self, queue: &Queue, wish: Wish) -> Result<Vec<Received>, QueueError> {
        let owner = queue.stored();
        let settings = &owner.spec.settings;
        let hidden = Duration::from_secs(settings.visibility_timeout.into());
        let hidden = wish.visibility_timeout.unwrap_or(hidden);
        loop {
            let now = self.clock.now();
            let until = later(now, hidden);
            let taken = queue.shelf().take(now, until, wish.most);
            if taken.is_empty() {
                return Ok(Vec::new());
            }
            let hand_out =
                taken.iter().map(|(id, entry)| self.hand_out(queue, &owner, *id, *entry));
            let mut received = Vec::new();
            let mut failed = None;
            for outcome in join_all(hand_out).await {
                match outcome {
                    Ok(message) => received.extend(message),
                    Err(error) => failed = Some(error), // It comes back by itself.
                }
            }
            match failed {
                Some(error) if received.is_empty() => return Err(error.into()),
                Some(error) => tracing::warn!(%error, "a message could not be handed out"),
                None => {}
            }
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }

    /// Notes that a message was received. None if it is not to be handed out.
    async fn hand_out(
        &self,
        queue: &Queue,
        owner: &Stored<QueueKind>,
        id: Uuid,
        entry: Entry,
    ) -> Result<Option<Received>, StoreError> {
        let (region, id_of_queue) = (owner.region.clone(), owner.spec.id.clone());
        let place = Place { region, queue: id_of_queue, message: id };
        let settings = &owner.spec.settings;
        let now = self.clock.now();
        if now.since(entry.sent_at) >= settings.retention() {
            self.drop_message(queue, &place).await?;
            return Ok(None);
        }
        if let Some(redrive) = &settings.redrive {
            let target = self.of_arn(&redrive.dead_letter_target_arn).ok();
            let is_dead = entry.n_received > redrive.max_receive_count;
            if let Some(target) = target.filter(|_| is_dead) {
                self.give_up(queue, owner, &place, &target).await?;
                return Ok(None);
            }
        }
        loop {
            let Some(mut message) = self.messages.get(&place.region, &place.key()).await? else {
                queue.shelf().remove(id); // Deleted meanwhile.
                return Ok(None);
            };
            message.status.n_received = entry.n_received;
            message.status.visible_at = Some(entry.visible_at);
            message.status.first_received.get_or_insert(now);
            match self.messages.update(message).await {
                Ok(message) => {
                    let receipt = Receipt { message: id, n_received: entry.n_received };
                    return Ok(Some(Received { id, receipt, message }));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Moves a message to the queue for dead letters. In a crash between the two steps it is in
    /// both, and is moved again, to where it is already.
    async fn give_up(
        &self,
        queue: &Queue,
        owner: &Stored<QueueKind>,
        place: &Place,
        target: &Arc<Queue>,
    ) -> Result<(), StoreError> {
        if let Some(message) = self.messages.get(&place.region, &place.key()).await? {
            let delayed_until = self.clock.now();
            let came_from = Some(self.arn(owner));
            let spec = MessageSpec { came_from, delayed_until, ..message.spec };
            self.add(target, place.message, spec).await?;
        }
        self.drop_message(queue, place).await
    }

    async fn drop_message(&self, queue: &Queue, place: &Place) -> Result<(), StoreError> {
        self.forget(place).await?;
        queue.shelf().remove(place.message);
        Ok(())
    }

    /// Deletes a received message; one that somebody else has received since is left to them.
    pub(super) async fn delete_message(
        &self,
        queue: &Queue,
        receipt: Receipt,
    ) -> Result<(), QueueError> {
        if !queue.shelf().is_newest(receipt.message, receipt.n_received) {
            return Ok(());
        }
        let owner = queue.stored();
        let (region, id) = (owner.region, owner.spec.id);
        let place = Place { region, queue: id, message: receipt.message };
        Ok(self.drop_message(queue, &place).await?)
    }

    /// Hides a received message for `hidden` from now on.
    pub(super) async fn change_visibility(
        &self,
        queue: &Queue,
        receipt: Receipt,
        hidden: Duration,
    ) -> Result<(), QueueError> {
        let Receipt { message: id, n_received } = receipt;
        let now = self.clock.now();
        let until = later(now, hidden);
        let outcome = queue.shelf().hide(id, n_received, now, until);
        outcome.map_err(|error| match error {
            NotHeld::Gone => QueueError::InvalidReceipt(receipt.handle()),
            NotHeld::NotInFlight => QueueError::NotInFlight(receipt.handle()),
        })?;
        queue.arrived.notify_one();
        let owner = queue.stored();
        let place = Place { region: owner.region, queue: owner.spec.id, message: id };
        loop {
            let found = self.messages.get(&place.region, &place.key()).await?;
            // Received again: the newer time counts.
            let found = found.filter(|message| message.status.n_received == n_received);
            let Some(mut message) = found else { return Ok(()) };
            message.status.visible_at = Some(until);
            match self.messages.update(message).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}
