//! Calls that workers answer in parts.

use futures::StreamExt as _;
use futures::stream;
use sagebrush_core::worker::{Call, Reply, StreamedReply, WorkerError};
use tokio::time::Instant;

use super::super::frame::Said;
use super::super::trip::Trip;
use super::Crew;

impl Crew {
    /// Has an idle worker answer, or the first that becomes idle.
    pub(in super::super) async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let shared = &self.shared;
        let part_timeout = shared.plan.call_timeout.of_a_part();
        let deadline = call.deadline.min(Instant::now() + part_timeout);
        loop {
            let Some(conn) = shared.pool.take(shared.patience(deadline)).await else {
                return Err(shared.no_worker());
            };
            let mut trip = Trip::new(shared.pool.clone(), conn, &call, part_timeout);
            match trip.next().await {
                None => {} // The pool has another one, or says why not.
                Some(Said::Part(first)) => return Ok(streamed(first, trip)),
                Some(Said::Last(outcome)) => return outcome.map(StreamedReply::from),
            }
        }
    }
}

fn streamed(first: Reply, trip: Trip) -> StreamedReply {
    let StreamedReply { content_type, custom_attributes, session, parts } = first.into();
    let rest = stream::unfold(Some(trip), |trip| async {
        let mut trip = trip?;
        match trip.next().await? {
            Said::Part(part) => Some((Ok(part.payload.body), Some(trip))),
            Said::Last(outcome) => Some((outcome.map(|last| last.payload.body), None)),
        }
    });
    StreamedReply { content_type, custom_attributes, session, parts: parts.chain(rest).boxed() }
}
