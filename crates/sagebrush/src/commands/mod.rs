//! The commands that talk to a server, one file each.

pub(crate) mod alarms;
pub(crate) mod delete;
pub(crate) mod deploy;
pub(crate) mod describe;
pub(crate) mod endpoints;
pub(crate) mod env;
pub(crate) mod invoke;
pub(crate) mod logs;
mod output;
mod package;
pub(crate) mod setup;

use crate::failure::Failure;

/// Runs a command on a small runtime of its own.
pub(crate) fn block_on<F: Future<Output = Result<(), Failure>>>(command: F) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
