//! `DataCaptureConfig`: payloads and answers as they were, a line of JSON each, in an object for each
//! input.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::tz::TimeZone;
use sagebrush_core::Timestamp;
use sagebrush_core::objects::ObjectRef;
use sagebrush_core::worker::Payload;
use sagebrush_records::{AnsweredBy, CapturedCall, CapturedPayload, Format};
use uuid::Uuid;

use super::Capture;
use super::inputs::{InputError, output_path};

/// Where a job captures.
pub(super) struct Capturing {
    /// With the job and the hour in which it was created, so that what is done again is written to
    /// the same place.
    folder: ObjectRef,
    has_inference_id: bool,
}

impl Capturing {
    pub(super) fn new(
        capture: &Capture,
        job: &str,
        created_at: Timestamp,
    ) -> Result<Self, InputError> {
        let mut folder = output_path(&capture.destination)?;
        let hour = formatted(created_at, "%Y/%m/%d/%H");
        folder.key.push_str(&format!("{job}/{hour}/"));
        Ok(Self { folder, has_inference_id: capture.has_inference_id })
    }

    /// Where what is captured of the input `relative` goes.
    pub(super) fn at(&self, relative: &str) -> ObjectRef {
        let ObjectRef { bucket, key } = &self.folder;
        ObjectRef { bucket: bucket.clone(), key: format!("{key}{relative}.jsonl") }
    }

    pub(super) fn line(&self, now: Timestamp, input: &Payload, output: &Payload) -> Bytes {
        let (event_id, inference_id) = (new_id(), self.has_inference_id.then(new_id));
        let call = CapturedCall {
            input: Some(captured(input)),
            output: Some(captured(output)),
            answered_by: AnsweredBy::TransformJob,
            event_id: &event_id,
            inference_id: inference_id.as_deref(),
            custom_attributes: None,
            inference_time: &formatted(now, "%Y-%m-%dT%H:%M:%SZ"),
        };
        call.line().into()
    }
}

fn captured(payload: &Payload) -> CapturedPayload<'_> {
    let content_type = payload.content_type.as_deref();
    let body = Cow::Borrowed(&payload.body[..]);
    CapturedPayload { content_type, body, format: Format::of(content_type) }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

fn formatted(at: Timestamp, format: &str) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use sagebrush_core::Timestamp;
    use sagebrush_core::worker::Payload;
    use serde_json::{Value, json};

    use super::super::Capture;
    use super::Capturing;

    #[test]
    fn lines_as_they_are_documented() {
        let destination = "s3://b/captured".to_owned();
        let capture = Capture { destination, has_inference_id: true };
        let capturing = Capturing::new(&capture, "j", Timestamp(1_644_859_549_000)).unwrap();
        let at = capturing.at("a/x.csv").to_string();
        assert_eq!(at, "s3://b/captured/j/2022/02/14/17/a/x.csv.jsonl");
        let payload = |content_type: &str, body: &'static [u8]| Payload {
            content_type: Some(content_type.to_owned()),
            body: body.into(),
        };
        let (input, output) = (payload("text/csv", b"1,2\n3"), payload("image/png", b"\xff"));
        let line = capturing.line(Timestamp(1_644_859_549_000), &input, &output);
        assert!(line.ends_with(b"}\n"));
        let mut line: Value = serde_json::from_slice(&line).unwrap();
        let metadata = line["eventMetadata"].take();
        assert_eq!(metadata["inferenceTime"], "2022-02-14T17:25:49Z");
        assert!(metadata["eventId"].is_string() && metadata["inferenceId"].is_string());
        let data = json!({
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT",
                "data": "1,2\n3", "encoding": "CSV"},
            "batchTransformOutput": {"observedContentType": "image/png", "mode": "OUTPUT",
                "data": "/w==", "encoding": "BASE64"},
        });
        let wanted = json!({"captureData": data, "eventMetadata": null, "eventVersion": "0"});
        assert_eq!(line, wanted);
    }
}
