//! A captured call as a line of JSON: what SageMaker's data capture writes, for endpoints and for
//! transform jobs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::Format;

/// A call as it is kept.
#[derive(Debug)]
pub struct CapturedCall<'c> {
    pub input: Option<CapturedPayload<'c>>,
    pub output: Option<CapturedPayload<'c>>,
    pub answered_by: AnsweredBy,
    pub event_id: &'c str,
    pub inference_id: Option<&'c str>,
    pub custom_attributes: Option<&'c str>,
    /// `2022-02-14T17:25:49Z`.
    pub inference_time: &'c str,
}

/// One side of a call.
#[derive(Debug)]
pub struct CapturedPayload<'c> {
    pub content_type: Option<&'c str>,
    pub body: Cow<'c, [u8]>,
    /// CSV and JSON are kept as text, if they are text.
    pub format: Format,
}

/// The output is named after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    Endpoint,
    TransformJob,
}

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
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_transform_output: Option<Side<'l>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Side<'l> {
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_content_type: Option<&'l str>,
    mode: &'static str,
    data: Cow<'l, str>,
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
    inference_time: &'l str,
}

impl CapturedCall<'_> {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let output = self.output.as_ref().map(|payload| side("OUTPUT", payload));
        let (endpoint_output, batch_transform_output) = match self.answered_by {
            AnsweredBy::Endpoint => (output, None),
            AnsweredBy::TransformJob => (None, output),
        };
        let line = Line {
            capture_data: CaptureData {
                endpoint_input: self.input.as_ref().map(|payload| side("INPUT", payload)),
                endpoint_output,
                batch_transform_output,
            },
            event_metadata: EventMetadata {
                event_id: self.event_id,
                inference_id: self.inference_id,
                custom_attributes: self.custom_attributes.map(|one| [one]),
                inference_time: self.inference_time,
            },
            event_version: "0",
        };
        // Text is always written.
        let mut line = serde_json::to_vec(&line).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

fn side<'l>(mode: &'static str, payload: &'l CapturedPayload<'_>) -> Side<'l> {
    let text = std::str::from_utf8(&payload.body).ok().map(Cow::Borrowed);
    let (data, encoding) = match (payload.format, text) {
        (Format::Csv, Some(text)) => (text, "CSV"),
        (Format::Json, Some(text)) => (text, "JSON"),
        (Format::Opaque, _) | (_, None) => {
            (Cow::Owned(BASE64_STANDARD.encode(&payload.body)), "BASE64")
        }
    };
    Side { observed_content_type: payload.content_type, mode, data, encoding }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(content_type: &'static str, body: &'static [u8]) -> CapturedPayload<'static> {
        let format = Format::of(Some(content_type));
        CapturedPayload { content_type: Some(content_type), body: body.into(), format }
    }

    fn call() -> CapturedCall<'static> {
        CapturedCall {
            input: Some(payload("text/csv", b"1,2")),
            output: Some(payload("text/csv; charset=utf-8", b"0.7")),
            answered_by: AnsweredBy::Endpoint,
            event_id: "e-1",
            inference_id: Some("i-1"),
            custom_attributes: Some("tenant=7"),
            inference_time: "2022-02-14T17:25:49Z",
        }
    }

    #[test]
    fn a_line_to_the_byte() {
        let wanted = concat!(
            r#"{"captureData":{"endpointInput":{"observedContentType":"text/csv","mode":"INPUT","#,
            r#""data":"1,2","encoding":"CSV"},"endpointOutput":{"observedContentType":"#,
            r#""text/csv; charset=utf-8","mode":"OUTPUT","data":"0.7","encoding":"CSV"}},"#,
            r#""eventMetadata":{"eventId":"e-1","inferenceId":"i-1","#,
            r#""customAttributes":["tenant=7"],"inferenceTime":"2022-02-14T17:25:49Z"},"#,
            r#""eventVersion":"0"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(call().line()).unwrap(), wanted);
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let answered_by = AnsweredBy::TransformJob;
        let output = Some(payload("image/png", b"\xff"));
        let inference_id = None;
        let bare = CapturedCall { input: None, output, inference_id, answered_by, ..call() };
        let bare = CapturedCall { custom_attributes: None, ..bare };
        let wanted = concat!(
            r#"{"captureData":{"batchTransformOutput":{"observedContentType":"image/png","#,
            r#""mode":"OUTPUT","data":"/w==","encoding":"BASE64"}},"eventMetadata":"#,
            r#"{"eventId":"e-1","inferenceTime":"2022-02-14T17:25:49Z"},"eventVersion":"0"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bare.line()).unwrap(), wanted);
    }

    #[test]
    fn text_that_is_none_is_written_as_bytes() {
        for (content_type, body, wanted) in [
            ("text/csv", &b"1"[..], ("1", "CSV")),
            ("application/json", b"{}", ("{}", "JSON")),
            ("application/json", b"\xff", ("/w==", "BASE64")),
            ("text/plain", b"1", ("MQ==", "BASE64")),
        ] {
            let payload = payload(content_type, body);
            let Side { data, encoding, .. } = side("INPUT", &payload);
            assert_eq!((&*data, encoding), wanted, "{content_type}");
        }
    }
}
