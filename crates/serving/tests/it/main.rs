//! What a call costs, as seen from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

mod allocations;
