//! What the bodies of all calls may take together: many large ones at once must not end in a
//! process that the system kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::BodyError;

/// Room for the bodies that are being read or held. Clones share it.
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<Room>);

#[derive(Debug)]
struct Room {
    n_max: usize,
    n_held: AtomicUsize,
}

/// The room of one body.
#[derive(Debug)]
pub struct Held {
    memory: BodyMemory,
    n_bytes: usize,
}

impl BodyMemory {
    /// Room for `n_max` bytes.
    #[must_use]
    pub fn new(n_max: usize) -> Self {
        Self(Arc::new(Room { n_max, n_held: AtomicUsize::new(0) }))
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.n_held.load(Ordering::Relaxed)
    }

    /// Takes room for `n_bytes`, or says at once that there is none.
    pub(super) fn hold(&self, n_bytes: usize) -> Result<Held, BodyError> {
        let mut held = Held { memory: self.clone(), n_bytes: 0 };
        held.grow_to(n_bytes)?;
        Ok(held)
    }

    fn take(&self, n_bytes: usize) -> Result<(), BodyError> {
        let before = self.0.n_held.fetch_add(n_bytes, Ordering::Relaxed);
        if before.saturating_add(n_bytes) > self.0.n_max {
            self.give_back(n_bytes);
            return Err(BodyError::NoRoom);
        }
        Ok(())
    }

    fn give_back(&self, n_bytes: usize) {
        self.0.n_held.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

impl Held {
    /// Takes what is missing to `n_bytes`.
    pub(super) fn grow_to(&mut self, n_bytes: usize) -> Result<(), BodyError> {
        let missing = n_bytes.saturating_sub(self.n_bytes);
        if missing > 0 {
            self.memory.take(missing)?;
            self.n_bytes += missing;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.give_back(self.n_bytes);
    }
}
