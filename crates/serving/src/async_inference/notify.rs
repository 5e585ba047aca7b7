//! The message about a result, as SageMaker words it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sagebrush_core::Timestamp;
use sagebrush_core::messages::Message;
use sagebrush_core::resource::Stored;
use serde::Serialize;

use super::call::{AsyncCall, CallResult, Done, Input};

/// SageMaker API: `IncludeInferenceResponseIn` is for responses of up to 128 KB.
pub(super) const LONGEST_RESPONSE: u64 = 128 << 10;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    aws_region: &'a str,
    event_time: String,
    received_time: String,
    invocation_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'a str>,
    request_parameters: RequestParameters<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_parameters: Option<ResponseParameters<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_body: Option<ResponseBody>,
    inference_id: &'a str,
    event_version: &'a str,
    event_source: &'a str,
    event_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    accept: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    endpoint_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_location: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    output_location: String,
}

#[derive(Serialize)]
struct ResponseBody {
    content: String,
    encoding: &'static str,
}

/// The message that tells of `done`. Its id is the call's own: a repeat is known as one.
pub(super) fn message(call: &Stored<AsyncCall>, done: &Done, response: Option<Vec<u8>>) -> Message {
    let spec = &call.spec;
    let (status, reason, response_parameters) = match &done.result {
        CallResult::Completed { content_type } => {
            let content_type = content_type.as_deref();
            let output_location = spec.output.0.to_string();
            ("Completed", None, Some(ResponseParameters { content_type, output_location }))
        }
        CallResult::Failed { reason } => ("Failed", Some(reason.as_str()), None),
        CallResult::Expired { reason } => ("Expired", Some(reason.as_str()), None),
    };
    let encoded =
        |bytes| ResponseBody { content: STANDARD.encode::<Vec<u8>>(bytes), encoding: "BASE64" };
    let notification = Notification {
        aws_region: call.region.as_str(),
        event_time: iso(done.at),
        received_time: iso(call.created_at),
        invocation_status: status,
        failure_reason: reason,
        request_parameters: RequestParameters {
            accept: spec.accept.as_deref(),
            content_type: spec.content_type.as_deref(),
            endpoint_name: spec.endpoint.as_str(),
            input_location: match &spec.input {
                Input::Object(at) => Some(at.0.to_string()),
                Input::Text(_) | Input::Base64(_) => None,
            },
        },
        response_parameters,
        response_body: response.map(encoded),
        inference_id: &spec.inference_id,
        event_version: "1.0",
        event_source: "aws:sagemaker",
        event_name: "InferenceResult",
    };
    Message {
        id: call.name.clone(),
        subject: None,
        // Strings and no maps: it cannot fail.
        body: serde_json::to_string(&notification).unwrap_or_default(),
        attributes: BTreeMap::new(),
    }
}

/// `2022-01-25T22:46:00.608Z`.
fn iso(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Region;
    use sagebrush_core::objects::ObjectRef;
    use sagebrush_core::resource::Stored;

    use super::super::call::{CallSpec, CallState, Location};
    use super::*;

    fn call(input: Input) -> Stored<AsyncCall> {
        let at = |uri: &str| Location(ObjectRef::parse(uri).unwrap());
        Stored {
            region: Region::new("us-east-1"),
            name: "row".to_owned(),
            version: 1,
            created_at: Timestamp(1_643_150_760_455),
            modified_at: Timestamp(1_643_150_760_455),
            spec: CallSpec {
                role_arn: None,
                endpoint: "e".parse().unwrap(),
                inference_id: "i".to_owned(),
                input,
                content_type: Some("text/csv".to_owned()),
                accept: None,
                custom_attributes: None,
                output: at("s3://b/out/i.out"),
                failure: at("s3://b/bad/i-error.out"),
                ttl_s: 60,
                timeout_s: 60,
                success: None,
                error: None,
                trace: None,
            },
            status: CallState::Waiting,
            tags: BTreeMap::new(),
        }
    }

    fn check(input: Input, result: CallResult, response: Option<&str>, want: &str) {
        let done = Done { at: Timestamp(1_643_150_760_600), result };
        let message = message(&call(input), &done, response.map(|text| text.as_bytes().to_vec()));
        assert_eq!(message.body, want);
        assert_eq!(message.id, "row");
    }

    #[test]
    fn in_sagemakers_words() {
        let object = Input::Object(Location(ObjectRef::parse("s3://b/in.csv").unwrap()));
        check(
            object,
            CallResult::Completed { content_type: Some("text/csv; charset=utf-8".to_owned()) },
            None,
            "{\"awsRegion\":\"us-east-1\",\"eventTime\":\"2022-01-25T22:46:00.600Z\",\
             \"receivedTime\":\"2022-01-25T22:46:00.455Z\",\"invocationStatus\":\"Completed\",\
             \"requestParameters\":{\"contentType\":\"text/csv\",\"endpointName\":\"e\",\
             \"inputLocation\":\"s3://b/in.csv\"},\"responseParameters\":{\"contentType\":\
             \"text/csv; charset=utf-8\",\"outputLocation\":\"s3://b/out/i.out\"},\
             \"inferenceId\":\"i\",\"eventVersion\":\"1.0\",\"eventSource\":\"aws:sagemaker\",\
             \"eventName\":\"InferenceResult\"}",
        );
        check(
            Input::Text("1,2".to_owned()),
            CallResult::Failed { reason: "no \"x\"".to_owned() },
            Some("ab"),
            "{\"awsRegion\":\"us-east-1\",\"eventTime\":\"2022-01-25T22:46:00.600Z\",\
             \"receivedTime\":\"2022-01-25T22:46:00.455Z\",\"invocationStatus\":\"Failed\",\
             \"failureReason\":\"no \\\"x\\\"\",\"requestParameters\":{\"contentType\":\"text/csv\",\
             \"endpointName\":\"e\"},\"responseBody\":{\"content\":\"YWI=\",\"encoding\":\
             \"BASE64\"},\"inferenceId\":\"i\",\"eventVersion\":\"1.0\",\
             \"eventSource\":\"aws:sagemaker\",\"eventName\":\"InferenceResult\"}",
        );
    }
}
