//! Data capture: calls and their replies, kept as objects. SageMaker API: `DataCaptureConfig`.
//!
//! A call that is kept leaves handles of its payloads here when it is answered ([`Capture::offer`]),
//! and nothing of it waits: what there is no room for is dropped and counted ([`tally`]). One task
//! ([`writer`]) makes lines of them ([`mod@line`]) and writes an object for each variant every few
//! seconds. [`gather`] keeps the output of replies that come in parts.
//!
//! Only calls that the model answered well are kept.

mod gather;
mod line;
mod space;
mod tally;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::cloudwatch::Metrics;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::ObjectStore;
use sagebrush_core::route::VariantRoute;
use sagebrush_core::worker::{Call, Payload};
use sagebrush_core::{Clock, Region, ResourceName, Timestamp, task};
use tokio::sync::{mpsc, oneshot};

use crate::headers::{CUSTOM_ATTRIBUTES, INFERENCE_ID};
use crate::invoke::Target;
use crate::room::{Room, Taken};

pub(crate) use gather::Gathering;
pub use space::{DiskSpace, Space};
use tally::{Tally, Why};
use writer::{Message, Writer};

/// Calls that wait for the writer, and what their payloads may have together.
const QUEUE: usize = 4096;
const MEMORY: usize = 64 << 20;

/// What data capture is made of.
pub struct Parts {
    pub objects: Arc<dyn ObjectStore>,
    pub space: Arc<dyn Space>,
    pub clock: Arc<dyn Clock>,
    /// In Prometheus' form.
    pub registry: Registry,
    /// CloudWatch's.
    pub metrics: Arc<dyn Metrics>,
}

/// Keeps calls.
#[derive(Clone)]
pub struct Capture {
    queue: mpsc::Sender<Message>,
    room: Room,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
}

/// Whose calls they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) region: Region,
    pub(crate) endpoint: ResourceName,
    pub(crate) variant: String,
}

/// A payload, in the parts that it came in.
struct Body {
    content_type: Option<String>,
    parts: Vec<Bytes>,
}

/// A call that is to be kept when it is answered.
pub(crate) struct Record {
    captured: Box<Captured>,
    taken: Taken,
}

/// A call as it is kept.
struct Captured {
    place: Place,
    config: Arc<CaptureConfig>,
    at: Timestamp,
    input: Option<Body>,
    output: Option<Body>,
    inference_id: Option<String>,
    custom_attributes: Option<String>,
    /// The room of its payloads.
    taken: Option<Taken>,
}

impl Capture {
    /// Begins to keep calls.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Parts { objects, space, clock, registry, metrics } = parts;
        let tally = Arc::new(Tally::new(registry, metrics, clock.clone()));
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = Writer::new(objects, space, tally.clone());
        drop(task::spawn("capture-writer", writer.run(waiting)));
        Self { queue, room: Room::new(MEMORY), tally, clock }
    }

    /// Writes what is kept so far, within `limit`.
    pub async fn flush(&self, limit: Duration) {
        let (done, written) = oneshot::channel();
        let flush = async {
            // Without a writer there is nothing to be written.
            if self.queue.send(Message::Flush(done)).await.is_ok() {
                drop(written.await);
            }
        };
        if tokio::time::timeout(limit, flush).await.is_err() {
            tracing::warn!("captured calls were not written in time");
        }
    }

    /// Begins to keep a call, if there is room.
    pub(crate) fn record(
        &self,
        config: &Arc<CaptureConfig>,
        target: &Target,
        variant: &str,
        call: &Call,
    ) -> Option<Record> {
        let place = Place {
            region: target.region.clone(),
            endpoint: target.endpoint.clone(),
            variant: variant.to_owned(),
        };
        let input = config.input.then(|| Body::of(&call.payload));
        let Some(taken) = self.room.take(input.as_ref().map_or(0, Body::len)) else {
            self.tally.dropped(&place, Why::Full, 1);
            return None;
        };
        let header = |name| {
            let found = call.headers.iter().find(|(header, _)| *header == name);
            found.map(|(_, value)| value.clone())
        };
        let captured = Box::new(Captured {
            place,
            config: config.clone(),
            at: Timestamp::default(),
            input,
            output: None,
            inference_id: header(INFERENCE_ID),
            custom_attributes: header(CUSTOM_ATTRIBUTES),
            taken: None,
        });
        Some(Record { captured, taken })
    }

    /// Keeps a call with its reply.
    pub(crate) fn answered(&self, mut record: Record, reply: &Payload) {
        record.begin_output(reply.content_type.clone());
        if !record.keeps_output() || record.add_output(&reply.body) {
            self.offer(record);
        } else {
            self.drop_record(&record, Why::Full);
        }
    }

    /// Keeps a call whose reply is complete, unless there are too many already.
    pub(crate) fn offer(&self, record: Record) {
        let Record { mut captured, taken } = record;
        captured.at = self.clock.now();
        captured.taken = Some(taken);
        if let Err(refused) = self.queue.try_send(Message::Captured(captured))
            && let Message::Captured(captured) = refused.into_inner()
        {
            self.tally.dropped(&captured.place, Why::Full, 1);
        }
    }

    fn drop_record(&self, record: &Record, why: Why) {
        self.tally.dropped(&record.captured.place, why, 1);
    }
}

/// How calls of `variant` are kept, if this one is; `chance` gives a number in `0.0..1.0`.
pub(crate) fn sampled(variant: &VariantRoute, chance: fn() -> f32) -> Option<&Arc<CaptureConfig>> {
    let config = variant.capture.as_ref()?;
    (chance() * 100.0 < f32::from(config.percentage)).then_some(config)
}

impl Record {
    pub(crate) fn begin_output(&mut self, content_type: Option<String>) {
        let output = || Body { content_type, parts: Vec::new() };
        self.captured.output = self.captured.config.output.then(output);
    }

    fn keeps_output(&self) -> bool {
        self.captured.output.is_some()
    }

    /// Keeps a part of the reply; false if there is no room for it.
    fn add_output(&mut self, part: &Bytes) -> bool {
        let fits = self.taken.grow(part.len());
        if let Some(output) = self.captured.output.as_mut().filter(|_| fits) {
            output.parts.push(part.clone());
        }
        fits
    }
}

impl Captured {
    fn payload_bytes(&self) -> usize {
        [&self.input, &self.output].into_iter().flatten().map(Body::len).sum()
    }

    fn forget_payloads(&mut self) {
        (self.input, self.output, self.taken) = (None, None, None);
    }
}

impl Body {
    fn of(payload: &Payload) -> Self {
        let Payload { content_type, body } = payload;
        Self { content_type: content_type.clone(), parts: vec![body.clone()] }
    }

    fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}
