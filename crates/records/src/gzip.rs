//! `CompressionType: Gzip`.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// So much is inflated at once: a thousand times as much may come of it.
pub const STEP: usize = 4 << 10;

/// Inflates an object piece by piece; it may have several members.
pub struct Inflate(MultiGzDecoder<Vec<u8>>);

impl Default for Inflate {
    fn default() -> Self {
        Self(MultiGzDecoder::new(Vec::new()))
    }
}

impl Inflate {
    /// What comes of the next `piece`.
    ///
    /// # Errors
    /// When it is not gzip.
    pub fn inflate(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        self.0.write_all(piece)?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    /// What is left when the object is over.
    ///
    /// # Errors
    /// When its end is missing, or its checksum is another.
    pub fn end(&mut self) -> io::Result<Bytes> {
        self.0.try_finish()?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }
}
