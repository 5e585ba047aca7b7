//! A container engine for tests: its containers are tasks that keep the container contract.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::channel::mpsc;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sagebrush_core::task;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Log = mpsc::UnboundedSender<Bytes>;

/// How a fake container ended.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    code: i64,
    oom_killed: bool,
}

/// What the images of this engine do when they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    Serves,
    /// Has the label of multi-model containers, and loads what it finds in its mount.
    HostsModels,
    /// Prints a line and ends with this code.
    Crashes(i64),
    /// Answers no ping.
    Mute,
    /// Has no program `serve`.
    Unstartable,
}

struct Running {
    body: Value,
    port: u16,
    end: watch::Sender<Option<End>>,
    server: Option<JoinHandle<()>>,
    logs: Option<mpsc::UnboundedReceiver<Bytes>>,
    log: Option<Log>,
    /// The weights of its models, by their names.
    models: BTreeMap<String, String>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) images: BTreeMap<String, Image>,
    /// What a pull of an image says, line by line; the image is there afterwards.
    pub(super) pulls: BTreeMap<String, Vec<Value>>,
    containers: BTreeMap<String, Running>,
    /// What was asked, but for waits and logs.
    pub(super) asked: Vec<String>,
    n_created: usize,
    /// What a creation waits for before it answers.
    pub(super) held: Option<watch::Receiver<bool>>,
}

/// The engine; its socket is in a folder of its own.
pub(super) struct FakeEngine {
    dir: tempfile::TempDir,
    state: Arc<Mutex<State>>,
}

impl FakeEngine {
    pub(super) fn start(images: &[(&str, Image)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = images.iter().map(|(name, image)| ((*name).to_owned(), *image)).collect();
        let state = Arc::new(Mutex::new(State { images, ..State::default() }));
        let listener = UnixListener::bind(dir.path().join("engine.sock")).unwrap();
        let at = state.clone();
        task::spawn("engine", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let at = at.clone();
                let service = service_fn(move |request| answer(request, at.clone()));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                task::spawn("engine connection", connection);
            }
        });
        Self { dir, state }
    }

    /// A folder of its own.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("engine.sock")
    }

    pub(super) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// The bodies that the containers were created with.
    pub(super) fn created(&self) -> Vec<Value> {
        self.state(|state| state.containers.values().map(|it| it.body.clone()).collect())
    }

    /// Adds a container as an earlier run left it.
    pub(super) fn leave(&self, id: &str, labels: &Value) {
        let running = Running {
            body: json!({"Labels": labels}),
            port: 0,
            end: watch::Sender::new(None),
            server: None,
            logs: None,
            log: None,
            models: BTreeMap::new(),
        };
        self.state(|state| state.containers.insert(id.to_owned(), running));
    }

    /// The models that containers have loaded.
    pub(super) fn models(&self) -> Vec<String> {
        self.state(|state| {
            state.containers.values().flat_map(|it| it.models.keys().cloned()).collect()
        })
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.state(|state| state.containers.keys().cloned().collect())
    }

    /// The kernel kills all containers for want of memory.
    pub(super) fn run_out_of_memory(&self) {
        self.state(|state| {
            for running in state.containers.values_mut() {
                running.finish(End { code: 137, oom_killed: true });
            }
        });
    }
}

impl State {
    /// True if it was there.
    fn note_model(&mut self, id: &str, name: &str, weights: String) -> bool {
        let models = &mut self.containers.get_mut(id).unwrap().models;
        models.insert(name.to_owned(), weights).is_some()
    }
}

impl Running {
    fn finish(&mut self, end: End) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.log = None;
        self.end.send_replace(Some(end));
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path().strip_prefix("/v1.41").unwrap().to_owned();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if !path.ends_with("/wait") && !path.ends_with("/logs") {
        state.lock().unwrap().asked.push(format!("{} {path}?{query}", head.method));
    }
    Ok(match (&head.method, &parts[..]) {
        (&Method::GET, ["images", .., "json"]) => inspect_image(&path, &state),
        (&Method::POST, ["images", "create"]) => pull(&query, &state),
        (&Method::GET, ["containers", "json"]) => list(&query, &state),
        (&Method::POST, ["containers", "create"]) => {
            let created = create(&body, &state);
            let held = state.lock().unwrap().held.clone();
            if let Some(mut held) = held {
                let _free = held.wait_for(|free| *free).await;
            }
            created
        }
        (&Method::POST, ["containers", id, "start"]) => start(id, &state).await,
        (&Method::GET, ["containers", id, "json"]) => inspect(id, &state),
        (&Method::GET, ["containers", id, "logs"]) => logs(id, &state),
        (&Method::POST, ["containers", id, "wait"]) => wait(id, &state).await,
        (&Method::POST, ["containers", id, "stop"]) => stop(id, &state),
        (&Method::DELETE, ["containers", id]) => remove(id, &state),
        other => panic!("{other:?}"),
    })
}

