//! The run of a job: all its objects, several at once, from the first to the last.

use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use sagebrush_core::access::{Authorizer, RoleObjects};
use sagebrush_core::fleet::{Fleet, InstanceState};
use sagebrush_core::instance::Instance;
use sagebrush_core::logs::LogSink;
use sagebrush_core::metrics::Registry;
use sagebrush_core::objects::ObjectStore;
use sagebrush_core::resource::Stored;
use sagebrush_core::store::StoreError;
use sagebrush_core::trace::{Kind, SpanContext, Tracer};
use sagebrush_core::{Clock, Region};
use sagebrush_records::{Format, Path, Processing, Shape};
use tokio::sync::Semaphore;

use super::calls::{Calls, Parameters};
use super::capture::Capturing;
use super::done::Done;
use super::inputs::{InputError, Inputs, output_path};
use super::object::{self, Failure};
use super::plan::Outcome;
use super::progress::Progress;
use super::{TransformJob, Work};

/// How many objects are under way at once, at most.
const MOST_OBJECTS: usize = 16;
/// Payloads that wait for their turn are so many times those that are asked at once.
const LOOK_AHEAD: usize = 2;
/// The longest payload of a job that sets no limit (`MaxPayloadInMB` 0): it is held in memory.
const LARGEST_PAYLOAD: usize = 1 << 30;

/// What a run needs of the server.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) authorizer: Arc<dyn Authorizer>,
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) log: Arc<dyn LogSink>,
    pub(super) metrics: Registry,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) done: Done,
    pub(super) tracer: Tracer,
}

/// A job whose instances are ready.
pub(super) struct Running {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) calls: Calls,
    pub(super) progress: Progress,
    pub(super) shape: Shape,
    /// How many payloads there are at once of one object, and of all.
    pub(super) look_ahead: usize,
    pub(super) room: Arc<Semaphore>,
    pub(super) capturing: Option<Capturing>,
    pub(super) clock: Arc<dyn Clock>,
    done: Done,
    region: Region,
    revision: String,
}

impl Means {
    /// The object store, as the role of the job's model may use it.
    fn limited(&self, job: &Stored<TransformJob>) -> Arc<dyn ObjectStore> {
        let (objects, authorizer) = (self.objects.clone(), self.authorizer.clone());
        let role_arn = job.spec.containers.first().and_then(|first| first.role_arn.clone());
        Arc::new(RoleObjects { objects, authorizer, role_arn })
    }
}

/// Runs a job to its end. It may be cut off at any time, and is begun again then.
pub(super) async fn run(means: Means, job: Stored<TransformJob>) -> Outcome {
    let mut trace = means.tracer.begin(Kind::Internal, "TransformJob", |_| None);
    if let Some(trace) = &mut trace {
        trace.rename(format!("TransformJob {}", job.name));
        trace.set("sagebrush.transform_job", &*job.name);
        trace.set("cloud.region", job.region.as_str());
    }
    let context = trace.as_ref().map(|trace| trace.context());
    let outcome = run_all(means, &job, context).await;
    if let (Some(trace), Err(_)) = (&mut trace, &outcome) {
        trace.fail("TransformFailed");
    }
    outcome
}

async fn run_all(means: Means, job: &Stored<TransformJob>, trace: Option<SpanContext>) -> Outcome {
    let limited = means.limited(job);
    let inputs = prepared(&means, &limited, job).await.map_err(|error| error.to_string())?;
    let means = Means { objects: limited, ..means };
    let instances = ready(&means, job).await;
    let first = instances.first().ok_or("The job has no instance.")?;
    let mut running = Running::new(&means, job, first, instances.len()).await?;
    running.calls.trace = trace.map(|trace| (means.tracer.clone(), trace));
    let running = Arc::new(running);
    let at_once = running.look_ahead.min(MOST_OBJECTS);
    let outcomes = inputs.stream().map(|input| {
        let running = running.clone();
        async move {
            let input = input.map_err(|error| error.to_string())?;
            let outcome = object::transform(&running, &input).await;
            outcome.map_err(|failure| {
                let reason = told(&input.at.to_string(), &failure);
                running.progress.failed(&reason);
                reason
            })
        }
    });
    let (mut n_objects, mut n_failed, mut first_reason) = (0_usize, 0_usize, None);
    let mut outcomes = std::pin::pin!(outcomes.buffer_unordered(at_once));
    while let Some(outcome) = outcomes.next().await {
        n_objects += 1;
        if let Err(reason) = outcome {
            n_failed += 1;
            first_reason.get_or_insert(reason);
        }
    }
    match first_reason {
        None => Ok(()),
        Some(reason) if n_objects == 1 => Err(reason),
        Some(reason) => Err(format!("{n_failed} of {n_objects} objects failed. {reason}")),
    }
}

