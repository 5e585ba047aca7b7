//! What is done with a call beside answering it: some are captured, some are copied to a shadow
//! variant. It is begun when the reply is certain, and no call waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::route::{ShadowRoute, VariantRoute};
use sagebrush_core::worker::{Call, Reply};

use crate::capture::{self, Capture, Gathering};
use crate::headers::SESSION_ID;
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
}

impl Chosen {
    /// By what the variant's route says. A call of an ordinary variant costs two looks here, and
    /// one of a variant that captures or is shadowed a random number for each.
    pub(crate) fn of(variant: &VariantRoute, chance: fn() -> f32) -> Self {
        Self {
            capture: capture::sampled(variant, chance).cloned(),
            shadow: shadow::chosen(variant, chance).cloned(),
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
        // A shadow variant has no sessions of its own.
        let is_in_session = call.headers.iter().any(|(name, _)| *name == SESSION_ID);
        if let (Some(route), Some(shadows), false) = (chosen.shadow, &self.shadows, is_in_session) {
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
