//! An inference pipeline: each container gets what the one before answered.

use async_trait::async_trait;
use sagebrush_core::worker::{
    Call, Payload, Reply, Session, StreamedReply, Timings, Usage, Worker, WorkerError,
};
use tokio::time::Instant;

use super::parts::{Part, Parts, unanswered};

pub(super) struct Series(pub(super) Parts);

/// A call on its way through the containers.
struct Trip {
    call: Call,
    /// What the next container gets.
    payload: Payload,
    custom_attributes: Option<String>,
    session: Option<Session>,
    timings: Timings,
    failure: Option<WorkerError>,
}

#[async_trait]
impl Worker for Series {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let mut trips: Vec<Trip> = calls.into_iter().map(Trip::begin).collect();
        let last = self.0.0.len().saturating_sub(1);
        for (at, part) in self.0.0.iter().enumerate() {
            pass(part, &mut trips, at == last).await;
        }
        trips.into_iter().map(Trip::end).collect()
    }

    /// The last container's parts.
    async fn stream(&self, call: Call) -> Result<StreamedReply, WorkerError> {
        let Some((last, before)) = self.0.0.split_last() else { return Err(unanswered()) };
        let mut trips = [Trip::begin(call)];
        for part in before {
            pass(part, &mut trips, false).await;
        }
        let [mut trip] = trips;
        if let Some(failure) = trip.failure {
            return Err(failure);
        }
        let reply = last.stream(trip.next_call(true)).await?;
        let custom_attributes = reply.custom_attributes.or(trip.custom_attributes);
        let session = reply.session.or(trip.session);
        Ok(StreamedReply { custom_attributes, session, ..reply })
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        self.0.ping().await
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency().min().unwrap_or(1)
    }

    fn memory(&self) -> u64 {
        self.0.memory()
    }

    fn usage(&self) -> Option<Usage> {
        self.0.usage()
    }

    async fn ended(&self) -> String {
        self.0.ended().await
    }

    fn images(&self) -> Vec<Option<String>> {
        self.0.images()
    }

    async fn stop(&self, deadline: Instant) {
        self.0.stop(deadline).await;
    }
}

/// Has a container answer those calls that have come so far.
async fn pass(part: &Part, trips: &mut [Trip], is_last: bool) {
    let mut under_way: Vec<&mut Trip> =
        trips.iter_mut().filter(|trip| trip.failure.is_none()).collect();
    if under_way.is_empty() {
        return;
    }
    let calls = under_way.iter_mut().map(|trip| trip.next_call(is_last)).collect();
    let mut replies = part.worker.invoke(calls).await.into_iter();
    for trip in under_way {
        match replies.next().unwrap_or_else(|| Err(unanswered())) {
            Ok(reply) => trip.go_on(reply),
            Err(error) => trip.failure = Some(part.at(error)),
        }
    }
}

impl Trip {
    fn begin(mut call: Call) -> Self {
        Self {
            payload: std::mem::take(&mut call.payload),
            call,
            custom_attributes: None,
            session: None,
            timings: Timings::default(),
            failure: None,
        }
    }

    /// The client's `Accept` is for what the client gets: only the last container sees it.
    fn next_call(&mut self, is_last: bool) -> Call {
        let payload = std::mem::take(&mut self.payload);
        let accept = self.call.accept.clone().filter(|_| is_last);
        Call { payload, accept, ..self.call.clone() }
    }

    fn go_on(&mut self, reply: Reply) {
        self.payload = reply.payload;
        self.custom_attributes = reply.custom_attributes.or_else(|| self.custom_attributes.take());
        self.session = reply.session.or_else(|| self.session.take());
        self.timings.pre += reply.timings.pre;
        self.timings.model += reply.timings.model;
        self.timings.post += reply.timings.post;
    }

    fn end(self) -> Result<Reply, WorkerError> {
        let Self { payload, custom_attributes, session, timings, failure, .. } = self;
        failure.map_or(Ok(Reply { payload, custom_attributes, session, timings }), Err)
    }
}
