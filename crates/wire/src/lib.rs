//! The shapes and operations of the AWS services that sagebrush serves.
//!
//! Everything below `generated/` is written by `cargo xtask codegen` from the service models
//! that ship with botocore, and never edited. There is a module a service: `sagemaker`, `sts`, ..

mod empty;
#[expect(clippy::enum_variant_names, reason = "the models chose the names")]
mod generated;
mod shape;
#[cfg(test)]
mod tests;
mod timestamp;

pub use empty::Empty;
pub use generated::*;
pub use shape::{Member, Operation, Service, Shape};
pub use timestamp::Timestamp;
