//! The binary as a whole, and what holds for the workspace as a whole.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod connections;
mod layering;
mod server;
mod start;
