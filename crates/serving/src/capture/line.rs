//! A captured call as a line of JSON, and where the line goes. Pure.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::tz::TimeZone;
use sagebrush_core::Timestamp;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::objects::ObjectRef;
use serde::Serialize;

use super::{Body, Captured, Place};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'l> {
    capture_data: CaptureData<'l>,
    event_metadata: EventMetadata<'l>,
    event_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaptureData<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_input: Option<Side<'l>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_output: Option<Side<'l>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_content_type: Option<&'l str>,
    mode: &'static str,
    data: String,
    encoding: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata<'l> {
    event_id: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_id: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_attributes: Option<[&'l str; 1]>,
    inference_time: String,
}

/// The line of a call, with its end.
pub(super) fn line(captured: &Captured, event_id: &str) -> Vec<u8> {
    let config = &captured.config;
    let line = Line {
        capture_data: CaptureData {
            endpoint_input: captured.input.as_ref().map(|body| side(config, "INPUT", body)),
            endpoint_output: captured.output.as_ref().map(|body| side(config, "OUTPUT", body)),
        },
        event_metadata: EventMetadata {
            event_id,
            inference_id: captured.inference_id.as_deref(),
            custom_attributes: captured.custom_attributes.as_deref().map(|one| [one]),
            inference_time: formatted(captured.at, "%Y-%m-%dT%H:%M:%SZ"),
        },
        event_version: "0",
    };
    // Text is always written.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

fn side<'l>(config: &CaptureConfig, mode: &'static str, body: &'l Body) -> Side<'l> {
    let content_type = body.content_type.as_deref();
    let bytes: Cow<'_, [u8]> = match body.parts.as_slice() {
        [one] => Cow::Borrowed(one),
        several => Cow::Owned(several.concat()),
    };
    let text_as = match content_type {
        Some(given) if is_among(given, &config.csv_types) => Some("CSV"),
        Some(given) if is_among(given, &config.json_types) => Some("JSON"),
        Some(_) | None => None,
    };
    let text = text_as.and_then(|encoding| Some((std::str::from_utf8(&bytes).ok()?, encoding)));
    let (data, encoding) = match text {
        Some((text, encoding)) => (text.to_owned(), encoding),
        None => (BASE64_STANDARD.encode(&bytes), "BASE64"),
    };
    Side { observed_content_type: content_type, mode, data, encoding }
}

/// Whether a payload's content type is one of `types`; its parameters do not count.
fn is_among(given: &str, types: &[String]) -> bool {
    let essence = given.split(';').next().unwrap_or_default().trim();
    types.iter().any(|one| one.eq_ignore_ascii_case(given) || one.eq_ignore_ascii_case(essence))
}

/// The object for lines whose first call was answered at `first_at`.
pub(super) fn object(
    destination: &str,
    place: &Place,
    first_at: Timestamp,
    id: &str,
) -> Option<ObjectRef> {
    let folder = ObjectRef::parse(&format!("{}/", destination.trim_end_matches('/')))?;
    let Place { endpoint, variant, .. } = place;
    let hour = formatted(first_at, "%Y/%m/%d/%H");
    let minute = formatted(first_at, "%M-%S");
    let millis = first_at.0.rem_euclid(1000);
    let key = format!("{}{endpoint}/{variant}/{hour}/{minute}-{millis:03}-{id}.jsonl", folder.key);
    Some(ObjectRef { bucket: folder.bucket, key })
}

fn formatted(at: Timestamp, format: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;

    use super::super::tests::{captured, config, place};
    use super::{Body, line, object};

    /// 2022-02-14T17:25:49.037Z.
    const AT: Timestamp = Timestamp(1_644_859_549_037);

    fn body(content_type: Option<&str>, parts: &[&'static [u8]]) -> Option<Body> {
        let parts = parts.iter().map(|part| (*part).into()).collect();
        Some(Body { content_type: content_type.map(str::to_owned), parts })
    }

    #[test]
    fn a_line_to_the_byte() {
        let mut captured = captured(AT);
        captured.input = body(Some("text/csv"), &[b"1,2"]);
        captured.output = body(Some("text/csv; charset=utf-8"), &[b"0.", b"7"]);
        captured.inference_id = Some("i-1".to_owned());
        captured.custom_attributes = Some("tenant=7".to_owned());
        let wanted = concat!(
            r#"{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","#,
            r#""data":"1,2","encoding":"CSV"},"endpointOutput":{"observedContentType":"#,
            r#""text/csv; charset=utf-8","mode":"OUTPUT","data":"0.7","encoding":"CSV"}},"#,
            r#""eventMetadata":{"eventId":"e-1","inferenceId":"i-1","#,
            r#""customAttributes":["tenant=7"],"inferenceTime":"2022-02-14T17:25:49Z"},"#,
            r#""eventVersion":"0"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line(&captured, "e-1")).unwrap(), wanted);
        captured.output = None;
        captured.inference_id = None;
        captured.custom_attributes = None;
        let wanted = concat!(
            r#"{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","#,
            r#""data":"1,2","encoding":"CSV"}},"eventMetadata":{"eventId":"e-1","#,
            r#""inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line(&captured, "e-1")).unwrap(), wanted);
    }

    #[test]
    fn the_content_type_says_how_a_payload_is_written() {
        for (content_type, bytes, wanted) in [
            (Some("text/csv"), &b"1"[..], ("1", "CSV")),
            (Some("TEXT/CSV ;header=present"), b"1", ("1", "CSV")),
            (Some("application/json"), b"{}", ("{}", "JSON")),
            (Some("application/jsonlines"), b"{}", ("e30=", "BASE64")),
            (Some("text/csv"), b"\xff", ("/w==", "BASE64")),
            (None, b"1", ("MQ==", "BASE64")),
        ] {
            let mut captured = captured(AT);
            captured.input = body(content_type, &[bytes]);
            let line: serde_json::Value = serde_json::from_slice(&line(&captured, "e")).unwrap();
            let input = &line["captureData"]["endpointInput"];
            assert_eq!((input["data"].as_str(), input["encoding"].as_str()), {
                (Some(wanted.0), Some(wanted.1))
            });
        }
        assert!(config().captures());
    }

    #[test]
    fn objects_by_the_hour() {
        for (destination, prefix) in
            [("s3://b", ""), ("s3://b/", ""), ("s3://b/p/q", "p/q/"), ("s3://b/p/", "p/")]
        {
            let at = object(destination, &place(), AT, "u").unwrap();
            let wanted = format!("s3://b/{prefix}e/v/2022/02/14/17/25-49-037-u.jsonl");
            assert_eq!(at.to_string(), wanted);
        }
    }
}
