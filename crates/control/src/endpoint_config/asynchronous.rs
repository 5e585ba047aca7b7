//! What an endpoint acts on of an `AsyncInferenceConfig`.

use sagebrush_aws::ApiError;
use sagebrush_core::Arn;
use sagebrush_core::objects::ObjectRef;
use sagebrush_core::route::AsyncConfig;
use sagebrush_wire::sagemaker as wire;

pub(super) fn asynchronous(
    config: wire::AsyncInferenceConfig,
) -> Result<Box<AsyncConfig>, ApiError> {
    let output = config.output_config;
    let Some(output_path) = output.s3_output_path else {
        return Err(ApiError::validation(
            "AsyncInferenceConfig has no S3OutputPath: say where outputs are to be stored.",
        ));
    };
    let notification = output.notification_config.unwrap_or_default();
    let included = notification.include_inference_response_in.unwrap_or_default();
    let clients = config.client_config.unwrap_or_default();
    let most = clients.max_concurrent_invocations_per_instance;
    Ok(Box::new(AsyncConfig {
        output_path: folder("S3OutputPath", output_path)?,
        failure_path: output
            .s3_failure_path
            .map(|path| folder("S3FailurePath", path))
            .transpose()?,
        max_concurrent_per_instance: most.and_then(|most| u32::try_from(most).ok()),
        success_topic: notification
            .success_topic
            .map(|arn| topic("SuccessTopic", arn))
            .transpose()?,
        error_topic: notification.error_topic.map(|arn| topic("ErrorTopic", arn)).transpose()?,
        success_has_response: included
            .contains(&wire::AsyncNotificationTopicTypes::SuccessNotificationTopic),
        error_has_response: included
            .contains(&wire::AsyncNotificationTopicTypes::ErrorNotificationTopic),
        role_arn: None,
    }))
}

/// The configuration as its endpoint shows it, whose own may have been deleted.
pub(crate) fn shown(config: &AsyncConfig) -> wire::AsyncInferenceConfig {
    let most = config.max_concurrent_per_instance.and_then(|most| i32::try_from(most).ok());
    let included: Vec<_> = [
        (config.success_has_response, wire::AsyncNotificationTopicTypes::SuccessNotificationTopic),
        (config.error_has_response, wire::AsyncNotificationTopicTypes::ErrorNotificationTopic),
    ]
    .into_iter()
    .filter_map(|(is_included, topic)| is_included.then_some(topic))
    .collect();
    let has_topic = config.success_topic.is_some() || config.error_topic.is_some();
    let notification = || wire::AsyncInferenceNotificationConfig {
        success_topic: config.success_topic.clone(),
        error_topic: config.error_topic.clone(),
        include_inference_response_in: (!included.is_empty()).then(|| included.clone()),
    };
    wire::AsyncInferenceConfig {
        client_config: most.map(|most| wire::AsyncInferenceClientConfig {
            max_concurrent_invocations_per_instance: Some(most),
        }),
        output_config: wire::AsyncInferenceOutputConfig {
            s3_output_path: Some(config.output_path.clone()),
            s3_failure_path: config.failure_path.clone(),
            notification_config: has_topic.then(notification),
            ..wire::AsyncInferenceOutputConfig::default()
        },
    }
}

/// A bucket, or what is below a prefix of its.
fn folder(member: &str, path: String) -> Result<String, ApiError> {
    let bucket = path.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
    match bucket {
        Some(bucket) if !bucket.is_empty() && ObjectRef::parse(&format!("{path}/")).is_some() => {
            Ok(path)
        }
        Some(_) | None => Err(ApiError::validation(format!(
            "{member} {path} must be an S3 URI: s3://bucket/prefix."
        ))),
    }
}

fn topic(member: &str, arn: String) -> Result<String, ApiError> {
    let parsed = arn.parse::<Arn>().ok().filter(|arn| arn.service == "sns");
    match parsed {
        Some(_) => Ok(arn),
        None => Err(ApiError::validation(format!("{member} {arn} must be the ARN of a topic."))),
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_wire::sagemaker as wire;

    use super::{asynchronous, shown};

    fn config(path: Option<&str>, topic: Option<&str>) -> wire::AsyncInferenceConfig {
        let notification = wire::AsyncInferenceNotificationConfig {
            error_topic: topic.map(str::to_owned),
            include_inference_response_in: Some(vec![
                wire::AsyncNotificationTopicTypes::ErrorNotificationTopic,
            ]),
            ..wire::AsyncInferenceNotificationConfig::default()
        };
        wire::AsyncInferenceConfig {
            client_config: None,
            output_config: wire::AsyncInferenceOutputConfig {
                s3_output_path: path.map(str::to_owned),
                notification_config: Some(notification),
                ..wire::AsyncInferenceOutputConfig::default()
            },
        }
    }

    #[test]
    fn what_an_endpoint_acts_on() {
        for path in ["s3://b", "s3://b/", "s3://b/p/q"] {
            let made = asynchronous(config(Some(path), None)).unwrap();
            assert_eq!((made.output_path.as_str(), made.failure_path), (path, None));
            assert!(made.error_has_response && !made.success_has_response);
        }
        for path in [None, Some(""), Some("s3://"), Some("https://b/p"), Some("b/p")] {
            assert!(asynchronous(config(path, None)).is_err(), "{path:?}");
        }
        let arn = "arn:aws:sns:us-east-1:123456789012:t";
        let made = asynchronous(config(Some("s3://b"), Some(arn))).unwrap();
        assert_eq!(made.error_topic.as_deref(), Some(arn));
        assert_eq!(shown(&made), config(Some("s3://b"), Some(arn)));
        let arn = "arn:aws:sqs:us-east-1:123456789012:q";
        assert!(asynchronous(config(Some("s3://b"), Some(arn))).is_err());
    }
}
