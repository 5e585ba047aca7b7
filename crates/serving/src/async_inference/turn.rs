//! The turn of one call: its input, its worker, and what comes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::StoreError;
use sagebrush_core::worker::{Call, Payload};
use tokio::time::{Instant, sleep};

use super::Core;
use super::backlog::{Queue, Ticket, Turn};
use super::call::{AsyncCall, CallState, Carried};
use super::input::{self, InputError};
use super::meter::Spent;
use crate::error::InvokeError;
use crate::headers::{CUSTOM_ATTRIBUTES, INFERENCE_ID};
use crate::invoke::{Invoked, Target};
use crate::trace::CallTrace;

/// How often a call is begun whose worker ends with it, or whose input cannot be read.
const MOST_TRIES: u32 = 3;

/// How long calls rest after a try that was in vain.
const REST: Duration = Duration::from_millis(200);
/// The same where the store failed, or the model is still being loaded.
const LONG_REST: Duration = Duration::from_secs(2);

/// How a call ends.
pub(super) enum End {
    Reply(Payload),
    Failed(Failure),
}

/// Why a call has no reply.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) reason: String,
    /// What the failure object says, if that is not the reason.
    pub(super) said: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Failed,
    /// `InvocationTimeoutSeconds` were over.
    TookTooLong,
    /// `RequestTTLSeconds` were over.
    WaitedTooLong,
}

/// What came of one try.
enum Tried {
    End(End),
    /// It was in vain, but not because of the call.
    Again(Duration),
    /// It was in vain, perhaps because of the call.
    Lost(Failure),
}

/// What a look at a call's row says.
enum Read {
    Call(Box<Stored<AsyncCall>>),
    /// There is nothing to do any more.
    Over,
    /// It cannot be said now.
    Later,
}

impl Core {
    /// Answers a call, or lets it wait again.
    pub(super) async fn take_turn(self: Arc<Self>, mut ticket: Ticket, mut turn: Turn) {
        let call = match self.read(&turn.queue, &mut ticket).await {
            Read::Call(call) => call,
            Read::Over => return,
            Read::Later => return turn.queue.again(ticket, LONG_REST),
        };
        let mut spent = Spent {
            backlog: self.clock.now().since(ticket.accepted_at),
            stream: format!("{}/data-log", turn.variant.name),
            variant: turn.variant.name.to_string(),
            trace: self.trace(&call, &ticket),
            ..Spent::default()
        };
        let end = match self.try_once(&call, &mut turn, &mut spent).await {
            Tried::End(end) => end,
            Tried::Again(rest) => {
                if let Some(trace) = spent.trace {
                    trace.forget(); // Calls may be tried very often before there is room.
                }
                return turn.queue.again(ticket, rest);
            }
            Tried::Lost(_) if ticket.tries + 1 < MOST_TRIES => {
                ticket.tries += 1;
                return turn.queue.again(ticket, REST);
            }
            Tried::Lost(failure) => End::Failed(failure),
        };
        let Ok(_writer) = self.writers.acquire().await else { return };
        drop(turn); // The next call may go to the instance.
        self.end(call, end, spent).await;
    }

    /// Ends a call that gets no turn.
    pub(super) async fn end_unturned(
        self: Arc<Self>,
        queue: Arc<Queue>,
        mut ticket: Ticket,
        why: Failure,
    ) {
        let call = loop {
            match self.read(&queue, &mut ticket).await {
                Read::Call(call) => break call,
                Read::Over => return,
                Read::Later => sleep(LONG_REST).await,
            }
        };
        let backlog = self.clock.now().since(ticket.accepted_at);
        let trace = self.trace(&call, &ticket);
        let spent = Spent { backlog, stream: "data-log".to_owned(), trace, ..Spent::default() };
        self.end(call, End::Failed(why), spent).await;
    }

    /// The call's row; ends the call if its result is there already.
    async fn read(&self, queue: &Queue, ticket: &mut Ticket) -> Read {
        let call = match self.backlog.table.get(&queue.region, &ticket.key).await {
            Ok(Some(call)) => Box::new(call),
            Ok(None) => return Read::Over,
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::error!(%error, call = %ticket.key, "an asynchronous call is lost");
                return Read::Over;
            }
            Err(error) => {
                tracing::warn!(%error, call = %ticket.key, "an asynchronous call cannot be read");
                return Read::Later;
            }
        };
        let before = match &call.status {
            CallState::Done(done) => Some(done.clone()),
            CallState::Waiting if !ticket.is_old => None,
            CallState::Waiting => match self.left_behind(&call).await {
                Ok(before) => before,
                Err(error) => {
                    tracing::warn!(%error, call = %ticket.key, "an output cannot be looked for");
                    return Read::Later;
                }
            },
        };
        ticket.is_old = false;
        match before {
            None => Read::Call(call),
            Some(done) => {
                self.close(call, done).await;
                Read::Over
            }
        }
    }

    async fn try_once(
        &self,
        call: &Stored<AsyncCall>,
        turn: &mut Turn,
        spent: &mut Spent,
    ) -> Tried {
        let began = Instant::now();
        let payload = match input::load(&call.spec, &self.objects_of(&call.spec), &self.spool).await
        {
            Ok(payload) => payload,
            Err(error) => return self.no_input(call, &turn.variant.name, &error),
        };
        let took = began.elapsed();
        spent.download = Some(took);
        let mut asked = asked(call, payload);
        if let Some(trace) = &mut spent.trace {
            trace.part("input", trace.elapsed().saturating_sub(took), took);
            trace.goes_with(&mut asked.headers);
        }
        let target = Target {
            region: call.region.clone(),
            endpoint: call.spec.endpoint.clone(),
            variant: Some(turn.variant.name.to_string()),
            is_asynchronous: true,
        };
        turn.wanted = None;
        match self.invoker.invoke(&target, asked).await {
            Ok(invoked) => answered(invoked, spent),
            Err(error) => refused(error),
        }
    }

    /// The trace of the call's turn, if it is traced.
    fn trace(&self, call: &Stored<AsyncCall>, ticket: &Ticket) -> Option<Box<CallTrace>> {
        let mut trace = call.spec.trace.as_ref()?.go_on(&self.tracer, "AsyncInference")?;
        let backlog = self.clock.now().since(ticket.accepted_at);
        trace.waited_in_backlog(backlog);
        trace.aims(&call.region, &call.spec.endpoint);
        Some(trace)
    }

    fn no_input(&self, call: &Stored<AsyncCall>, variant: &str, error: &InputError) -> Tried {
        self.meters.download_failed(&call.region, &call.spec.endpoint, variant);
        let failure = Failure::of(format!("ClientError: {error}"));
        match error.may_pass() {
            true => Tried::Lost(failure),
            false => Tried::End(End::Failed(failure)),
        }
    }
}

