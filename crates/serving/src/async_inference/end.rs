//! The end of a call: its object, its notification, and no row any more. Each step may be the last
//! before a crash; the next start goes on from there.

use std::io;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use sagebrush_core::logs::LogStream;
use sagebrush_core::objects::{IndexError, ObjectError, ObjectRef, ObjectStore as _};
use sagebrush_core::resource::Stored;
use sagebrush_core::store::StoreError;
use sagebrush_core::worker::Payload;
use tokio::time::{Instant, sleep};

use super::Core;
use super::call::{AsyncCall, CallResult, CallState, Done};
use super::meter::Spent;
use super::notify;
use super::turn::{Cause, End, Failure};

/// How long is waited before each further attempt to store an object.
const PUT_WAITS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_secs(1), Duration::from_secs(3)];

/// The same for rows and notifications, of which none is given up.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A reason is no longer, in bytes.
const LONGEST_REASON: usize = 2048;

impl Core {
    /// Stores the result of a call, and closes it.
    pub(super) async fn end(&self, call: Box<Stored<AsyncCall>>, end: End, mut spent: Spent) {
        let began = Instant::now();
        let (result, cause) = match end {
            End::Reply(reply) => self.store_reply(&call, reply, &spent).await,
            End::Failed(failure) => self.store_failure(&call, failure).await,
        };
        spent.upload = Some(began.elapsed());
        let now = self.clock.now();
        spent.total = now.since(call.created_at);
        self.meters.ended(&call.region, &call.spec.endpoint, &spent, cause);
        self.log_end(&call, &result, &spent);
        if let Some(trace) = &mut spent.trace {
            trace.stored(began.elapsed(), cause.map(Cause::word));
        }
        self.close(call, Done { at: now, result }).await;
    }

    /// Tells of a result, and removes the row.
    pub(super) async fn close(&self, call: Box<Stored<AsyncCall>>, done: Done) {
        let call = match call.spec.topic(&done.result) {
            None => call,
            Some(_) => {
                let Some(call) = self.write_down(call, done.clone()).await else { return };
                self.notify(&call, &done).await;
                call
            }
        };
        self.remove(call).await;
    }

    /// The result that a call has already, from before the server was killed.
    pub(super) async fn left_behind(
        &self,
        call: &Stored<AsyncCall>,
    ) -> Result<Option<Done>, ObjectError> {
        for is_output in [true, false] {
            let at = if is_output { &call.spec.output.0 } else { &call.spec.failure.0 };
            let meta = match self.objects.head(at).await {
                Ok(meta) if meta.modified_at >= call.created_at => meta,
                Ok(_) | Err(ObjectError::NoSuchKey(_) | ObjectError::NoSuchBucket(_)) => continue,
                Err(error) => return Err(error),
            };
            let result = if is_output {
                CallResult::Completed { content_type: meta.content_type }
            } else {
                CallResult::Failed { reason: self.text_of(at).await }
            };
            return Ok(Some(Done { at: meta.modified_at, result }));
        }
        Ok(None)
    }

    async fn store_reply(
        &self,
        call: &Stored<AsyncCall>,
        reply: Payload,
        spent: &Spent,
    ) -> (CallResult, Option<Cause>) {
        let content_type = reply.content_type.clone();
        let Err(error) = self.put(call, &call.spec.output.0, &reply).await else {
            return (CallResult::Completed { content_type }, None);
        };
        self.meters.upload_failed(&call.region, &call.spec.endpoint, &spent.variant);
        // A write that failed may have come about all the same.
        if let Ok(Some(Done { result: result @ CallResult::Completed { .. }, .. })) =
            self.left_behind(call).await
        {
            return (result, None);
        }
        self.store_failure(call, Failure::not_stored(&error)).await
    }

    async fn store_failure(
        &self,
        call: &Stored<AsyncCall>,
        failure: Failure,
    ) -> (CallResult, Option<Cause>) {
        let at = &call.spec.failure.0;
        if let Err(error) = self.put(call, at, &failure.payload()).await {
            let (id, reason) = (&call.spec.inference_id, &failure.reason);
            tracing::warn!(%error, %id, %at, %reason, "a failure object cannot be stored");
        }
        let reason = shortened(failure.reason);
        let result = match failure.cause {
            Cause::Failed => CallResult::Failed { reason },
            Cause::TookTooLong | Cause::WaitedTooLong => CallResult::Expired { reason },
        };
        (result, Some(failure.cause))
    }

    /// Stores an object whole; tries again where that may help.
    async fn put(
        &self,
        call: &Stored<AsyncCall>,
        at: &ObjectRef,
        payload: &Payload,
    ) -> Result<(), ObjectError> {
        let objects = self.objects_of(&call.spec);
        let mut waits = PUT_WAITS.iter();
        loop {
            let content_type = payload.content_type.as_deref();
            let body = payload.body.clone();
            let body = stream::iter([Ok(body)]).boxed();
            let Err(error) = objects.put(at, content_type, body).await else {
                return Ok(());
            };
            match waits.next() {
                Some(wait) if may_pass(&error) => sleep(*wait).await,
                Some(_) | None => return Err(error),
            }
        }
    }

