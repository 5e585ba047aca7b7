//! The client against servers that say exactly what a test wants.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use sagebrush_core::task;
use sagebrush_core::worker::{
    BatchStrategy, ExecutionParameters, Payload, Reply, Session, Timings, WorkerError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::failure::CallFailure;
use super::testing::{call, until};
use super::{Address, ContractClient, HealthCheck, Paths, Pulse, until_sick};

/// What a server does with one request.
#[derive(Clone)]
enum Step {
    Say(String),
    /// Says it and closes the connection.
    Last(String),
    /// Never answers.
    Wait,
}

#[derive(Default)]
struct Seen {
    /// Per connection, its requests.
    requests: Vec<Vec<String>>,
    closed: usize,
}

struct Server {
    client: ContractClient,
    seen: Arc<Mutex<Seen>>,
}

/// A server whose n-th connection carries out the n-th script.
async fn server(scripts: Vec<Vec<Step>>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let at = seen.clone();
    task::spawn("server", async move {
        for (index, script) in scripts.into_iter().enumerate() {
            let (stream, _) = listener.accept().await.unwrap();
            at.lock().unwrap().requests.push(Vec::new());
            task::spawn("connection", serve(stream, script, index, at.clone()));
        }
    });
    Server { client: ContractClient::new(Address::Port(port), Paths::default(), 8), seen }
}

async fn serve(mut stream: TcpStream, script: Vec<Step>, index: usize, seen: Arc<Mutex<Seen>>) {
    for step in script {
        let Some(request) = request(&mut stream).await else { break };
        seen.lock().unwrap().requests[index].push(request);
        match step {
            Step::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Step::Last(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                return;
            }
            Step::Wait => {}
        }
    }
    while stream.read_u8().await.is_ok() {}
    seen.lock().unwrap().closed += 1;
}

/// A whole request, by its `content-length`.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.ok()?));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(text + &String::from_utf8(body).unwrap())
}

