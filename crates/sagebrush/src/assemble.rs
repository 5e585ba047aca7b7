//! Joins the crates into one server. The order is that of the layers: store, objects, artifacts,
//! runtimes, fleet, control, serving, doors.

mod access;
mod beside;
mod ground;
mod machine;
mod otlp;
mod serving;
mod shared;
mod watched;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use sagebrush_artifacts::ArtifactCache;
use sagebrush_aws::demux::OperationsPage;
use sagebrush_aws::sigv4::{Credentials as _, Grant};
use sagebrush_aws::{InvokeKind, Target};
use sagebrush_control::autoscaling::Autoscaler;
use sagebrush_control::instance::{Launcher, LocalFleet};
use sagebrush_control::{Control, inference_experiment};
use sagebrush_core::fleet::Fleet;
use sagebrush_core::metrics::{Gauge, Registry};
use sagebrush_core::route::Routes;
use sagebrush_core::task;
use sagebrush_core::worker::Runtime;
use sagebrush_messaging::Messaging;
use sagebrush_objects::{DoorConfig, Objects, S3Door};
use sagebrush_onnx::OnnxRuntime;
use sagebrush_serving::Meters;
use sagebrush_store::SqliteStore;
use sagebrush_telemetry::metrics::MetricStore;
use sagebrush_telemetry::sagemaker::{self, NvidiaSmi, SageMakerMetrics};
use tokio::task::JoinHandle;

use self::ground::Ground;
use self::machine::Machine;
use self::otlp::Tellers;
use self::shared::Shared;
use crate::access_log::{AccessLog, AskedFor};
use crate::answer::{Answer, AnswerBody};
use crate::config::Config;
use crate::failure::Failure;
use crate::images::{self, CatalogueError};
use crate::server::asked::Asked;
use crate::server::patient::Patient;

/// Names that stand for this server in virtual-host requests.
const S3_DOMAINS: &[&str] = &["localhost", "s3.localhost"];

/// How long the end of the server waits for its instances.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long their calls may take of it. Less, so that there is time to end what runs too long.
const INSTANCE_DRAIN: Duration = Duration::from_secs(8);
/// How long it waits for the last traces and metrics to be told.
pub(crate) const LAST_TELLING: Duration = Duration::from_secs(1);
/// How long it waits for its store.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server, but for its listener.
pub struct App {
    aws: sagebrush_aws::Door,
    serving: sagebrush_serving::Door,
    s3: S3Door,
    access_log: Option<AccessLog>,
    metrics: Registry,
    measured: Arc<MetricStore>,
    store: Arc<SqliteStore>,
    fleet: Arc<LocalFleet>,
    background: Vec<JoinHandle<()>>,
    messaging: Messaging,
    tellers: Tellers,
    machine: Arc<Machine>,
    /// Never looked at: it has changed once the first table is made.
    routes: Routes,
    stopping: AtomicBool,
}

