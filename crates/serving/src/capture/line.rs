//! A captured call as a line of JSON, and where the line goes. Pure.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use sagebrush_core::Timestamp;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::objects::ObjectRef;
use sagebrush_records::{AnsweredBy, CapturedCall, CapturedPayload, Format};

use super::{Body, Captured, Place};

/// The line of a call, with its end.
pub(super) fn line(captured: &Captured, event_id: &str) -> Vec<u8> {
    let payload = |body| payload(&captured.config, body);
    let call = CapturedCall {
        input: captured.input.as_ref().map(payload),
        output: captured.output.as_ref().map(payload),
        answered_by: AnsweredBy::Endpoint,
        event_id,
        inference_id: captured.inference_id.as_deref(),
        custom_attributes: captured.custom_attributes.as_deref(),
        inference_time: &formatted(captured.at, "%Y-%m-%dT%H:%M:%SZ"),
    };
    call.line()
}

fn payload<'l>(config: &CaptureConfig, body: &'l Body) -> CapturedPayload<'l> {
    let content_type = body.content_type.as_deref();
    let format = match content_type {
        Some(given) if is_among(given, &config.csv_types) => Format::Csv,
        Some(given) if is_among(given, &config.json_types) => Format::Json,
        Some(_) | None => Format::Opaque,
    };
    let body = match body.parts.as_slice() {
        [one] => Cow::Borrowed(&one[..]),
        several => Cow::Owned(several.concat()),
    };
    CapturedPayload { content_type, body, format }
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
