//! A body that its client has packed, as SDKs do with long inputs of `PutMetricData`.

use std::io::Read as _;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::{BodyError, BodyMemory, ReadBody};

/// The longest body once it is unpacked: a thousand metrics with 150 values each have room in it.
const MAX_UNPACKED: usize = 4 << 20;

const STEP: usize = 64 << 10;

impl ReadBody {
    /// The body without its `Content-Encoding`. What is unpacked takes room of `memory` as what was
    /// sent does.
    pub(crate) fn unpacked(
        &mut self,
        headers: &HeaderMap,
        memory: &BodyMemory,
    ) -> Result<Bytes, BodyError> {
        if headers.get(CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
            return Ok(self.bytes.clone());
        }
        let mut packed = GzDecoder::new(&*self.bytes);
        let mut unpacked = Vec::new();
        loop {
            let n_before = unpacked.len();
            self.held.grow_to(self.bytes.len() + n_before + STEP, memory)?;
            let step = u64::try_from(STEP).unwrap_or(u64::MAX);
            let read = packed.by_ref().take(step).read_to_end(&mut unpacked);
            let n_read = read.map_err(BodyError::NotGzip)?;
            if unpacked.len() > MAX_UNPACKED {
                return Err(BodyError::TooLarge { limit: MAX_UNPACKED });
            }
            if n_read == 0 {
                return Ok(unpacked.into());
            }
        }
    }
}
