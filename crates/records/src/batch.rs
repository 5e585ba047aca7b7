//! `BatchStrategy` and `MaxPayloadInMB`: how many records go into one payload.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::gzip::{self, Inflate};
use crate::split::{Record, SplitType, Splitter};
use crate::{Processing, RecordError};

/// SageMaker API: `BatchStrategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// As many as fit.
    #[default]
    MultiRecord,
    SingleRecord,
}

/// How payloads are made of an object.
#[derive(Debug, Clone)]
pub struct Shape {
    pub gzip: bool,
    pub split: SplitType,
    pub strategy: Strategy,
    /// The longest payload, in bytes; no record may be longer.
    pub limit: usize,
    pub processing: Arc<Processing>,
}

/// Records that go to the model together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of its first record; the first of an object is 1.
    pub first: u64,
    pub n_records: u64,
    pub payload: Bytes,
    /// The records as they were before the filter, if they are joined to the answer.
    pub originals: Vec<Bytes>,
}

/// Takes the bytes of an object piece by piece, and gives payloads.
pub struct Batches {
    shape: Shape,
    inflate: Option<Inflate>,
    splitter: Splitter,
    /// What came and was not looked at.
    pending: Bytes,
    ended: bool,
    is_whole: bool,
    filling: Filling,
}

/// A payload that has room for more.
#[derive(Default)]
struct Filling {
    first: u64,
    n_records: u64,
    payload: BytesMut,
    originals: Vec<Bytes>,
}

impl Batches {
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            inflate: shape.gzip.then(Inflate::default),
            splitter: Splitter::new(shape.split, shape.limit),
            pending: Bytes::new(),
            ended: false,
            is_whole: false,
            filling: Filling::default(),
            shape,
        }
    }

    /// Takes the next piece of the object, once [`Self::next_batch`] gave `None`.
    pub fn push(&mut self, piece: Bytes) {
        if self.pending.is_empty() {
            self.pending = piece;
        } else {
            self.pending = [self.pending.as_ref(), piece.as_ref()].concat().into();
        }
    }

    /// Says that the object is over.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next payload. `None` if it takes more of the object; after its end, if that was all.
    ///
    /// # Errors
    /// When the object is not what it should be. Then there is no more to be had of it.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, RecordError> {
        loop {
            if let Some(record) = self.splitter.next_record()? {
                if let Some(batch) = self.add(&record)? {
                    return Ok(Some(batch));
                }
            } else if !self.pending.is_empty() {
                self.read_on()?;
            } else if self.ended && !self.is_whole {
                self.read_end()?;
            } else if self.is_whole {
                return Ok(std::mem::take(&mut self.filling).batch());
            } else {
                return Ok(None);
            }
        }
    }

    fn read_on(&mut self) -> Result<(), RecordError> {
        let Some(inflate) = &mut self.inflate else {
            self.splitter.push(&std::mem::take(&mut self.pending));
            return Ok(());
        };
        let piece = self.pending.split_to(gzip::STEP.min(self.pending.len()));
        let inflated = inflate.inflate(&piece).map_err(RecordError::Gzip)?;
        self.splitter.push(&inflated);
        Ok(())
    }

    fn read_end(&mut self) -> Result<(), RecordError> {
        self.is_whole = true;
        if let Some(inflate) = &mut self.inflate {
            let inflated = inflate.end().map_err(RecordError::Gzip)?;
            self.splitter.push(&inflated);
        }
        self.splitter.end();
        Ok(())
    }

    /// Adds a record; gives the payload that was full before it, or with it.
    fn add(&mut self, record: &Record) -> Result<Option<Batch>, RecordError> {
        let Shape { split, strategy, limit, ref processing, .. } = self.shape;
        let number = self.splitter.given();
        if split == SplitType::Line && processing.is_blank(&record.body) {
            return Ok(None);
        }
        let is_framed = strategy == Strategy::MultiRecord;
        let bytes = if is_framed { &record.framed } else { &record.body };
        let sent = processing.sent(bytes);
        let sent = sent.map_err(|reason| RecordError::Unfit { record: number, reason })?;
        if sent.len() > limit {
            return Err(RecordError::TooLong { record: number, limit });
        }
        let separator: &[u8] = if split == SplitType::Line { b"\n" } else { b"" };
        let length = self.filling.payload.len() + separator.len() + sent.len();
        let is_full = self.filling.n_records > 0 && length > limit;
        let full = is_full.then(|| std::mem::take(&mut self.filling)).and_then(Filling::batch);
        self.filling.add(number, &sent, separator);
        if processing.joins {
            self.filling.originals.push(record.body.clone());
        }
        match strategy {
            Strategy::MultiRecord => Ok(full),
            Strategy::SingleRecord => Ok(std::mem::take(&mut self.filling).batch()),
        }
    }
}

impl Filling {
    fn add(&mut self, number: u64, sent: &[u8], separator: &[u8]) {
        if self.n_records == 0 {
            self.first = number;
        } else {
            self.payload.extend_from_slice(separator);
        }
        self.n_records += 1;
        self.payload.extend_from_slice(sent);
    }

    fn batch(self) -> Option<Batch> {
        let Self { first, n_records, payload, originals } = self;
        let payload = payload.freeze();
        (n_records > 0).then_some(Batch { first, n_records, payload, originals })
    }
}

#[cfg(test)]
mod tests;