    /// Writes down that the result is there. Returns the row as it is then, if there is one.
    async fn write_down(
        &self,
        mut call: Box<Stored<AsyncCall>>,
        done: Done,
    ) -> Option<Box<Stored<AsyncCall>>> {
        let mut wait = Waits::default();
        loop {
            if matches!(call.status, CallState::Done(_)) {
                return Some(call);
            }
            let mut changed = Stored::clone(&call);
            changed.status = CallState::Done(done.clone());
            match self.backlog.table.update(changed).await {
                Ok(call) => return Some(Box::new(call)),
                Err(error) => wait.after(&error, &call).await,
            }
            // A write that failed may have come about all the same.
            call = self.look_again(call).await?;
        }
    }

    async fn remove(&self, mut call: Box<Stored<AsyncCall>>) {
        let mut wait = Waits::default();
        while let Err(error) = self.backlog.table.remove(&call).await {
            wait.after(&error, &call).await;
            match self.look_again(call).await {
                Some(now) => call = now,
                None => return,
            }
        }
    }

    /// The row as it is now; as it was, if it cannot be read.
    async fn look_again(&self, call: Box<Stored<AsyncCall>>) -> Option<Box<Stored<AsyncCall>>> {
        match self.backlog.table.get(&call.region, &call.name).await {
            Ok(now) => now.map(Box::new),
            Err(_) => Some(call),
        }
    }

    /// Publishes until somebody has the message, or there is nobody.
    async fn notify(&self, call: &Stored<AsyncCall>, done: &Done) {
        let Some(topic) = call.spec.topic(&done.result) else { return };
        let mut response = None;
        if topic.has_response {
            response = self.bytes_of(call.spec.location(&done.result)).await;
        }
        let message = notify::message(call, done, response);
        let mut wait = Waits::default();
        loop {
            use sagebrush_core::messages::PublishError;
            match self.publisher.publish(&topic.arn, message.clone()).await {
                Ok(()) => return,
                Err(error @ PublishError::NoTopic(_)) => {
                    let id = &call.spec.inference_id;
                    tracing::warn!(%error, %id, "a result is told to nobody");
                    self.meters.notification_failed(&call.region, &call.spec.endpoint);
                    return;
                }
                Err(PublishError::Store(error)) => {
                    self.meters.notification_failed(&call.region, &call.spec.endpoint);
                    wait.after(&error, call).await;
                }
            }
        }
    }

    /// A small object; `None` if it is not small, or not there.
    async fn bytes_of(&self, at: &ObjectRef) -> Option<Vec<u8>> {
        let (meta, mut parts) = self.objects.get(at, None).await.ok()?;
        if meta.size > notify::LONGEST_RESPONSE {
            return None;
        }
        let mut bytes = Vec::new();
        while let Some(part) = parts.next().await {
            bytes.extend_from_slice(&part.ok()?);
        }
        Some(bytes)
    }

    async fn text_of(&self, at: &ObjectRef) -> String {
        let bytes = self.bytes_of(at).await.unwrap_or_default();
        shortened(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn log_end(&self, call: &Stored<AsyncCall>, result: &CallResult, spent: &Spent) {
        let at = LogStream {
            region: call.region.as_str().into(),
            group: format!("/aws/sagemaker/Endpoints/{}", call.spec.endpoint).into(),
            stream: spent.stream.as_str().into(),
        };
        let id = &call.spec.inference_id;
        let line = match result {
            CallResult::Completed { .. } => {
                format!("[sagemaker logs] [{id}] Inference request succeeded. {spent}")
            }
            CallResult::Failed { reason } | CallResult::Expired { reason } => {
                format!("[sagemaker logs] [{id}] Inference request failed. {spent} {reason}")
            }
        };
        self.log.write(&at, &line);
    }
}

/// Ever longer waits between attempts.
#[derive(Default)]
struct Waits(Duration);

impl Waits {
    async fn after(&mut self, error: &StoreError, call: &Stored<AsyncCall>) {
        tracing::warn!(%error, call = %call.name, "the end of an asynchronous call is late");
        self.0 = (self.0 * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        sleep(self.0).await;
    }
}

fn may_pass(error: &ObjectError) -> bool {
    match error {
        ObjectError::NoSuchBucket(_) | ObjectError::NoSuchKey(_) => false,
        ObjectError::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => false,
        ObjectError::Full | ObjectError::Io(_) => true,
        ObjectError::Index(error) => matches!(error, IndexError::Store(_)),
    }
}

fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(LONGEST_REASON));
    reason
}
