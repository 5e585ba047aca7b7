//! Joins the crates into one server. The order is that of the layers: store, objects, artifacts,
//! runtimes, fleet, control, serving, doors.

mod ground;
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
use sagebrush_aws::sigv4::{Credentials as _, Keys, StaticKeys, TemporaryKeys, Verifier};
use sagebrush_aws::{BodyMemory, InvokeKind, Target};
use sagebrush_control::Control;
use sagebrush_control::instance::{Launcher, LocalFleet};
use sagebrush_core::fleet::Fleet;
use sagebrush_core::metrics::Registry;
use sagebrush_core::route::Routes;
use sagebrush_core::store::StoreError;
use sagebrush_core::worker::Runtime;
use sagebrush_core::{AccountId, Clock, task};
use sagebrush_messaging::Messaging;
use sagebrush_objects::{DoorConfig, Objects, S3Door};
use sagebrush_onnx::OnnxRuntime;
use sagebrush_serving::invoke::Invoker;
use sagebrush_serving::{AsyncInference, Meters, Settings, async_inference};
use sagebrush_store::SqliteStore;
use sagebrush_telemetry::logs::{self, LogStore};
use sagebrush_telemetry::metrics::{self, CloudWatch, MetricStore};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use self::ground::Ground;
use crate::answer::{Answer, AnswerBody};
use crate::config::Config;
use crate::failure::Failure;
use crate::images::{self, CatalogueError};
use crate::secrets::master_secret;
use crate::server::asked::Asked;
use crate::server::patient::Patient;

/// Names that stand for this server in virtual-host requests.
const S3_DOMAINS: &[&str] = &["localhost", "s3.localhost"];

