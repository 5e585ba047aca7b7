//! What is done with a call beside answering it: some are captured. It is begun when the reply is
//! certain, and no call waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sagebrush_core::capture::CaptureConfig;
use sagebrush_core::route::VariantRoute;
use sagebrush_core::worker::{Call, Reply};

use crate::capture::{Capture, Gathering, sampled};
use crate::invoke::{PartedReply, Target};

/// Who is told of calls. The default is told of none.
#[derive(Clone, Default)]
pub struct Beside {
    pub capture: Option<Capture>,
}

/// Who is told of one call.
#[derive(Default)]
pub(crate) struct Chosen {
    capture: Option<Arc<CaptureConfig>>,
}

impl Chosen {
    /// By what the variant's route says. A call of an ordinary variant costs two looks here, and
    /// one of a variant that captures a random number.
    pub(crate) fn of(variant: &VariantRoute, chance: fn() -> f32) -> Self {
        Self { capture: sampled(variant, chance).cloned() }
    }
}

impl Beside {
    /// Writes what is captured so far, within `limit`.
    pub async fn flush(&self, limit: Duration) {
        if let Some(capture) = &self.capture {
            capture.flush(limit).await;
        }
    }

    /// Tells of a call whose reply is to be sent.
    pub(crate) fn answered(
        &self,
        chosen: Chosen,
        target: &Target,
        variant: &str,
        call: &Call,
        reply: &Reply,
    ) {
        if let (Some(config), Some(capture)) = (chosen.capture, &self.capture)
            && let Some(record) = capture.record(&config, target, variant, call)
        {
            capture.answered(record, &reply.payload);
        }
    }

    /// The same of a reply in parts, which goes on through it.
    pub(crate) fn streamed(
        &self,
        chosen: Chosen,
        target: &Target,
        variant: &str,
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
