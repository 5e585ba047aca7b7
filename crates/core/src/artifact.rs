//! A model's files, fetched from the object store and unpacked.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Brings a model's files onto this machine, once per version of the object, shared by all.
#[async_trait]
pub trait Artifacts: Send + Sync + 'static {
    /// Returns the unpacked files of `source`. They stay while the lease is held.
    async fn fetch(&self, source: &ModelData) -> Result<Arc<dyn ArtifactLease>, ArtifactError>;

    /// Names what `source` is now: another source or another version of any of its objects gives
    /// another name. Fit for a path. Cheap enough to be asked with each call.
    async fn version(&self, source: &ModelData) -> Result<String, ArtifactError>;
}

/// Holds unpacked files in place.
pub trait ArtifactLease: Send + Sync + 'static {
    /// The folder that a container sees as `/opt/ml/model`.
    fn dir(&self) -> PathBuf;

    /// How large the files are together.
    fn bytes(&self) -> u64;
}

/// Where a model's files are and how they are packed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelData {
    /// A `model.tar.gz` (`ModelDataUrl`, or `S3Object` with `Gzip`).
    Archive { uri: String },
    /// All objects below a prefix, as they are (`S3Prefix` with `None`).
    Prefix { uri: String },
    /// One object, as it is (`S3Object` with `None`).
    File { uri: String },
}

impl ModelData {
    #[must_use]
    pub fn uri(&self) -> &str {
        match self {
            Self::Archive { uri } | Self::Prefix { uri } | Self::File { uri } => uri,
        }
    }
}

/// Why a model's files are not to be had. Display is fit for a `FailureReason`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    #[error(
        "Could not find model data at {uri}. Upload the artifact and create the endpoint again."
    )]
    Missing { uri: String },
    #[error("The model data URL {uri} is not an S3 location of the form s3://bucket/key.")]
    BadUri { uri: String },
    /// The archive is broken or hostile; trying again does not help.
    #[error("Could not unpack model data from {uri}: {reason}.")]
    Refused { uri: String, reason: String },
    /// Trying again may help.
    #[error("Could not read model data from {uri}: {reason}.")]
    Unavailable { uri: String, reason: String },
}

impl ArtifactError {
    /// True if trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
