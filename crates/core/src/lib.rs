//! The words that two crates say, and the seams between them. No IO.
//!
//! - [`store`], [`resource`]: what is known about the world, as versioned rows.
//! - [`objects`]: bytes in buckets, and the index over them.
//! - [`artifact`]: a model's files, unpacked.
//! - [`worker`], [`fleet`]: what answers calls, how one is launched, and where; [`per_model`] for
//!   runtimes whose models share nothing.
//! - [`instance`]: a worker with its queue, its batches and its breaker; [`route`]: what the data
//!   plane reads.
//! - [`demand`]: the calls of a variant that scales with them; [`sample`]: one that was answered
//!   well; [`messages`]: what topics get.
//! - [`capture`]: what an endpoint keeps of its calls; [`access`]: who may do what.
//! - [`cloudwatch`], [`sketch`], [`alarms`], [`events`]: what is measured, watched and told;
//!   [`varint`] for files of it.
//! - [`shards`]: what many threads write without waiting for each other.
//! - [`clock`], [`task`], [`logs`], [`trace`], [`audit`]: time, tasks, log lines, the traces of
//!   calls and who did what; [`glob`] for patterns with stars, [`network`] for addresses.

pub mod access;
pub mod alarms;
pub mod arn;
pub mod artifact;
pub mod audit;
pub mod capture;
pub mod clock;
pub mod cloudwatch;
pub mod demand;
pub mod events;
pub mod fleet;
pub mod glob;
pub mod instance;
pub mod logs;
pub mod messages;
pub mod metrics;
pub mod names;
pub mod network;
pub mod objects;
pub mod per_model;
pub mod resource;
pub mod route;
pub mod sample;
pub mod shards;
pub mod sketch;
pub mod store;
pub mod task;
pub mod trace;
pub mod varint;
pub mod worker;

pub use arn::{AccountId, Arn, Region};
pub use clock::{Clock, SystemClock, Timestamp};
pub use names::{InvalidName, ResourceName};
