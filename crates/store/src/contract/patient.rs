//! A store that tries again.

use async_trait::async_trait;
use sagebrush_core::objects::{
    Attributes, Bucket, Condition, IndexError, ListQuery, Listing, ObjectIndex, ObjectVersion,
    Part, Upload,
};
use sagebrush_core::store::{MetaStore, Page, Query, Record, RecordId, StoreError};

use crate::decorate::decorate;

/// Repeats what failed with `StoreError::Io`.
///
/// In front of a `Flaky` store it keeps the contract only if a call that failed changed nothing.
#[derive(Debug)]
pub struct Patient<S> {
    pub inner: S,
}

trait Passing {
    fn may_pass(&self) -> bool;
}

impl Passing for StoreError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::Other)
    }
}

impl Passing for IndexError {
    fn may_pass(&self) -> bool {
        matches!(self, Self::Store(error) if error.may_pass())
    }
}

macro_rules! until_it_passes {
    ($store:expr, $call:expr) => {
        loop {
            match $call.await {
                Err(error) if error.may_pass() => {}
                outcome => break outcome,
            }
        }
    };
}

decorate!(Patient, until_it_passes);