fn say(status: u16, body: &Value) -> Response<Body> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn missing(what: &str) -> Response<Body> {
    say(404, &json!({"message": format!("No such {what}")}))
}

fn digest(name: &str) -> String {
    let repository = name.split(':').next().unwrap();
    format!("{repository}@sha256:{}", "ab".repeat(32))
}

fn inspect_image(path: &str, state: &Mutex<State>) -> Response<Body> {
    let name = path.strip_prefix("/images/").unwrap().strip_suffix("/json").unwrap();
    let Some(image) = state.lock().unwrap().images.get(name).copied() else {
        return missing("image");
    };
    let labels = match image {
        Image::HostsModels => json!({"com.amazonaws.sagemaker.capabilities.multi-models": "true"}),
        Image::Serves | Image::Crashes(_) | Image::Mute | Image::Unstartable => Value::Null,
    };
    let config = json!({"Labels": labels});
    say(200, &json!({"Id": "sha256:id", "RepoDigests": [digest(name)], "Config": config}))
}

fn pull(query: &str, state: &Mutex<State>) -> Response<Body> {
    let mut state = state.lock().unwrap();
    let Some(lines) = state.pulls.get(query).cloned() else {
        return say(404, &json!({"message": "manifest unknown"}));
    };
    let parts: Vec<&str> = query.split(['=', '&']).collect();
    if !lines.iter().any(|line| line["error"].is_string()) {
        state.images.insert(format!("{}:{}", parts[1], parts[3]), Image::Serves);
    }
    let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    // In pieces that are no lines.
    let pieces: Vec<_> = text.as_bytes().chunks(7).map(Bytes::copy_from_slice).collect();
    Response::new(flow(futures::stream::iter(pieces)))
}

fn flow(stream: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(stream.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync()
}

fn list(query: &str, state: &Mutex<State>) -> Response<Body> {
    let filters = query.strip_prefix("all=1&filters=").unwrap();
    let filters = percent_encoding::percent_decode_str(filters).decode_utf8().unwrap();
    let filters: Value = serde_json::from_str(&filters).unwrap();
    let (name, value) = filters["label"][0].as_str().unwrap().split_once('=').unwrap();
    let state = state.lock().unwrap();
    let ours = state.containers.iter().filter(|(_, it)| it.body["Labels"][name] == value);
    let ids: Vec<_> = ours.map(|(id, _)| json!({"Id": id})).collect();
    say(200, &json!(ids))
}

fn create(body: &[u8], state: &Mutex<State>) -> Response<Body> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let mut state = state.lock().unwrap();
    state.n_created += 1;
    let id = format!("c{}", state.n_created);
    let (log, logs) = mpsc::unbounded();
    let end = watch::Sender::new(None);
    let (log, logs) = (Some(log), Some(logs));
    let models = BTreeMap::new();
    let running = Running { body, port: 0, end, server: None, logs, log, models };
    state.containers.insert(id.clone(), running);
    say(201, &json!({"Id": id, "Warnings": []}))
}

async fn start(id: &str, state: &Arc<Mutex<State>>) -> Response<Body> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut locked = state.lock().unwrap();
    let Some(running) = locked.containers.get(id) else { return missing("container") };
    let image = locked.images[running.body["Image"].as_str().unwrap()];
    let running = locked.containers.get_mut(id).unwrap();
    let log = running.log.clone().unwrap();
    print(&log, 1, "star");
    print(&log, 2, "a warning\n");
    print(&log, 1, "ted\n");
    match image {
        Image::Unstartable => {
            let message = "exec: \"serve\": executable file not found in $PATH";
            return say(400, &json!({"message": message}));
        }
        Image::Crashes(code) => {
            print(&log, 2, "no module named torch");
            drop(log);
            running.finish(End { code, oom_killed: false });
        }
        Image::Serves | Image::HostsModels | Image::Mute => {
            running.port = listener.local_addr().unwrap().port();
            let pings = image != Image::Mute;
            let model = model(listener, pings, id.to_owned(), state.clone());
            running.server = Some(task::spawn("model", model));
        }
    }
    say(204, &Value::Null)
}

fn print(log: &Log, stream: u8, text: &str) {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    let frame = [&[stream, 0, 0, 0], &length[..], text.as_bytes()].concat();
    log.unbounded_send(Bytes::from(frame)).unwrap();
}

