//! Objects in buckets: blobs in files, a back end over them, and the S3 front door.
//!
//! - [`Blobs`]: files that are there whole or not at all.
//! - [`Objects`]: blobs and the index together; what the rest of sagebrush reads and writes.
//! - [`S3Door`]: the S3 protocol over [`Objects`], by the `s3s` library.
//!
//! A write goes: stream to `tmp/`, sync, rename, sync the directory, commit the row, answer. A
//! crash in between leaves a file that no row refers to, and [`Objects::sweep`] removes it. A file
//! goes away only after its row has, so a row never points at nothing.

pub mod backend;
pub mod blobs;
pub mod digest;
pub mod door;
pub mod front;
mod news;

pub use backend::Objects;
pub use blobs::Blobs;
pub use door::{DoorConfig, GrantOf, S3Door};