impl App {
    /// Opens the data directory and starts everything; endpoints come back by themselves.
    ///
    /// # Errors
    /// When the data directory cannot be used.
    pub async fn start(config: &Config) -> Result<Arc<Self>, Failure> {
        let shared = Shared::open(config).await?;
        let Shared { ground, access, messaging, alarms, tracer, memory, .. } = &shared;
        let Ground { clock, store, objects, logs, metrics, .. } = ground;
        let fleet = Arc::new(LocalFleet::new(launcher(config, &shared)?));
        let (control, reconciler, routes) = Control::new(sagebrush_control::Parts {
            account: ground.account.clone(),
            store: store.clone(),
            fleet: fleet.clone(),
            clock: clock.clone(),
            authorizer: access.clone(),
            watched: shared.watched.clone(),
        });
        let transforms = sagebrush_control::transform_job::Reconciler::new(
            &control,
            Arc::new(objects.clone()),
            logs.clone(),
            metrics.clone(),
        );
        let experiments = inference_experiment::Reconciler::new(control.clone());
        let autoscaler = Autoscaler::new(control.clone());
        let serving = serving::open(config, &shared, &routes).await?;
        let reconciler = reconciler.with_idle_after(config.idle_after).traced(tracer.clone());
        let machine = Arc::new(Machine::new(ground, memory.clone(), fleet.clone()));
        let metrics_told = otlp::metrics(config, ground, look(&machine, &serving));
        let tellers = Tellers { traces: shared.traces.clone(), metrics: metrics_told };
        let told = SageMakerMetrics::new(sagemaker::Parts {
            registry: metrics.clone(),
            metrics: shared.watched.metrics.clone(),
            clock: clock.clone(),
            look: Box::new(look(&machine, &serving)),
            routes: routes.clone(),
            fleet: fleet.watch(),
            gpus: config.nvidia_smi.clone().map(|program| Arc::new(NvidiaSmi(program)) as _),
        });
        let mut background = vec![
            task::spawn("endpoint-reconciler", reconciler.run()),
            task::spawn("transform-reconciler", transforms.traced(tracer.clone()).run()),
            task::spawn("experiment-reconciler", experiments.run()),
            task::spawn("autoscaler", autoscaler.clone().run()),
            task::spawn("meter-cleaner", forget_deleted(routes.clone(), serving.meters.clone())),
            task::spawn("blob-sweep", sweep(objects.clone())),
            task::spawn("log-sweep", logs.clone().sweep_for_ever()),
            task::spawn("sagemaker-metrics", told.run()),
        ];
        background.extend(messaging.start().into_iter().chain(alarms.run(Some(autoscaler))));
        Ok(Arc::new(Self {
            aws: shared.aws_door(control),
            serving,
            s3: s3_door(config, &shared),
            access_log: ground.access_log(config, &routes),
            metrics: metrics.clone(),
            measured: ground.measured.clone(),
            store: store.clone(),
            fleet,
            background,
            tellers,
            messaging: shared.messaging,
            machine,
            routes,
            stopping: AtomicBool::new(false),
        }))
    }

    /// Answers one request: tells the doors apart and knocks at the right one.
    pub(crate) async fn answer(&self, request: Request<Asked>) -> Answer {
        let (parts, body) = request.into_parts();
        let target = sagebrush_aws::route(&parts);
        match target {
            Target::Invoke { endpoint, kind } => {
                let asked = || AskedFor::new(&parts, &endpoint, kind);
                let asked = self.access_log.as_ref().map(|_| asked());
                let request = Request::from_parts(parts, body);
                let answer = self.invocation(&endpoint, kind, request).await;
                if let (Some(access), Some(asked)) = (&self.access_log, asked) {
                    access.answered(asked, &answer);
                }
                answer
            }
            Target::S3 => Box::pin(self.object(Request::from_parts(parts, body))).await,
            Target::Operations(page) => self.page(page, &parts.method).map(AnswerBody::Whole),
            target @ (Target::Json { .. }
            | Target::Cbor { .. }
            | Target::Query { .. }
            | Target::Unknown { .. }) => {
                let request = Request::from_parts(parts, body);
                Box::pin(self.aws.answer(target, request)).await.map(AnswerBody::Whole)
            }
        }
    }

    async fn invocation(
        &self,
        endpoint: &str,
        kind: InvokeKind,
        request: Request<Asked>,
    ) -> Answer {
        match kind {
            // Boxed, so that calls do not carry the room that these need.
            InvokeKind::Stream => {
                Box::pin(self.serving.stream(endpoint, request)).await.map(AnswerBody::streamed)
            }
            InvokeKind::RealTime | InvokeKind::Async => {
                self.serving.answer(endpoint, kind, request).await.map(AnswerBody::Whole)
            }
        }
    }

    async fn object(&self, request: Request<Asked>) -> Answer {
        self.s3.call(request.map(Patient::new)).await.map(AnswerBody::streamed)
    }

    fn page(&self, page: OperationsPage, method: &Method) -> Response<Full<Bytes>> {
        let (status, text) = match page {
            OperationsPage::Health => (StatusCode::OK, "ok\n".to_owned()),
            OperationsPage::Ready if self.stopping.load(Ordering::Relaxed) => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
            }
            // Before the first table, endpoints that are there would not be found.
            OperationsPage::Ready if !self.routes.has_changed() => {
                (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
            }
            OperationsPage::Ready => (StatusCode::OK, "ready\n".to_owned()),
            OperationsPage::Metrics => {
                look(&self.machine, &self.serving)();
                (StatusCode::OK, self.metrics.render())
            }
        };
        let body = if *method == Method::HEAD { String::new() } else { text };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }

    /// Says how many connections are open.
    pub(crate) fn connections(&self) -> Arc<Gauge> {
        let help = "Connections of clients that are open.";
        self.metrics.gauge("sagebrush_open_connections", help, Vec::new())
    }