fn ok(body: &str) -> Step {
    Step::Say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

impl Server {
    async fn text(&self, body: &str) -> String {
        let Reply { payload, .. } = self.client.invoke(call(body)).await.unwrap();
        String::from_utf8(payload.body.to_vec()).unwrap()
    }

    fn connections(&self) -> Vec<usize> {
        self.seen.lock().unwrap().requests.iter().map(Vec::len).collect()
    }
}

async fn broken(server: &Server) -> String {
    match server.client.invoke(call("x")).await {
        Err(CallFailure::Broken { reason }) => reason,
        Err(failure @ (CallFailure::Final(_) | CallFailure::NotSent { .. })) => {
            panic!("{failure:?}")
        }
        Ok(reply) => panic!("{reply:?}"),
    }
}

#[tokio::test]
async fn a_container_may_say_how_it_is_called_by_transform_jobs() {
    let said = r#"{"MaxConcurrentTransforms": 8, "BatchStrategy": "MULTI_RECORD", "New": 1}"#;
    let whole = ExecutionParameters {
        max_concurrent_transforms: Some(8),
        batch_strategy: Some(BatchStrategy::MultiRecord),
        max_payload_mb: None,
    };
    let missing = Step::Say("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned());
    let server = server(vec![vec![ok(said), missing, ok("not JSON"), ok("{}")]]).await;
    for wanted in [Some(whole), None, None, Some(ExecutionParameters::default())] {
        assert_eq!(server.client.execution_parameters().await, wanted);
    }
    let seen = server.seen.lock().unwrap();
    assert!(seen.requests[0][0].starts_with("GET /execution-parameters HTTP/1.1\r\n"));
}

#[tokio::test]
async fn only_the_headers_of_the_api_go_on() {
    let server = server(vec![vec![ok("")]]).await;
    let mut call = call("hello");
    call.accept = Some("application/json".to_owned());
    call.target_model = Some("a.tar.gz".to_owned());
    call.headers = vec![
        ("x-amzn-sagemaker-custom-attributes", "trace=1".to_owned()),
        ("connection", "close".to_owned()),
        ("transfer-encoding", "chunked".to_owned()),
        ("content-length", "1".to_owned()),
        ("x-amzn-sagemaker-session-id", "broken\r\nx: y".to_owned()),
    ];
    server.client.invoke(call).await.unwrap();
    let seen = server.seen.lock().unwrap();
    let (head, body) = seen.requests[0][0].split_once("\r\n\r\n").unwrap();
    let mut head: Vec<&str> = head.lines().collect();
    assert!(head[5].starts_with("host: localhost:"), "{head:?}");
    head.remove(5);
    let want = [
        "POST /invocations HTTP/1.1",
        "content-type: text/plain",
        "accept: application/json",
        "x-amzn-sagemaker-target-model: a.tar.gz",
        "x-amzn-sagemaker-custom-attributes: trace=1",
        "content-length: 5",
    ];
    assert_eq!((head, body), (want.to_vec(), "hello"));
}

#[tokio::test]
async fn a_connection_serves_many_calls() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let server = server(vec![vec![ok("1"), Step::Say(chunked.to_owned()), ok("3")]]).await;
    assert_eq!(server.text("").await, "1");
    assert_eq!(server.text("").await, "abcde");
    assert_eq!(server.text("").await, "3");
    assert_eq!(server.connections(), [3]);
}

#[tokio::test]
async fn a_reply_with_all_that_a_model_may_set() {
    let text = "HTTP/1.1 201 Created\r\ncontent-type: text/csv\r\nx-other: 1\r\n\
                x-amzn-sagemaker-custom-attributes: a=1;b\r\n\
                x-amzn-sagemaker-closed-session-id: s-1\r\ncontent-length: 1\r\n\r\n7";
    let server = server(vec![vec![Step::Say(text.to_owned())]]).await;
    let reply = server.client.invoke(call("")).await.unwrap();
    assert_eq!(reply.payload.content_type.as_deref(), Some("text/csv"));
    assert_eq!(reply.custom_attributes.as_deref(), Some("a=1;b"));
    assert_eq!(reply.session, Some(Session::Closed("s-1".to_owned())));
    assert_eq!(&reply.payload.body[..], b"7");
}

#[tokio::test]
async fn an_error_comes_with_its_words_and_they_are_cut() {
    let long = "x".repeat(100 << 10);
    let error = |status: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/x\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let scripts = vec![
        vec![Step::Say(error("422 Bad", "no field a")), Step::Say(error("500 Oh", &long))],
        vec![ok("on a new connection")],
    ];
    let server = server(scripts).await;
    let check = |failure: CallFailure, want_status: u16, want: &str| {
        let CallFailure::Final(WorkerError::Model { status, message, content_type }) = failure
        else {
            panic!("{failure:?}")
        };
        assert_eq!((status, message.as_str()), (want_status, want));
        assert_eq!(content_type.as_deref(), Some("text/x"));
    };
    check(server.client.invoke(call("")).await.unwrap_err(), 422, "no field a");
    check(server.client.invoke(call("")).await.unwrap_err(), 500, &long[..64 << 10]);
    assert_eq!(server.text("").await, "on a new connection");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_no_call() {
    let Step::Say(one) = ok("1") else { unreachable!() };
    // Closed while idle; then closed upon the next request, without a byte.
    let scripts =
        vec![vec![Step::Last(one)], vec![ok("2"), Step::Last(String::new())], vec![ok("3")]];
    let server = server(scripts).await;
    assert_eq!(server.text("").await, "1");
    assert_eq!(server.text("").await, "2");
    assert_eq!(server.text("").await, "3");
    assert_eq!(server.connections(), [1, 2, 1]);
}

#[tokio::test]
async fn a_call_that_may_have_been_seen_is_not_made_again() {
    let fresh = server(vec![vec![Step::Last(String::new())], vec![ok("no")]]).await;
    broken(&fresh).await;
    assert_eq!(fresh.connections(), [1]);

    let kept = server(vec![vec![ok("1"), Step::Last("HTTP/1.1 200".to_owned())], vec![ok("no")]]);
    let kept = kept.await;
    assert_eq!(kept.text("").await, "1");
    broken(&kept).await;
    assert_eq!(kept.connections(), [2]);

    let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123".to_owned();
    let half = server(vec![vec![Step::Last(half)], vec![ok("no")]]).await;
    broken(&half).await;
    assert_eq!(half.connections(), [1]);
}

#[tokio::test]
async fn nonsense_breaks_one_connection_and_not_the_next_call() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    for nonsense in ["SSH-2.0-OpenSSH\r\n\r\n".to_owned(), large, many] {
        let server = server(vec![vec![Step::Say(nonsense), ok("no")], vec![ok("fine")]]).await;
        broken(&server).await;
        assert_eq!(server.text("").await, "fine");
    }
}

/// The parts of a reply, as text, and why they ended early.
async fn in_parts(server: &Server) -> (Vec<String>, Option<CallFailure>) {
    let mut parts = server.client.stream(call("")).await.unwrap().parts;
    let mut texts = Vec::new();
    while let Some(part) = parts.next().await {
        match part {
            Ok(part) => texts.push(String::from_utf8(part.to_vec()).unwrap()),
            Err(failure) => return (texts, Some(failure)),
        }
    }
    (texts, None)
}

fn head(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n{rest}")
}

#[tokio::test]
async fn a_response_is_passed_on_in_parts_and_its_connection_kept() {
    let script = vec![Step::Say(head("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")), ok("whole"), ok("")];
    let server = server(vec![script]).await;
    let (texts, failure) = in_parts(&server).await;
    assert_eq!((texts.concat().as_str(), failure.is_none()), ("abcde", true));
    assert_eq!(in_parts(&server).await.0, ["whole"]);
    assert!(in_parts(&server).await.0.is_empty());
    assert_eq!(server.connections(), [3]);
}

#[tokio::test]
async fn a_part_is_there_before_the_next_and_who_drops_them_closes_the_connection() {
    let server = server(vec![vec![Step::Say(head("3\r\nabc\r\n"))], vec![ok("next")]]).await;
    let mut parts = server.client.stream(call("")).await.unwrap().parts;
    assert_eq!(parts.next().await.unwrap().unwrap(), "abc");
    drop(parts);
    until("the connection is closed", || server.seen.lock().unwrap().closed == 1).await;
    assert_eq!(server.text("").await, "next");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_broken() {
    let server = server(vec![vec![Step::Last(head("3\r\nabc\r\n5\r\nde"))]]).await;
    let (texts, failure) = in_parts(&server).await;
    assert_eq!(texts.concat(), "abcde");
    assert!(matches!(failure, Some(CallFailure::Broken { .. })), "{failure:?}");
}

#[tokio::test]
async fn an_error_instead_of_parts_is_the_calls() {
    let error = "HTTP/1.1 422 Bad\r\ncontent-length: 2\r\n\r\nno".to_owned();
    let server = server(vec![vec![Step::Say(error), ok("kept")]]).await;
    let failure = server.client.stream(call("")).await.err().unwrap();
    assert_eq!(failure.reason(), "the model answered 422: no");
    assert_eq!(server.text("").await, "kept");
    let mut late = call("");
    late.deadline = Instant::now() + Duration::from_millis(50);
    let failure = server.client.stream(late).await.err().unwrap();
    assert!(matches!(failure, CallFailure::Final(WorkerError::TimedOut)), "{failure:?}");
}

#[tokio::test]
async fn a_late_reply_is_given_up_and_its_connection_closed() {
    let server = server(vec![vec![Step::Wait], vec![ok("next")]]).await;
    let mut late = call("");
    late.deadline = Instant::now() + Duration::from_millis(50);
    let failure = server.client.invoke(late).await.unwrap_err();
    assert!(matches!(failure, CallFailure::Final(WorkerError::TimedOut)), "{failure:?}");
    until("the connection is closed", || server.seen.lock().unwrap().closed == 1).await;
    assert_eq!(server.text("").await, "next");
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_sent() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let client = ContractClient::new(Address::Port(port), Paths::default(), 1);
    let failure = client.invoke(call("")).await.unwrap_err();
    assert!(matches!(failure, CallFailure::NotSent { .. }), "{failure:?}");
    let error = failure.explained(async { "The process ended with exit code 3".to_owned() }).await;
    assert_eq!(error.to_string(), "the worker is gone: The process ended with exit code 3");
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_tried_again_only_if_the_container_has_ended() {
    let broken = || CallFailure::Broken { reason: "reset by peer".to_owned() };
    let ended = async { "The process ended with exit code 3".to_owned() };
    for (error, wanted, is_again) in [
        (broken().explained(ended).await, "The process ended with exit code 3 while it", true),
        (broken().explained(pending()).await, "The connection broke while the model", false),
    ] {
        let WorkerError::Died { message, once_more } = error else { panic!("{error:?}") };
        assert!(message.starts_with(wanted) && once_more == is_again, "{message}");
    }
}

#[tokio::test]
async fn a_ping_wants_exactly_200() {
    let no_content = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let unready = "HTTP/1.1 503 Not Yet\r\ncontent-length: 7\r\n\r\nloading".to_owned();
    let script = vec![ok("{\"status\":\"ok\"}"), Step::Say(no_content), Step::Say(unready)];
    let server = server(vec![script]).await;
    server.client.ping().await.unwrap();
    let reason = server.client.ping().await.unwrap_err().reason();
    assert_eq!(reason, "the model answered 204: ");
    let reason = server.client.ping().await.unwrap_err().reason();
    assert_eq!(reason, "the model answered 503: loading");
    assert_eq!(server.connections(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_container_is_found_but_a_busy_one_is_left_alone() {
    let server = server(vec![vec![Step::Wait]; 200]).await;
    let (check, pulse) = (HealthCheck::default(), Arc::new(Pulse::default()));
    let sick = || until_sick(&server.client, &pulse, check);
    let want = "it failed 5 pings in a row (the model did not answer in time)";
    let since = Instant::now();
    assert_eq!(sick().await, want);
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());

    let busy = pulse.begin();
    assert!(timeout(Duration::from_secs(600), sick()).await.is_err());
    pulse.begin().end::<Reply>(&Err(WorkerError::TimedOut));
    assert_eq!(sick().await, want);
    drop(busy);
}

#[tokio::test]
async fn a_good_ping_clears_the_bad_ones_but_a_reply_does_not() {
    let bad = Step::Say("HTTP/1.1 503 Oh\r\ncontent-length: 2\r\n\r\nno".to_owned());
    let script = [bad.clone(), bad.clone(), ok(""), bad.clone(), bad.clone(), bad];
    let server = server(vec![script.to_vec()]).await;
    let check = HealthCheck { interval: Duration::from_millis(1), failures: 3 };
    let pulse = Arc::new(Pulse::default());
    let reply = Reply {
        payload: Payload::default(),
        custom_attributes: None,
        session: None,
        timings: Timings::default(),
    };
    pulse.begin().end(&Ok(reply));
    let reason = until_sick(&server.client, &pulse, check).await;
    assert_eq!(reason, "it failed 3 pings in a row (the model answered 503: no)");
    assert_eq!(server.connections(), [6]);
}

#[tokio::test]
async fn a_body_that_is_refused_before_it_is_read_has_its_answer() {
    for linger in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        task::spawn("server", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 100];
            stream.read_exact(&mut head).await.unwrap();
            let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large";
            stream.write_all(answer.as_bytes()).await.unwrap();
            while linger && stream.read_u8().await.is_ok() {}
        });
        let client = ContractClient::new(Address::Port(port), Paths::default(), 1);
        let failure = client.invoke(call(&"x".repeat(16 << 20))).await.unwrap_err();
        assert_eq!(failure.reason(), "the model answered 413: too large", "{linger}");
    }
}

#[tokio::test]
async fn a_reply_too_many_is_not_the_next_calls() {
    let (Step::Say(one), Step::Say(two)) = (ok("1"), ok("wrong")) else { unreachable!() };
    let server = server(vec![vec![Step::Say(one + &two), ok("wrong")], vec![ok("2")]]).await;
    assert_eq!(server.text("").await, "1");
    assert_eq!(server.text("").await, "2");
    assert_eq!(server.connections(), [1, 1]);
}
