//! What many threads write, in a piece for each of them.
//!
//! Cores that write to the same memory wait for each other, some hundred cycles each time. What
//! only one thread writes costs a few, and whoever reads it all adds the pieces up.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread::available_parallelism;

/// Pieces of a `T`: one for each thread that works all the time, and some for the others. A piece
/// takes memory once its thread writes to it.
pub struct Shards<T>(Box<[OnceLock<Box<Piece<T>>>]>);

/// Two cache lines: the processor fetches them in pairs.
#[repr(align(128))]
struct Piece<T>(T);

/// Threads get their numbers in the order in which they ask. More than this many, and more than
/// twice the cores, share pieces: all pieces must bear that.
const MOST: usize = 64;

static N_PIECES: LazyLock<usize> = LazyLock::new(|| {
    let n_cores = available_parallelism().map_or(1, |n| n.get());
    (2 * n_cores).next_power_of_two().min(MOST)
});

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Gives the calling thread its number. Those that call it first share no pieces with each other.
pub fn number_thread() -> usize {
    NUMBER.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        NUMBER.set(Some(number));
        number
    })
}

impl<T> Shards<T> {
    /// With all pieces made, for one that is read while others begin to write.
    pub fn made(make: impl Fn() -> T) -> Self {
        let all = Self::default();
        all.0.iter().for_each(|piece| _ = piece.get_or_init(|| Box::new(Piece(make()))));
        all
    }

    /// The piece of the calling thread; `make` makes it the first time.
    pub fn mine(&self, make: impl FnOnce() -> T) -> &T {
        // The number of pieces is a power of two.
        let at = number_thread() & (self.0.len() - 1);
        &self.0[at].get_or_init(|| Box::new(Piece(make()))).0
    }

    /// The pieces that there are.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|piece| piece.get()).map(|piece| &piece.0)
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self((0..*N_PIECES).map(|_| OnceLock::new()).collect())
    }
}

impl<T: fmt::Debug> fmt::Debug for Shards<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A number that many add to.
#[derive(Debug, Default)]
pub struct Count(Shards<AtomicU64>);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.mine(AtomicU64::default).fetch_add(n, Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.iter().map(|piece| piece.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::{Count, N_PIECES, Shards};

    #[test]
    fn each_thread_has_its_piece_and_all_are_read() {
        let shards = Shards::default();
        let mine = shards.mine(|| 1);
        assert!(ptr::eq(mine, shards.mine(|| 2)), "it is made once");
        assert!(N_PIECES.is_power_of_two());
        assert_eq!(shards.iter().copied().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_count_is_what_all_threads_added() {
        let count = Count::default();
        std::thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| (0..100).for_each(|n| count.add(n)));
            }
        });
        assert_eq!(count.get(), 200 * 4950);
    }
}
