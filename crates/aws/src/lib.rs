//! The AWS protocols: who signed a call, which operation it names, is it well formed, and how is
//! it answered.
//!
//! The way of a call, outside in:
//! 1. [`demux::route`] tells from the head of a request which door it is for;
//! 2. [`door::Door`] reads the body, has [`sigv4::Verifier`] check the signature, and dispatches;
//! 3. [`json`], [`query`] and [`cbor`] turn bytes into a value and an answer into bytes;
//! 4. [`validate`] holds the value against the shape of the operation;
//! 5. [`dispatch::Dispatch`] calls the handler.
//!
//! [`audit`] tells who called what. [`page_token`] makes and reads the `NextToken` of lists.

mod answer;
mod audit;
mod body;
pub mod cbor;
mod context;
pub mod demux;
pub mod dispatch;
pub mod door;
mod error;
pub mod guard;
pub mod json;
pub mod page_token;
pub mod query;
pub mod sigv4;
pub mod validate;

pub use body::{BodyError, BodyMemory, Held, ReadBody, Terms, read_body};
pub use context::{Context, Peer, Presence, request_id};
pub use demux::{InvokeKind, Target, route};
pub use dispatch::{Api, Dispatch};
pub use door::Door;
pub use error::ApiError;
