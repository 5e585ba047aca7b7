//! What is done with a call beside answering it: some are captured, some are copied to a shadow
//! variant, and one now and then is kept for the probes of the next deployment. It is begun when the
//! reply is certain, and no call waits for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::route::{ShadowRoute, VariantRoute};
use sagebrush_core::sample::{self, Sample};
use sagebrush_core::worker::{Call, Payload, Reply};

use crate::capture::{self, Capture, Gathering};
use crate::headers::{CUSTOM_ATTRIBUTES, SESSION_ID};
use crate::invoke::{PartedReply, Target};
use crate::shadow::{self, Original, Shadows};

/// Who is told of calls. The default is told of none.
#[derive(Clone, Default)]
pub struct Beside {
    pub capture: Option<Capture>,
    pub shadows: Option<Shadows>,
}

/// Who is told of one call.
#[derive(Default)]
pub(crate) struct Chosen {
    capture: Option<Arc<CaptureConfig>>,
    shadow: Option<Arc<ShadowRoute>>,
    sample: Option<Arc<Sample>>,
}

impl Chosen {
    /// By what the variant's route says. A call of an ordinary variant costs three looks here, and
    /// one of a variant that captures or is shadowed a random number for each.
    pub(crate) fn of(variant: &VariantRoute, call: &Call, chance: fn() -> f32) -> Self {
        Self {
            capture: capture::sampled(variant, chance).cloned(),
            shadow: shadow::chosen(variant, chance).cloned(),
            sample: wanting(variant, call).cloned(),
        }
    }
}

impl Beside {
    /// Writes what is captured so far, within `limit`.
    pub async fn flush(&self, limit: Duration) {
        if let Some(capture) = &self.capture {
            capture.flush(limit).await;
        }
    }

    /// Tells of a call whose reply is to be sent; the model took `took` over it.
    pub(crate) fn answered(
        &self,
        chosen: Chosen,
        (target, variant): (&Target, &str),
        call: Call,
        reply: &Reply,
        took: Duration,
    ) {
        if let (Some(config), Some(capture)) = (chosen.capture, &self.capture)
            && let Some(record) = capture.record(&config, target, variant, &call)
        {
            capture.answered(record, &reply.payload);
        }
        if let Some(sample) = chosen.sample {
            sample.keep(|| bare(&call));
        }
        // A shadow variant has no sessions of its own.
        if let (Some(route), Some(shadows), false) =
            (chosen.shadow, &self.shadows, is_in_session(&call))
        {
            let answer = &reply.payload;
            shadows.copy(route, Original { target, variant, call, answer, took });
        }
    }

    /// The same of a reply in parts, which goes on through it. It is captured, and not copied.
    pub(crate) fn streamed(
        &self,
        chosen: Chosen,
        (target, variant): (&Target, &str),
        call: &Call,
        reply: PartedReply,
    ) -> PartedReply {
        let (Some(config), Some(capture)) = (chosen.capture, &self.capture) else { return reply };
        let Some(mut record) = capture.record(&config, target, variant, call) else {
            return reply;
        };
        record.begin_output(reply.content_type.clone());
        let parts = Gathering::new(reply.parts, capture.clone(), record).boxed();
        PartedReply { parts, ..reply }
    }
}

fn is_in_session(call: &Call) -> bool {
    call.headers.iter().any(|(name, _)| *name == SESSION_ID)
}

/// Where the call is to be kept if it is answered well. Another instance cannot go on with a
/// session, and may have other models.
fn wanting<'a>(variant: &'a VariantRoute, call: &Call) -> Option<&'a Arc<Sample>> {
    let sample = variant.sample.as_ref().filter(|sample| sample.is_wanted())?;
    let is_fit = call.payload.body.len() <= sample::LONGEST
        && call.target_model.is_none()
        && !is_in_session(call);
    is_fit.then_some(sample)
}

/// The call as its model saw it, without what tells it from others.
fn bare(call: &Call) -> Call {
    let said = call.headers.iter().filter(|(name, _)| *name == CUSTOM_ATTRIBUTES);
    let payload = Payload {
        content_type: call.payload.content_type.clone(),
        // The bytes may be a part of a larger buffer, which is not to be kept.
        body: Bytes::copy_from_slice(&call.payload.body),
    };
    Call { payload, headers: said.cloned().collect(), request_id: "probe".into(), ..call.clone() }
}