    /// From now on `/readyz` says no.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.messaging.stop();
    }

    /// Ends the instances and closes the store. What is wanted stays in the store.
    pub async fn stop(&self) {
        self.serving.asynchronous.stop(); // First: no call fails because its instance ends.
        for task in &self.background {
            task.abort();
        }
        self.stop_fleet().await;
        self.serving.invoker.beside.flush(CLOSE_TIMEOUT).await; // No call is under way any more.
        self.tellers.stop(LAST_TELLING).await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time; it recovers at the next start");
        }
        self.flush_metrics().await;
    }

    async fn stop_fleet(&self) {
        let groups: Vec<_> = self.fleet.watch().borrow().keys().cloned().collect();
        for group in &groups {
            if let Err(error) = self.fleet.delete_group(group, INSTANCE_DRAIN).await {
                tracing::warn!(%error, %group, "a group could not be stopped");
            }
        }
        let mut view = self.fleet.watch();
        let gone = view.wait_for(|view| view.is_empty());
        if tokio::time::timeout(STOP_TIMEOUT, gone).await.is_err() {
            tracing::warn!("some instances were cut off");
        }
    }

    async fn flush_metrics(&self) {
        let measured = self.measured.clone();
        let flushed = task::blocking(move || measured.flush());
        if tokio::time::timeout(CLOSE_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("the last metrics were not written in time");
        }
    }
}

/// Sets the gauges that say how things are now.
fn look(
    machine: &Arc<Machine>,
    serving: &sagebrush_serving::Door,
) -> impl Fn() + Send + Sync + 'static {
    let (machine, serving) = (machine.clone(), serving.gauges());
    move || {
        machine.look();
        serving();
    }
}

fn launcher(config: &Config, shared: &Shared) -> Result<Launcher, Failure> {
    let Ground { objects, logs, metrics, .. } = &shared.ground;
    let data = config.data_dir.as_path();
    let objects = Arc::new(objects.clone());
    let limits = sagebrush_artifacts::Limits::default();
    let artifacts = ArtifactCache::open(objects, data.join("artifacts"), limits);
    let artifacts = artifacts.map_err(|error| unusable(data, &error))?;
    let onnx: Arc<dyn Runtime> = onnx(config).map_err(|error| unusable(data, &error))?;
    let catalogue = images::catalogue(config, &onnx).map_err(|error| match error {
        CatalogueError::Config(error) => Failure::Config(error),
        CatalogueError::Io(error) => unusable(data, &error),
    })?;
    Ok(Launcher {
        artifacts: Arc::new(artifacts),
        catalogue,
        log: logs.clone(),
        metrics: metrics.clone(),
        limits: config.limits,
        roles: shared.access.clone(),
    })
}

fn onnx(config: &Config) -> std::io::Result<Arc<OnnxRuntime>> {
    let settings = sagebrush_onnx::Settings::default();
    let graphs = config.data_dir.join("onnx-graphs");
    OnnxRuntime::keeping_graphs(config.onnxruntime.clone(), settings, graphs).map(Arc::new)
}

fn s3_door(config: &Config, shared: &Shared) -> S3Door {
    let Shared { ground, access, tracer, .. } = shared;
    let door = DoorConfig {
        account: config.account_id.clone(),
        region: config.region.clone(),
        domains: S3_DOMAINS.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    let (keys, clock) = (access.clone(), ground.clock.clone());
    let grant_of = move |access_key: &str, token: Option<&str>| {
        keys.secret(access_key, token, clock.now()).ok().map(Grant::into_owned)
    };
    S3Door::new(ground.objects.clone(), door, Arc::new(grant_of), access.clone())
        .traced(tracer.clone())
        .audited(ground.audit.clone())
}

/// Drops the metrics of endpoints that are gone.
async fn forget_deleted(mut routes: Routes, meters: Arc<Meters>) {
    while routes.changed().await.is_ok() {
        meters.retain(&routes.look());
    }
}

/// Removes what a crash left behind.
async fn sweep(objects: Objects) {
    match objects.sweep().await {
        Ok(0) => {}
        Ok(n_blobs) => tracing::info!(n_blobs, "swept up after a crash"),
        Err(error) => tracing::warn!(%error, "sweeping up failed"),
    }
}

fn unusable(data: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::Other(format!("cannot use the data directory {}: {reason}", data.display()))
}