/// How long the end of the server waits for its instances.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long their calls may take of it. Less, so that there is time to end what runs too long.
const INSTANCE_DRAIN: Duration = Duration::from_secs(8);
/// How long it waits for its store.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server, but for its listener.
pub struct App {
    aws: sagebrush_aws::Door,
    serving: sagebrush_serving::Door,
    s3: S3Door,
    metrics: Registry,
    measured: Arc<MetricStore>,
    store: Arc<SqliteStore>,
    fleet: Arc<LocalFleet>,
    background: Vec<JoinHandle<()>>,
    messaging: Messaging,
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
        let ground = Ground::lay(config).await?;
        let Ground { data, clock, account, store, objects, logs, measured, metrics } = &ground;
        let fleet = Arc::new(LocalFleet::new(launcher(config, objects, logs, metrics)?));
        let master = master_secret(data).map_err(|error| unusable(data, &error))?;
        let messaging = messaging(store, clock, account, (&master, metrics)).await;
        let messaging = messaging.map_err(|error| unusable(data, &error))?;
        let cloudwatch = CloudWatch::new(measured.clone(), store.clone(), clock.clone());
        let (control, reconciler, routes) = Control::new(sagebrush_control::Parts {
            temporary_keys: TemporaryKeys::new(master),
            store: store.clone(),
            fleet: fleet.clone(),
            clock: clock.clone(),
            watched: watched::open(&ground),
        });
        let transforms = sagebrush_control::transform_job::Reconciler::new(
            &control,
            Arc::new(objects.clone()),
            logs.clone(),
            metrics.clone(),
        );
        let keys = keys(config, master);
        let verifier = Arc::new(Verifier::new(keys.clone(), clock.clone()));
        let memory = usize::try_from(config.max_body_memory).unwrap_or(usize::MAX);
        let memory = BodyMemory::new(memory);
        let api = sagebrush_control::operations().serve(control);
        let api = api.and(logs::operations().serve(logs.clone())).and(messaging.api());
        let api = api.and(metrics::operations().serve(cloudwatch));
        let meters = Arc::new(Meters::new(metrics.clone()));
        let first_routes = routes.clone();
        let invoker = Invoker {
            routes: routes.clone(),
            account: account.clone(),
            chance: rand::random::<f32>,
        };
        let asynchronous = async_inference::Parts {
            store: store.clone(),
            objects: Arc::new(objects.clone()),
            publisher: messaging.publisher(),
            invoker: invoker.clone(),
            clock: clock.clone(),
            log: logs.clone(),
            metrics: metrics.clone(),
            spool: data.join("async-input"),
        };
        let asynchronous = AsyncInference::open(asynchronous).await;
        let asynchronous = asynchronous.map_err(|error| unusable(data, &error))?;
        let mut background = vec![
            task::spawn("endpoint-reconciler", reconciler.with_idle_after(config.idle_after).run()),
            task::spawn("transform-reconciler", transforms.run()),
            task::spawn("meter-cleaner", forget_deleted(routes.clone(), meters.clone())),
            task::spawn("blob-sweep", sweep(objects.clone())),
        ];
        background.extend(messaging.start());
        Ok(Arc::new(Self {
            aws: sagebrush_aws::Door::new(api, verifier.clone(), account.clone(), memory.clone()),
            serving: serving_door(config, memory, invoker, asynchronous, verifier, meters),
            s3: s3_door(config, objects.clone(), keys, clock.clone()),
            metrics: metrics.clone(),
            measured: measured.clone(),
            store: store.clone(),
            fleet,
            background,
            messaging,
            routes: first_routes,
            stopping: AtomicBool::new(false),
        }))
    }

    /// Answers one request: tells the doors apart and knocks at the right one.
    pub(crate) async fn answer(&self, request: Request<Asked>) -> Answer {
        let (parts, body) = request.into_parts();
        let target = sagebrush_aws::route(&parts);
        let request = Request::from_parts(parts, body);
        match target {
            // Boxed, so that calls do not carry the room that these need.
            Target::Invoke { endpoint, kind: InvokeKind::Stream } => {
                Box::pin(self.serving.stream(&endpoint, request)).await.map(AnswerBody::streamed)
            }
            Target::Invoke { endpoint, kind } => {
                self.serving.answer(&endpoint, kind, request).await.map(AnswerBody::Whole)
            }
            Target::S3 => Box::pin(self.object(request)).await,
            Target::Operations(page) => self.page(page, request.method()).map(AnswerBody::Whole),
            target @ (Target::Json { .. }
            | Target::Cbor { .. }
            | Target::Query { .. }
            | Target::Unknown { .. }) => {
                Box::pin(self.aws.answer(target, request)).await.map(AnswerBody::Whole)
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
            OperationsPage::Ready if !self.routes.has_changed().unwrap_or(true) => {
                (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
            }
            OperationsPage::Ready => (StatusCode::OK, "ready\n".to_owned()),
            OperationsPage::Metrics => {
                self.serving.meters.look(&self.serving.invoker.routes.borrow());
                self.serving.asynchronous.look();
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
        if tokio::time::timeout(CLOSE_TIMEOUT, self.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time; it recovers at the next start");
        }
        self.flush_metrics().await;
    }

    async fn flush_metrics(&self) {
        let measured = self.measured.clone();
        let flushed = task::blocking(move || measured.flush());
        if tokio::time::timeout(CLOSE_TIMEOUT, flushed).await.is_err() {
            tracing::warn!("the last metrics were not written in time");
        }
    }
}

fn launcher(
    config: &Config,
    objects: &Objects,
    logs: &Arc<LogStore>,
    metrics: &Registry,
) -> Result<Launcher, Failure> {
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
    })
}

/// Topics and queues. The secrets of topics are made from another secret than session keys.
async fn messaging(
    store: &Arc<SqliteStore>,
    clock: &Arc<dyn Clock>,
    account: &AccountId,
    (master, metrics): (&[u8; 32], &Registry),
) -> Result<Messaging, StoreError> {
    let mut secret = Sha256::new();
    secret.update(b"sagebrush topics ");
    secret.update(master);
    let parts = sagebrush_messaging::Parts {
        store: store.clone(),
        clock: clock.clone(),
        account: account.clone(),
        secret: secret.finalize().into(),
        metrics: metrics.clone(),
    };
    Messaging::open(parts).await
}

fn onnx(config: &Config) -> std::io::Result<Arc<OnnxRuntime>> {
    let settings = sagebrush_onnx::Settings::default();
    let graphs = config.data_dir.join("onnx-graphs");
    OnnxRuntime::keeping_graphs(config.onnxruntime.clone(), settings, graphs).map(Arc::new)
}

fn keys(config: &Config, master: [u8; 32]) -> Arc<Keys> {
    let fixed = StaticKeys::default().with(&config.access_key, &config.secret_key);
    Arc::new(Keys { fixed, temporary: TemporaryKeys::new(master) })
}

fn serving_door(
    config: &Config,
    body_memory: BodyMemory,
    invoker: Invoker,
    asynchronous: AsyncInference,
    verifier: Arc<Verifier>,
    meters: Arc<Meters>,
) -> sagebrush_serving::Door {
    let max_payload = usize::try_from(config.max_payload_bytes).unwrap_or(usize::MAX);
    sagebrush_serving::Door {
        invoker,
        asynchronous,
        verifier,
        meters,
        settings: Settings { max_payload, body_memory },
    }
}

fn s3_door(config: &Config, objects: Objects, keys: Arc<Keys>, clock: Arc<dyn Clock>) -> S3Door {
    let door = DoorConfig {
        account: config.account_id.clone(),
        region: config.region.clone(),
        domains: S3_DOMAINS.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    let secret_of = move |access_key: &str, token: Option<&str>| {
        keys.secret(access_key, token, clock.now()).ok().map(|grant| grant.secret.to_string())
    };
    S3Door::new(objects, door, Arc::new(secret_of))
}

/// Drops the metrics of endpoints that are gone.
async fn forget_deleted(mut routes: Routes, meters: Arc<Meters>) {
    while routes.changed().await.is_ok() {
        let table = routes.borrow_and_update().clone();
        meters.retain(&table);
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
