//! A moment on the wire.

use serde::{Deserialize, Serialize};

/// Seconds since the epoch, with milliseconds after the point, as AWS JSON writes it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub f64);
