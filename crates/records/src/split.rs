//! `SplitType`: where a record ends and the next one begins.

mod recordio;
mod tfrecord;

#[cfg(test)]
mod tests;

use bytes::{Buf as _, Bytes, BytesMut};
use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::RecordError;

/// SageMaker API: `SplitType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplitType {
    /// The object is one record.
    #[default]
    None,
    Line,
    RecordIo,
    TfRecord,
}

/// A record of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its bytes, without what sets it apart from others.
    pub body: Bytes,
    /// The same with it, where others follow in one payload. A line has its newline between two.
    pub framed: Bytes,
}

/// Takes the bytes of an object piece by piece, and gives its records.
pub struct Splitter {
    split: SplitType,
    /// No record may be longer.
    limit: usize,
    /// What came and was not given yet.
    held: BytesMut,
    /// So much of it has no newline.
    searched: usize,
    /// How many records were given.
    given: u64,
    ended: bool,
}

/// A record that is whole, of so many bytes of what is held.
struct Found {
    /// `None`: what is held so far is not a whole record.
    record: Option<(usize, Bytes)>,
    /// At least so many bytes belong to it.
    at_least: usize,
}

impl Splitter {
    #[must_use]
    pub fn new(split: SplitType, limit: usize) -> Self {
        Self { split, limit, held: BytesMut::new(), searched: 0, given: 0, ended: false }
    }

    /// Takes the next piece of the object.
    pub fn push(&mut self, piece: &Bytes) {
        self.held.extend_from_slice(piece);
    }

    /// Says that the object is over.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// How many records were given.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// The next record; `None` if there is no whole one now.
    ///
    /// # Errors
    /// When the object breaks the rules of its format.
    pub fn next_record(&mut self) -> Result<Option<Record>, RecordError> {
        let record = match self.split {
            SplitType::None => self.whole()?,
            SplitType::Line => self.line()?,
            SplitType::RecordIo => self.framed(recordio::FORMAT, recordio::find)?,
            SplitType::TfRecord => self.framed(tfrecord::FORMAT, tfrecord::find)?,
        };
        self.given += u64::from(record.is_some());
        Ok(record)
    }

    fn whole(&mut self) -> Result<Option<Record>, RecordError> {
        self.check(self.held.len())?;
        if !self.ended || self.held.is_empty() {
            return Ok(None);
        }
        let body = self.held.split().freeze();
        Ok(Some(Record { framed: body.clone(), body }))
    }

    fn line(&mut self) -> Result<Option<Record>, RecordError> {
        let newline = memchr(b'\n', self.held.get(self.searched..).unwrap_or_default());
        let Some(length) = newline.map(|at| self.searched + at) else {
            self.searched = self.held.len();
            self.check(self.searched)?;
            return if self.ended { self.whole() } else { Ok(None) };
        };
        self.check(length)?;
        self.searched = 0;
        let body = self.held.split_to(length).freeze();
        self.held.advance(1);
        Ok(Some(Record { framed: body.clone(), body }))
    }

    fn framed(
        &mut self,
        format: &'static str,
        find: fn(&[u8]) -> Result<Found, &'static str>,
    ) -> Result<Option<Record>, RecordError> {
        let record = self.given + 1;
        let found = find(&self.held);
        let found = found.map_err(|reason| RecordError::Broken { record, format, reason })?;
        let Some((length, body)) = found.record else {
            self.check(found.at_least)?;
            if self.ended && !self.held.is_empty() {
                return Err(RecordError::CutOff { record, format });
            }
            return Ok(None);
        };
        self.check(body.len())?;
        Ok(Some(Record { body, framed: self.held.split_to(length).freeze() }))
    }

    fn check(&self, length: usize) -> Result<(), RecordError> {
        if length > self.limit {
            return Err(RecordError::TooLong { record: self.given + 1, limit: self.limit });
        }
        Ok(())
    }
}

/// The next four bytes as a number.
fn u32_at(held: &[u8], at: usize) -> Option<u32> {
    let bytes = held.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}
