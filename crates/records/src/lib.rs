//! Records of batch transform: objects are split into them, payloads made of them, and outputs
//! put together; and calls as data capture keeps them. No IO, and nothing here holds more than a payload and a piece of an object.
//!
//! - [`Batches`] goes from the bytes of an object to payloads: [`gzip`], [`split`], the input
//!   filter and [`batch`].
//! - [`Processing`] goes from replies to the bytes of the output: filters and joins
//!   (`DataProcessing`), and how records are set apart (`AssembleWith`).
//! - [`Path`] is the subset of `JSONPath` that filters may use; [`csv`] and [`json`] are its values.

pub mod batch;
mod captured;
pub mod csv;
pub mod gzip;
pub mod json;
mod path;
mod processing;
mod select;
pub mod split;

pub use batch::{Batch, Batches, Shape, Strategy};
pub use captured::{AnsweredBy, CapturedCall, CapturedPayload};
pub use path::{InvalidPath, Path};
pub use processing::{Assemble, Format, Processing};
pub use split::SplitType;

/// Why an object cannot be transformed. Records count from 1.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("record {record} is longer than the allowed {limit} bytes (MaxPayloadInMB)")]
    TooLong { record: u64, limit: usize },
    #[error("record {record} is no {format} record: {reason}")]
    Broken { record: u64, format: &'static str, reason: &'static str },
    #[error("the object ends within {format} record {record}")]
    CutOff { record: u64, format: &'static str },
    #[error("the object is not readable as gzip: {0}")]
    Gzip(#[source] std::io::Error),
    #[error("record {record}: {reason}")]
    Unfit { record: u64, reason: Unfit },
}

/// Why a filter or a join could not be carried out on a record or on the reply to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it has no member {0:?}")]
    NoMember(String),
    #[error("it has no element {index}, for there are {len}")]
    NoElement { index: i64, len: usize },
    #[error("{0:?} cannot be taken of a {1}")]
    WrongKind(String, &'static str),
    #[error("the model answered {replies} records for {records}")]
    OtherCount { records: usize, replies: usize },
    #[error("the model answered in {0:?}, which filters and joins do not read")]
    OtherFormat(String),
    #[error("the reply: {0}")]
    Reply(Box<Self>),
}
