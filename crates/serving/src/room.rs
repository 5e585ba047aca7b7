//! Room for bytes that are kept beside the calls that they came with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes, for all that share it.
#[derive(Clone)]
pub(crate) struct Room {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A part of it, until it is dropped.
pub(crate) struct Taken {
    room: Room,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Room for `bytes`, if there is; never waits.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        let mut taken = Taken { room: self.clone(), bytes: 0 };
        taken.grow(bytes).then_some(taken)
    }
}

impl Taken {
    /// Takes more room, if there is; else it stays as it is.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.room.taken.fetch_add(bytes, Ordering::AcqRel);
        let fits = before.saturating_add(bytes) <= self.room.most;
        if fits {
            self.bytes += bytes;
        } else {
            self.room.taken.fetch_sub(bytes, Ordering::AcqRel);
        }
        fits
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn what_is_dropped_is_there_again() {
        let room = Room::new(10);
        let mut first = room.take(4).unwrap();
        assert!(room.take(7).is_none());
        assert!(first.grow(6) && !first.grow(1));
        drop(first);
        assert!(room.take(10).is_some() && room.take(10).is_some());
    }
}