fn asked(call: &Stored<AsyncCall>, payload: Payload) -> Call {
    let attributes = call.spec.custom_attributes.clone();
    let attributes = attributes.map(|attributes| (CUSTOM_ATTRIBUTES, attributes));
    let id = (INFERENCE_ID, call.spec.inference_id.clone());
    let carried = call.spec.trace.iter().flat_map(Carried::headers);
    Call {
        payload,
        accept: call.spec.accept.clone(),
        headers: attributes.into_iter().chain([id]).chain(carried).collect(),
        target_model: None,
        target_container: None,
        request_id: call.name.as_str().into(),
        deadline: Instant::now() + call.spec.timeout(),
    }
}

fn answered(invoked: Invoked, spent: &mut Spent) -> Tried {
    spent.model = Some(invoked.model_latency);
    spent.stream = format!("{}/{}/data-log", invoked.variant.name, invoked.instance.id);
    if let Some(trace) = &mut spent.trace {
        trace.invoked(&invoked);
    }
    match invoked.outcome {
        Ok(reply) => Tried::End(End::Reply(reply.payload)),
        Err(InvokeError::NotReady(_)) => Tried::Again(LONG_REST),
        Err(error) => {
            let failure = Failure::of_model(error);
            if invoked.worker_died {
                Tried::Lost(failure)
            } else {
                Tried::End(End::Failed(failure))
            }
        }
    }
}

/// A call that reached no worker.
fn refused(error: InvokeError) -> Tried {
    match error {
        InvokeError::Overloaded { retry_after, .. } => Tried::Again(retry_after.min(LONG_REST)),
        InvokeError::NotReady(_) => Tried::Again(LONG_REST),
        // What its endpoint is now, the next look at the routes tells.
        InvokeError::NoCapacity { .. }
        | InvokeError::Throttled { .. }
        | InvokeError::NoEndpoint { .. }
        | InvokeError::NotInService { .. }
        | InvokeError::NoVariant { .. } => Tried::Again(REST),
        error @ (InvokeError::Invalid(_)
        | InvokeError::OnlyAsynchronous { .. }
        | InvokeError::NotAsynchronous { .. }
        | InvokeError::Internal) => Tried::End(End::Failed(Failure::of_model(error))),
        // No instance comes up, and the error says why: until the TTL that may be mended.
        InvokeError::Model { .. } => Tried::Again(LONG_REST),
    }
}

impl Cause {
    /// For traces.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "Failed",
            Self::TookTooLong => "TimedOut",
            Self::WaitedTooLong => "Expired",
        }
    }
}

impl Failure {
    fn of(reason: String) -> Self {
        Self { cause: Cause::Failed, reason, said: None }
    }

    fn of_model(error: InvokeError) -> Self {
        let reason = format!("ClientError: {error}");
        let InvokeError::Model { original_status, original_message, .. } = error else {
            return Self::of(reason);
        };
        let cause = if original_status == 0 { Cause::TookTooLong } else { Cause::Failed };
        Self { cause, reason, said: Some(original_message) }
    }

    pub(super) fn waited() -> Self {
        let reason = "The request waited in the queue for longer than its RequestTTLSeconds.";
        Self { cause: Cause::WaitedTooLong, reason: reason.to_owned(), said: None }
    }

    pub(super) fn endpoint_gone() -> Self {
        Self::of("The endpoint was deleted before the request had its turn.".to_owned())
    }

    pub(super) fn not_stored(error: &dyn std::error::Error) -> Self {
        Self::of(format!("ClientError: The output cannot be stored: {error}."))
    }

    /// The failure object.
    pub(super) fn payload(&self) -> Payload {
        let text = self.said.as_deref().unwrap_or(&self.reason);
        let is_json = text.trim_start().starts_with(['{', '[']);
        let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        Payload { content_type: Some(content_type.to_owned()), body: Bytes::from(text.to_owned()) }
    }
}