/// The program in the container. Its connections end with it.
async fn model(listener: TcpListener, pings: bool, id: String, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (id, state) = (id.clone(), state.clone());
        let service = service_fn(move |request| invoked(request, pings, id.clone(), state.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(connection);
    }
}

async fn invoked(
    request: Request<Incoming>,
    pings: bool,
    id: String,
    state: Arc<Mutex<State>>,
) -> io::Result<Response<Full<Bytes>>> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let mut response = Response::new(Full::new(body.clone()));
    match (path.as_str(), &body[..]) {
        ("/ping", _) if pings => {}
        ("/invocations", b"crash") => {
            let end = End { code: 3, oom_killed: false };
            state.lock().unwrap().containers.get_mut(&id).unwrap().finish(end);
            return Err(io::Error::other("it crashed"));
        }
        ("/invocations", _) => {}
        _ if path.starts_with("/models") => {
            let load = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, text) = models(&method, &path, &load, &id, &state).await;
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            *response.body_mut() = Full::new(Bytes::from(text));
        }
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// What a multi-model container answers. Its models do as their weights say.
async fn models(
    method: &Method,
    path: &str,
    load: &Value,
    id: &str,
    state: &Mutex<State>,
) -> (u16, String) {
    if let (&Method::POST, "/models") = (method, path) {
        let (name, url) = (load["model_name"].as_str().unwrap(), load["url"].as_str().unwrap());
        let weights = {
            let mut state = state.lock().unwrap();
            let running = state.containers.get_mut(id).unwrap();
            let mounts = running.body["HostConfig"]["Mounts"].as_array().unwrap().clone();
            let mount = mounts.iter().find(|it| it["Target"] == "/opt/ml/models").unwrap();
            let inside = Path::new(url).strip_prefix("/opt/ml/models").unwrap();
            let source = Path::new(mount["Source"].as_str().unwrap());
            std::fs::read_to_string(source.join(inside).join("weights")).unwrap()
        };
        match weights.as_str() {
            "huge" => return (507, "no memory".to_owned()),
            "bad" => return (400, "bad weights".to_owned()),
            _ => {}
        }
        let is_slow = weights == "slow";
        let is_known = state.lock().unwrap().note_model(id, name, weights);
        let status = if is_known { 409 } else { 200 };
        if is_slow {
            std::future::pending::<()>().await;
        }
        return (status, String::new());
    }
    let name = path.split('/').nth(2).unwrap();
    let mut state = state.lock().unwrap();
    let known = &mut state.containers.get_mut(id).unwrap().models;
    let found = match *method {
        Method::DELETE => known.remove(name),
        _ => known.get(name).cloned(),
    };
    found.map_or_else(|| (404, "unknown model".to_owned()), |weights| (200, weights))
}

fn inspect(id: &str, state: &Mutex<State>) -> Response<Body> {
    let state = state.lock().unwrap();
    let Some(running) = state.containers.get(id) else { return missing("container") };
    let end = *running.end.borrow();
    let binding = json!([{"HostIp": "127.0.0.1", "HostPort": running.port.to_string()}]);
    let ports = if end.is_none() { json!({"8080/tcp": binding}) } else { json!({}) };
    let End { code, oom_killed } = end.unwrap_or_default();
    let status =
        json!({"Running": end.is_none(), "ExitCode": code, "OOMKilled": oom_killed, "Pid": 7});
    say(200, &json!({"State": status, "NetworkSettings": {"Ports": ports}}))
}

fn logs(id: &str, state: &Mutex<State>) -> Response<Body> {
    let mut state = state.lock().unwrap();
    let Some(running) = state.containers.get_mut(id) else { return missing("container") };
    Response::new(flow(running.logs.take().unwrap()))
}

async fn wait(id: &str, state: &Mutex<State>) -> Response<Body> {
    let end = state.lock().unwrap().containers.get(id).map(|it| it.end.subscribe());
    let Some(mut end) = end else { return missing("container") };
    let _ended = end.wait_for(Option::is_some).await;
    say(200, &json!({"StatusCode": 0}))
}

fn stop(id: &str, state: &Mutex<State>) -> Response<Body> {
    let mut state = state.lock().unwrap();
    let Some(running) = state.containers.get_mut(id) else { return missing("container") };
    running.finish(End { code: 143, oom_killed: false });
    say(204, &Value::Null)
}

fn remove(id: &str, state: &Mutex<State>) -> Response<Body> {
    match state.lock().unwrap().containers.remove(id) {
        Some(mut running) => {
            running.finish(End { code: 137, oom_killed: false });
            say(204, &Value::Null)
        }
        None => missing("container"),
    }
}

/// Where no engine is.
pub(super) fn nowhere(dir: &Path) -> PathBuf {
    dir.join("none.sock")
}
