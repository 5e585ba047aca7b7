//! Tags of resources, found by their ARN.

pub(crate) mod api;
