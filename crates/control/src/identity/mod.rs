//! Who is calling, and what it may do: as far as the SDKs ask STS and IAM.
//!
//! There is one account. Every role that a client names exists, trusts SageMaker, and may do
//! everything: access is decided by the access key alone.

pub(crate) mod api;
