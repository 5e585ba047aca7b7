//! The data plane: one call from the door to its reply.
//!
//! The way of a call, in order:
//!
//! 1. [`door`]: HTTP. The path names the endpoint; the body is read under its limit; the signature is
//!    checked.
//! 2. [`headers`]: the API's headers, parsed and checked.
//! 3. [`invoke`]: route, variant, instance, reply. One function tells the whole way. [`sessions`]
//!    knows the instance of a call that is part of one; [`again`] says which calls are tried again.
//! 4. `sagebrush_core::instance`: the queue of one worker; batches form there.
//! 5. `sagebrush_core::worker::Worker`: the seam to the engine.
//! 6. [`reply`]: the reply, or the error as AWS words it, with its headers.
//! 7. [`meter`]: counts and times, after the reply; never waits.
//!
//! [`beside`] tells [`capture`] and [`shadow`] of calls once their replies are certain.
//!
//! A call whose reply comes in parts goes the same way, by [`stream`] and [`eventstream`]. One of an
//! asynchronous endpoint leaves it after 1. for [`async_inference`], and comes back to 3. when it
//! has its turn.
//!
//! Serving reads one `RouteTable`, and a call that is answered at once never asks the store: it
//! goes on when control is down.

mod access;
pub mod again;
pub mod async_inference;
pub mod beside;
pub mod capture;
pub mod choose;
pub mod door;
pub mod error;
pub mod eventstream;
mod explain;
pub mod headers;
pub mod invoke;
pub mod meter;
pub mod reply;
mod room;
mod server_timing;
pub mod sessions;
pub mod shadow;
pub mod stream;
mod trace;

#[cfg(test)]
mod tests;

pub use again::Retries;
pub use async_inference::AsyncInference;
pub use beside::Beside;
pub use capture::Capture;
pub use door::{Door, Settings};
pub use meter::Meters;
pub use sessions::Sessions;
pub use shadow::Shadows;
