//! Which messages of a queue there are and when they may be seen. Pure; the store has the rest.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sagebrush_core::Timestamp;
use uuid::Uuid;

/// The index of one queue.
#[derive(Default)]
pub(super) struct Shelf {
    entries: HashMap<Uuid, (Entry, u64)>,
    /// Who may be seen first stands first; among equals, who came first.
    order: BTreeMap<(Timestamp, u64), Uuid>,
    n_put: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) sent_at: Timestamp,
    pub(super) visible_at: Timestamp,
    pub(super) n_received: u32,
}

/// How many messages there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) visible: usize,
    pub(super) in_flight: usize,
    pub(super) delayed: usize,
}

/// Why the visibility of a message cannot change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotHeld {
    Gone,
    /// It may be seen again, or somebody else has received it since.
    NotInFlight,
}

impl Shelf {
    /// Adds a message, or puts it where it belongs now.
    pub(super) fn put(&mut self, message: Uuid, entry: Entry) {
        self.remove(message);
        self.order.insert((entry.visible_at, self.n_put), message);
        self.entries.insert(message, (entry, self.n_put));
        self.n_put += 1;
    }

    pub(super) fn remove(&mut self, message: Uuid) {
        if let Some((entry, place)) = self.entries.remove(&message) {
            self.order.remove(&(entry.visible_at, place));
        }
    }

    /// Takes up to `most` messages that may be seen, and hides them until `until`. Each counts
    /// one time more as received.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Vec<(Uuid, Entry)> {
        let visible = self.order.iter().take_while(|((at, _), _)| *at <= now).take(most);
        let messages: Vec<Uuid> = visible.map(|(_, message)| *message).collect();
        let mut taken = Vec::with_capacity(messages.len());
        for message in messages {
            let Some((entry, _)) = self.entries.get(&message) else { continue };
            let entry = Entry { visible_at: until, n_received: entry.n_received + 1, ..*entry };
            self.put(message, entry);
            taken.push((message, entry));
        }
        taken
    }

    /// Hides a message until `until`, which was received for the `n_received`th time and not
    /// since.
    pub(super) fn hide(
        &mut self,
        message: Uuid,
        n_received: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), NotHeld> {
        let (entry, _) = self.entries.get(&message).ok_or(NotHeld::Gone)?;
        if entry.n_received != n_received || entry.visible_at <= now {
            return Err(NotHeld::NotInFlight);
        }
        let entry = Entry { visible_at: until, ..*entry };
        self.put(message, entry);
        Ok(())
    }

    /// Whether it is the newest receipt of the message, or there is no message any more.
    pub(super) fn is_newest(&self, message: Uuid, n_received: u32) -> bool {
        self.entries.get(&message).is_none_or(|(entry, _)| entry.n_received == n_received)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = Uuid> {
        self.order.values().copied()
    }

    /// When the next message may be seen.
    pub(super) fn next_visible(&self) -> Option<Timestamp> {
        self.order.keys().next().map(|(at, _)| *at)
    }

    /// The messages that were sent longer ago than `retention`.
    pub(super) fn expired(&self, now: Timestamp, retention: Duration) -> Vec<Uuid> {
        let is_expired = |entry: &Entry| now.since(entry.sent_at) >= retention;
        let all = self.entries.iter();
        all.filter(|(_, (entry, _))| is_expired(entry)).map(|(message, _)| *message).collect()
    }

    pub(super) fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        let hidden = self.order.iter().rev().take_while(|((at, _), _)| *at > now);
        for (_, message) in hidden {
            match self.entries.get(message) {
                Some((entry, _)) if entry.n_received > 0 => counts.in_flight += 1,
                Some(_) | None => counts.delayed += 1,
            }
        }
        counts.visible = self.order.len() - counts.in_flight - counts.delayed;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn shelf(visible: &[i64]) -> Shelf {
        let mut shelf = Shelf::default();
        for (n, visible_at) in (1..).zip(visible) {
            let entry = Entry { sent_at: at(0), visible_at: at(*visible_at), n_received: 0 };
            shelf.put(id(n), entry);
        }
        shelf
    }

    fn check(shelf: &mut Shelf, now: i64, most: usize, expected: &[u128]) {
        let taken = shelf.take(at(now), at(now + 30), most);
        let ids: Vec<u128> = taken.iter().map(|(message, _)| message.as_u128()).collect();
        assert_eq!(ids, expected, "at {now}");
    }

    #[test]
    fn messages_come_in_their_order_and_hide_while_they_are_held() {
        let mut shelf = shelf(&[0, 0, 50]);
        check(&mut shelf, 0, 1, &[1]);
        check(&mut shelf, 0, 10, &[2]);
        check(&mut shelf, 29, 10, &[]);
        check(&mut shelf, 30, 10, &[1, 2]);
        check(&mut shelf, 50, 10, &[3]);
        assert_eq!(shelf.next_visible(), Some(at(60)));
        assert_eq!(shelf.counts(at(60)), Counts { visible: 2, in_flight: 1, delayed: 0 });
        shelf.remove(id(1));
        check(&mut shelf, 100, 10, &[2, 3]);
    }

    #[test]
    fn only_who_holds_a_message_may_hide_it() {
        let mut shelf = shelf(&[0, 70]);
        assert_eq!(shelf.hide(id(1), 0, at(0), at(9)), Err(NotHeld::NotInFlight));
        check(&mut shelf, 0, 1, &[1]);
        assert_eq!(shelf.hide(id(1), 1, at(10), at(90)), Ok(()));
        check(&mut shelf, 40, 1, &[]);
        assert_eq!(shelf.hide(id(1), 1, at(50), at(50)), Ok(()));
        check(&mut shelf, 50, 1, &[1]);
        assert_eq!(shelf.hide(id(1), 1, at(51), at(90)), Err(NotHeld::NotInFlight));
        assert_eq!(shelf.hide(id(9), 1, at(51), at(90)), Err(NotHeld::Gone));
        assert!(shelf.is_newest(id(1), 2) && !shelf.is_newest(id(1), 1));
        assert_eq!(shelf.counts(at(51)), Counts { visible: 0, in_flight: 1, delayed: 1 });
    }

    #[test]
    fn what_is_old_expires() {
        let shelf = shelf(&[0]);
        let minute = Duration::from_mins(1);
        assert!(shelf.expired(at(59_999), minute).is_empty());
        assert_eq!(shelf.expired(at(60_000), minute), [id(1)]);
    }
}
