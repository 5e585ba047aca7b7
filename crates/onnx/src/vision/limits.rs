//! What a picture may cost. All bounds stand here.

/// The largest body: over four times the 6 MiB that SageMaker takes for a call.
pub const MAX_BYTES: usize = 25 << 20;

/// The most pixels, as the header claims them, before anything is decoded.
pub const MAX_PIXELS: u64 = 8192 * 8192;

/// The longest side, which is JPEG's own limit. Rows are buffered whole.
pub const MAX_SIDE: u32 = 65_535;

/// The most memory that decoding may take, the decoded picture included.
pub const MAX_ALLOCATION: u64 = 512 << 20;

/// How much memory a thread keeps for its next picture: enough for one of 1920 x 1080.
pub(super) const MAX_KEPT: usize = 8 << 20;
