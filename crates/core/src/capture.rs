//! What an endpoint keeps of its calls. SageMaker API: `DataCaptureConfig`.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureConfig {
    /// `EnableCapture`.
    pub is_enabled: bool,
    /// `InitialSamplingPercentage`, 0 to 100.
    pub percentage: u8,
    /// `DestinationS3Uri`: a bucket, or a prefix in it.
    pub destination: String,
    /// `CaptureOptions` name `Input` or `InputAndOutput`.
    pub input: bool,
    /// `CaptureOptions` name `Output` or `InputAndOutput`.
    pub output: bool,
    /// `CsvContentTypes`: payloads of these are kept as text.
    pub csv_types: Vec<String>,
    /// `JsonContentTypes`: payloads of these are kept as text.
    pub json_types: Vec<String>,
    /// `KmsKeyId`, which is shown and not used.
    #[serde(default)]
    pub kms_key: Option<String>,
}

impl CaptureConfig {
    /// Whether any call is kept.
    #[must_use]
    pub fn captures(&self) -> bool {
        self.is_enabled && self.percentage > 0 && (self.input || self.output)
    }
}
