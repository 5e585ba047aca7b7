//! The shapes and operations of the AWS services that sagebrush serves.
//!
//! Everything below `generated/` is written by `cargo xtask codegen` from the service models
//! that ship with botocore, and never edited.

mod shape;
mod timestamp;

pub use shape::{Member, Operation, Service, Shape};
pub use timestamp::Timestamp;
