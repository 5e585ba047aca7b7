//! What happens to objects, told as EventBridge tells it, if anybody wants to know.

use std::sync::{Arc, OnceLock};

use sagebrush_core::Clock;
use sagebrush_core::events::{Event, EventSink};
use sagebrush_core::objects::{ObjectIndex, ObjectVersion};
use serde_json::{Value, json};

use crate::door::Asker;

const SOURCE: &str = "aws.s3";

/// Who is told. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct News(Arc<OnceLock<Arc<dyn EventSink>>>);

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    Put,
    Copied,
    Completed,
    /// It is hidden by a marker.
    Marked,
    Removed,
}

/// Somebody who wants to know what becomes of a change.
pub(crate) struct Listening {
    sink: Arc<dyn EventSink>,
    asker: Option<Asker>,
}

impl News {
    /// Tells `sink` from now on. It is told to one.
    pub(crate) fn tell(&self, sink: Arc<dyn EventSink>) {
        let _is_first = self.0.set(sink);
    }

    /// Before a change, in the task of whoever asked for it. `None`: nobody wants to know.
    pub(crate) fn listen(&self) -> Option<Listening> {
        let sink = self.0.get().filter(|sink| sink.wants(SOURCE))?;
        Some(Listening { sink: sink.clone(), asker: Asker::of_call() })
    }
}

impl Listening {
    /// After the change.
    pub(crate) async fn tell(
        self,
        (index, clock): (&dyn ObjectIndex, &dyn Clock),
        happened: Happened,
        version: &ObjectVersion,
    ) {
        // A bucket that is gone meanwhile has no region any more.
        let Ok(Some(bucket)) = index.bucket(&version.bucket).await else { return };
        self.sink.emit(Event {
            region: sagebrush_core::Region::new(&bucket.region),
            source: SOURCE,
            detail_type: happened.detail_type(),
            resources: vec![format!("arn:aws:s3:::{}", version.bucket)],
            detail: self.detail(happened, version, clock.nanos()),
            at: clock.now(),
        });
    }

    fn detail(&self, happened: Happened, version: &ObjectVersion, sequencer: u64) -> Value {
        let mut object = json!({"key": version.key, "sequencer": format!("{sequencer:018X}")});
        if !version.is_delete_marker && happened != Happened::Removed {
            object["size"] = version.size.into();
            object["etag"] = version.etag.as_str().into();
        }
        if version.version_id != crate::backend::NULL_VERSION {
            object["version-id"] = version.version_id.as_str().into();
        }
        let mut detail = json!({
            "version": "0",
            "bucket": {"name": version.bucket},
            "object": object,
            "requester": "sagemaker.amazonaws.com",
            "reason": happened.reason(),
        });
        if let Some(kind) = happened.deletion_type() {
            detail["deletion-type"] = kind.into();
        }
        if let Some(asker) = &self.asker {
            detail["requester"] = asker.account.0.as_ref().into();
            detail["request-id"] = asker.request_id.as_ref().into();
            detail["source-ip-address"] = asker.ip.map(|ip| ip.to_string()).into();
        }
        detail
    }
}

impl Happened {
    fn detail_type(self) -> &'static str {
        match self {
            Self::Put | Self::Copied | Self::Completed => "Object Created",
            Self::Marked | Self::Removed => "Object Deleted",
        }
    }

    /// The operation.
    fn reason(self) -> &'static str {
        match self {
            Self::Put => "PutObject",
            Self::Copied => "CopyObject",
            Self::Completed => "CompleteMultipartUpload",
            Self::Marked | Self::Removed => "DeleteObject",
        }
    }

    fn deletion_type(self) -> Option<&'static str> {
        match self {
            Self::Put | Self::Copied | Self::Completed => None,
            Self::Marked => Some("Delete Marker Created"),
            Self::Removed => Some("Permanently Deleted"),
        }
    }
}
