//! The query protocol of STS, IAM and SNS: forms in, XML out.

mod form;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use form::{Form, TooManyFields};
pub use read::read;
pub(crate) use write::code;
pub use write::{failure, success, write};