fn told(input: &str, failure: &Failure) -> String {
    format!("{input}: {failure}")
}

/// The inputs, once it is known that there are some and that outputs have a bucket.
///
/// Whether outputs have a bucket is the server's own question; its inputs are the role's.
async fn prepared(
    means: &Means,
    limited: &Arc<dyn ObjectStore>,
    job: &Stored<TransformJob>,
) -> Result<Inputs, InputError> {
    let work = &job.spec.work;
    let destinations = work.capture.iter().map(|capture| &capture.destination);
    for uri in destinations.chain([&work.output_path]) {
        let path = output_path(uri)?;
        let listed = means.objects.list(&path.bucket, &path.key, None, 1).await;
        listed.map_err(|source| InputError::Unwritable { uri: uri.clone(), source })?;
    }
    Inputs::look(limited, work, job.created_at).await
}

/// The instances of the job, once all are ready. Whether they ever are is the planner's business.
async fn ready(means: &Means, job: &Stored<TransformJob>) -> Vec<Arc<Instance>> {
    let group = job.spec.group(&job.region, &job.name);
    let mut view = means.fleet.watch();
    loop {
        let instances: Vec<_> = view
            .borrow_and_update()
            .get(&group.key)
            .into_iter()
            .flatten()
            .filter_map(InstanceState::ready)
            .cloned()
            .collect();
        if instances.len() >= group.instance_count as usize || view.changed().await.is_err() {
            return instances;
        }
    }
}

impl Running {
    async fn new(
        means: &Means,
        job: &Stored<TransformJob>,
        first: &Instance,
        n_instances: usize,
    ) -> Result<Self, String> {
        let work = &job.spec.work;
        let of_container = first.worker.execution_parameters().await.unwrap_or_default();
        let parameters = Parameters::of(work, of_container, first.worker.concurrency());
        let group = job.spec.group(&job.region, &job.name).key;
        let progress = Progress::new(means.log.clone(), &means.metrics, &group, &first.id);
        progress.began(&parameters);
        let max_concurrent = parameters.max_concurrent as usize;
        let at_once = max_concurrent.saturating_mul(n_instances).min(Semaphore::MAX_PERMITS / 2);
        let look_ahead = at_once * LOOK_AHEAD;
        Ok(Self {
            objects: means.objects.clone(),
            calls: Calls {
                view: means.fleet.watch(),
                group,
                content_type: work.content_type.clone(),
                accept: work.accept.clone(),
                timeout: work.timeout,
                max_retries: work.max_retries,
                max_concurrent,
                places: Arc::new(Semaphore::new(at_once)),
                choice: Mutex::default(),
                trace: None,
            },
            progress,
            shape: shape(work, &parameters)?,
            look_ahead,
            room: Arc::new(Semaphore::new(look_ahead)),
            capturing: capturing(job).map_err(|error| error.to_string())?,
            clock: means.clock.clone(),
            done: means.done.clone(),
            region: job.region.clone(),
            revision: job.spec.revision.clone(),
        })
    }

    pub(super) async fn is_done(&self, output: &str) -> Result<bool, StoreError> {
        self.done.is_noted(&self.region, &self.revision, output).await
    }

    pub(super) async fn note_done(&self, output: &str) -> Result<(), StoreError> {
        self.done.note(&self.region, &self.revision, output).await
    }
}

fn capturing(job: &Stored<TransformJob>) -> Result<Option<Capturing>, InputError> {
    let capture = job.spec.work.capture.as_ref();
    capture.map(|capture| Capturing::new(capture, &job.name, job.created_at)).transpose()
}

fn shape(work: &Work, parameters: &Parameters) -> Result<Shape, String> {
    let path = |path: &str| Path::parse(path).map_err(|error| error.to_string());
    let processing = Processing {
        input_filter: path(&work.input_filter)?,
        output_filter: path(&work.output_filter)?,
        joins: work.joins,
        format: Format::of(work.content_type.as_deref()),
        assemble: work.assemble,
    };
    let limit = match parameters.max_payload_mb as usize {
        0 => LARGEST_PAYLOAD,
        megabytes => megabytes.saturating_mul(1 << 20),
    };
    Ok(Shape {
        gzip: work.gzip,
        split: work.split,
        strategy: parameters.strategy,
        limit,
        processing: Arc::new(processing),
    })
}
