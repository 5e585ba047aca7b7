//! What keeps records and the index of objects: in memory, and in SQLite.
//!
//! - [`MemoryStore`]: for tests; it is gone with the process.
//! - [`SqliteStore`]: one file; what was acknowledged survives `kill -9` and loss of power.
//! - [`Flaky`]: in front of another store, fails every n-th call.
//!
//! They all pass the suites in `contract` (feature `contract`).

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod decorate;
mod flaky;
mod listing;
mod memory;
mod rules;
mod sqlite;
#[cfg(test)]
mod tests;

pub use flaky::Flaky;
pub use memory::MemoryStore;
pub use sqlite::{OpenError, SqliteStore};
