//! Smithy's RPC protocol, version 2: CBOR in, CBOR out.
//!
//! As with the query protocol, bytes become the value that JSON would have carried, by the shape
//! of the operation: a blob becomes base64, a timestamp a number of seconds.

mod read;
#[cfg(test)]
mod tests;
mod write;

use http::HeaderName;

pub use read::read;
pub use write::{failure, success, write};

pub(crate) static SMITHY_PROTOCOL: HeaderName = HeaderName::from_static("smithy-protocol");
pub(crate) const RPC_V2_CBOR: &str = "rpc-v2-cbor";

/// Marks seconds since the epoch.
const TAG_OF_TIME: u64 = 1;
