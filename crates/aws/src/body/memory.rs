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
    /// A body that is no longer is not counted.
    n_small: usize,
    n_held: AtomicUsize,
}

/// Small bodies lie in the buffers that their connections have anyway; to count them would have
/// all threads write to the same place with each call.
const SMALL: usize = 4096;
/// So many of them take no more than the room itself.
const MANY: usize = 1 << 16;

/// The room of one body.
#[derive(Debug)]
pub struct Held(Option<Taken>);

#[derive(Debug)]
struct Taken {
    memory: BodyMemory,
    n_bytes: usize,
}

impl BodyMemory {
    /// Room for `n_max` bytes.
    #[must_use]
    pub fn new(n_max: usize) -> Self {
        let n_small = SMALL.min(n_max / MANY);
        Self(Arc::new(Room { n_max, n_small, n_held: AtomicUsize::new(0) }))
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.n_held.load(Ordering::Relaxed)
    }

    /// Takes room for `n_bytes`, or says at once that there is none.
    pub(super) fn hold(&self, n_bytes: usize) -> Result<Held, BodyError> {
        let mut held = Held(None);
        held.grow_to(n_bytes, self)?;
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
    /// Takes what is missing to `n_bytes` of `memory`.
    pub(super) fn grow_to(&mut self, n_bytes: usize, memory: &BodyMemory) -> Result<(), BodyError> {
        if n_bytes <= memory.0.n_small {
            return Ok(());
        }
        let taken = self.0.get_or_insert_with(|| Taken { memory: memory.clone(), n_bytes: 0 });
        let missing = n_bytes.saturating_sub(taken.n_bytes);
        if missing > 0 {
            memory.take(missing)?;
            taken.n_bytes += missing;
        }
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.memory.give_back(self.n_bytes);
    }
}
