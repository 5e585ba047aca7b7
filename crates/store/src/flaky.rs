//! A store that fails now and then.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use sagebrush_core::objects::{
    Attributes, Bucket, Condition, IndexError, ListQuery, Listing, ObjectIndex, ObjectVersion,
    Part, Upload,
};
use sagebrush_core::store::{MetaStore, Page, Query, Record, RecordId, StoreError};

use crate::decorate::decorate;

/// Fails every n-th call with `StoreError::Io`, before the store behind it hears of it.
#[derive(Debug)]
pub struct Flaky<S> {
    inner: S,
    every: usize,
    calls: AtomicUsize,
}

impl<S> Flaky<S> {
    /// Lets `every - 1` calls through and fails the next; 1 fails them all, 0 none.
    pub fn new(inner: S, every: usize) -> Self {
        Self { inner, every, calls: AtomicUsize::new(0) }
    }

    fn trip(&self) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.every > 0 && call.is_multiple_of(self.every) {
            return Err(StoreError::Io(io::Error::other("this call was to fail")));
        }
        Ok(())
    }
}

macro_rules! unless_it_trips {
    ($store:expr, $call:expr) => {{
        $store.trip()?;
        $call.await
    }};
}

decorate!(Flaky, unless_it_trips);
