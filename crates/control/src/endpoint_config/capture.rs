//! What an endpoint acts on of a `DataCaptureConfig`.

use sagebrush_aws::ApiError;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::objects::ObjectRef;
use sagebrush_wire::sagemaker as wire;

pub(super) fn capture(config: wire::DataCaptureConfig) -> Result<Box<CaptureConfig>, ApiError> {
    let has = |wanted: wire::CaptureMode| {
        config.capture_options.iter().any(|option| {
            option.capture_mode == wanted
                || option.capture_mode == wire::CaptureMode::InputAndOutput
        })
    };
    let (input, output) = (has(wire::CaptureMode::Input), has(wire::CaptureMode::Output));
    let types = config.capture_content_type_header.unwrap_or_default();
    Ok(Box::new(CaptureConfig {
        // SageMaker API: "defaults to enabled".
        is_enabled: config.enable_capture.unwrap_or(true),
        percentage: percentage(config.initial_sampling_percentage)?,
        destination: destination(config.destination_s3_uri)?,
        input,
        output,
        csv_types: types.csv_content_types.unwrap_or_default(),
        json_types: types.json_content_types.unwrap_or_default(),
        kms_key: config.kms_key_id,
    }))
}

fn percentage(given: i32) -> Result<u8, ApiError> {
    u8::try_from(given).ok().filter(|given| *given <= 100).ok_or_else(|| {
        ApiError::validation(format!(
            "InitialSamplingPercentage is {given}; it must be from 0 to 100."
        ))
    })
}

fn destination(uri: String) -> Result<String, ApiError> {
    if ObjectRef::parse(&format!("{uri}/")).is_some() {
        return Ok(uri);
    }
    Err(ApiError::validation(format!(
        "DestinationS3Uri {uri} must be an S3 URI: s3://bucket/prefix."
    )))
}

/// The configuration as its endpoint shows it; `is_serving` if calls are answered by it now.
pub(crate) fn shown(config: &CaptureConfig, is_serving: bool) -> wire::DataCaptureConfigSummary {
    let has_started = is_serving && config.captures();
    wire::DataCaptureConfigSummary {
        enable_capture: config.is_enabled,
        capture_status: if has_started {
            wire::CaptureStatus::Started
        } else {
            wire::CaptureStatus::Stopped
        },
        current_sampling_percentage: i32::from(config.percentage),
        destination_s3_uri: config.destination.clone(),
        kms_key_id: config.kms_key.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_wire::sagemaker as wire;

    use super::{capture, shown};

    fn config(uri: &str, modes: &[wire::CaptureMode]) -> wire::DataCaptureConfig {
        let option = |mode: &wire::CaptureMode| wire::CaptureOption { capture_mode: *mode };
        wire::DataCaptureConfig {
            initial_sampling_percentage: 50,
            destination_s3_uri: uri.to_owned(),
            capture_options: modes.iter().map(option).collect(),
            ..wire::DataCaptureConfig::default()
        }
    }

    #[test]
    fn what_an_endpoint_acts_on() {
        use wire::CaptureMode::{Input, InputAndOutput, Output};
        for (modes, input, output) in [
            (&[Input][..], true, false),
            (&[Output], false, true),
            (&[Input, Output], true, true),
            (&[InputAndOutput], true, true),
        ] {
            let made = capture(config("s3://b/p", modes)).unwrap();
            assert_eq!((made.input, made.output, made.percentage), (input, output, 50));
            assert!(made.is_enabled && made.captures());
        }
        for uri in ["s3://b", "s3://b/", "s3://b/p"] {
            assert_eq!(capture(config(uri, &[Input])).unwrap().destination, uri);
        }
        for uri in ["", "s3://", "https://b/p", "b/p"] {
            let refusal = capture(config(uri, &[Input])).unwrap_err();
            assert!(refusal.message.contains("DestinationS3Uri"), "{}", refusal.message);
        }
    }

    #[test]
    fn what_its_status_says() {
        let status = |enabled, percentage, is_serving| {
            let config = wire::DataCaptureConfig {
                enable_capture: enabled,
                initial_sampling_percentage: percentage,
                ..config("s3://b", &[wire::CaptureMode::Input])
            };
            shown(&capture(config).unwrap(), is_serving).capture_status
        };
        assert_eq!(status(None, 1, true), wire::CaptureStatus::Started);
        assert_eq!(status(Some(true), 1, false), wire::CaptureStatus::Stopped);
        assert_eq!(status(Some(false), 1, true), wire::CaptureStatus::Stopped);
        assert_eq!(status(Some(true), 0, true), wire::CaptureStatus::Stopped);
    }
}
