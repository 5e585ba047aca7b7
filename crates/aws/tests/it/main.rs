//! The door as a client sees it, with services made up of the real tables.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail loudly")]

mod botocore;
mod door;
mod patterns;
