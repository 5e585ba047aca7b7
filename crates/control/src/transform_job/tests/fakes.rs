//! Objects in memory, and a model that answers as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use sagebrush_core::worker::{
    Call, ExecutionParameters, LaunchError, LaunchSpec, Payload, Reply, Runtime, Timings, Worker,
    WorkerError,
};
use tokio::time::Instant;

/// How much of an object comes at once.
const PIECE: usize = 7;

#[derive(Default)]
pub(super) struct FakeObjects {
    pub(super) objects: Mutex<BTreeMap<String, Bytes>>,
    pub(super) n_puts: AtomicUsize,
    /// The bytes that were taken out of the streams of objects.
    pub(super) n_read: Arc<AtomicU64>,
    /// What was put; the rest was there before any job.
    pub(super) written: Mutex<BTreeSet<String>>,
    /// There is no room for what begins with this.
    pub(super) refuses: Mutex<Option<&'static str>>,
}

impl FakeObjects {
    pub(super) fn set(&self, uri: &str, body: impl Into<Bytes>) {
        self.objects.lock().unwrap().insert(uri.to_owned(), body.into());
    }

    pub(super) fn text(&self, uri: &str) -> Option<String> {
        let objects = self.objects.lock().unwrap();
        objects.get(uri).map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    fn meta(&self, at: &ObjectRef, body: &Bytes) -> ObjectMeta {
        let is_new = self.written.lock().unwrap().contains(&at.to_string());
        ObjectMeta {
            key: at.key.clone(),
            size: u64::try_from(body.len()).unwrap(),
            etag: String::new(),
            modified_at: Timestamp(if is_new { i64::MAX } else { 0 }),
            content_type: None,
        }
    }

    fn check(at: &str) -> Result<(), ObjectError> {
        if at == "missing" { Err(ObjectError::NoSuchBucket(at.to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl ObjectStore for FakeObjects {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        self.get(at, None).await.map(|(meta, _)| meta)
    }

    async fn get(
        &self,
        at: &ObjectRef,
        _range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        Self::check(&at.bucket)?;
        let body = self.objects.lock().unwrap().get(&at.to_string()).cloned();
        let body = body.ok_or_else(|| ObjectError::NoSuchKey(at.clone()))?;
        let n_read = self.n_read.clone();
        let pieces: Vec<Bytes> = body.chunks(PIECE).map(Bytes::copy_from_slice).collect();
        let counted = stream::iter(pieces).map(move |piece| {
            n_read.fetch_add(u64::try_from(piece.len()).unwrap(), Ordering::SeqCst);
            Ok(piece)
        });
        Ok((self.meta(at, &body), counted.boxed()))
    }

    async fn put(
        &self,
        at: &ObjectRef,
        _content_type: Option<&str>,
        body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        Self::check(&at.bucket)?;
        let refuses = *self.refuses.lock().unwrap();
        if refuses.is_some_and(|refused| at.to_string().starts_with(refused)) {
            return Err(ObjectError::Full);
        }
        let written: Result<Vec<Bytes>, io::Error> = body.try_collect().await;
        let body: Bytes = written?.concat().into();
        self.n_puts.fetch_add(1, Ordering::SeqCst);
        self.written.lock().unwrap().insert(at.to_string());
        self.set(&at.to_string(), body.clone());
        Ok(self.meta(at, &body))
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ObjectError> {
        self.objects.lock().unwrap().remove(&at.to_string());
        Ok(())
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        Self::check(bucket)?;
        let objects = self.objects.lock().unwrap();
        let listed = objects.iter().filter_map(|(uri, body)| {
            let at = ObjectRef::parse(uri).filter(|at| at.bucket == bucket)?;
            let is_behind = after.is_none_or(|after| at.key.as_str() > after);
            (is_behind && at.key.starts_with(prefix)).then(|| self.meta(&at, body))
        });
        Ok(listed.take(limit).collect())
    }

    fn changes(&self) -> u64 {
        0
    }
}

/// A model that answers each line of a payload in capitals, after a while that depends on it.
#[derive(Default)]
pub(super) struct Model {
    /// Each payload that was answered, in the order of the answers.
    pub(super) payloads: Mutex<Vec<String>>,
    /// What comes of payloads that have this in them, as often as it says.
    pub(super) errors: Mutex<Vec<(&'static str, usize, WorkerError)>>,
    /// Payloads with this in them are never answered.
    pub(super) hangs_at: Mutex<Option<&'static str>>,
    pub(super) parameters: Mutex<Option<ExecutionParameters>>,
    pub(super) most_at_once: AtomicUsize,
    at_once: AtomicUsize,
    pub(super) launched: Mutex<Vec<LaunchSpec>>,
    pub(super) stopped: AtomicUsize,
}

impl Model {
    pub(super) fn asked(&self) -> BTreeSet<String> {
        self.payloads.lock().unwrap().iter().cloned().collect()
    }

    async fn answer(&self, call: Call) -> Result<Reply, WorkerError> {
        let text = String::from_utf8(call.payload.body.to_vec()).unwrap();
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let nap = text.bytes().fold(0_u64, |sum, byte| (sum * 31 + u64::from(byte)) % 97);
        tokio::time::sleep(Duration::from_millis(nap)).await;
        let hangs = self.hangs_at.lock().unwrap().is_some_and(|part| text.contains(part));
        if hangs {
            std::future::pending::<()>().await;
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let mut errors = self.errors.lock().unwrap();
        let error = errors.iter_mut().find(|(part, left, _)| *left > 0 && text.contains(part));
        if let Some((_, left, error)) = error {
            *left -= 1;
            return Err(error.clone());
        }
        self.payloads.lock().unwrap().push(text.clone());
        let body = text.to_uppercase().into();
        let payload = Payload { content_type: call.accept, body };
        Ok(Reply { payload, custom_attributes: None, session: None, timings: Timings::default() })
    }
}

pub(super) struct FakeRuntime(pub(super) Arc<Model>);

#[async_trait]
impl Runtime for FakeRuntime {
    async fn launch(&self, spec: &LaunchSpec) -> Result<Arc<dyn Worker>, LaunchError> {
        self.0.launched.lock().unwrap().push(spec.clone());
        Ok(Arc::new(FakeWorker(self.0.clone())))
    }
}

struct FakeWorker(Arc<Model>);

#[async_trait]
impl Worker for FakeWorker {
    async fn invoke(&self, calls: Vec<Call>) -> Vec<Result<Reply, WorkerError>> {
        let answers = calls.into_iter().map(|call| self.0.answer(call));
        futures::future::join_all(answers).await
    }

    async fn ping(&self) -> Result<(), WorkerError> {
        Ok(())
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn execution_parameters(&self) -> Option<ExecutionParameters> {
        *self.0.parameters.lock().unwrap()
    }

    async fn stop(&self, _deadline: Instant) {
        self.0.stopped.fetch_add(1, Ordering::SeqCst);
    }
}
