//! Connections over real sockets, with little patience.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::asked::Asked;
use super::*;

const HASTY: Patience = Patience {
    look: Duration::from_millis(50),
    n_looks: 3,
    rest: Duration::from_secs(20),
    reply: Duration::from_millis(300),
    linger: Duration::from_millis(200),
};
const GET: &[u8] = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n";
/// More than the system holds for a socket.
const LONG: usize = 64 << 20;

/// What the made-up service has seen.
#[derive(Default)]
struct Seen {
    n_begun: AtomicUsize,
    n_dropped: AtomicUsize,
    changed: Notify,
}

/// Counts a call that is dropped before its end.
struct Call(Arc<Seen>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.n_dropped.fetch_add(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

async fn answer(seen: Arc<Seen>, request: Request<Asked>) -> Response<Full<Bytes>> {
    seen.n_begun.fetch_add(1, Ordering::SeqCst);
    let call = Call(seen.clone());
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/refused" => drop(body),
        _ => drop(body.collect().await.unwrap()),
    }
    match head.uri.path() {
        "/never" => {
            seen.changed.notify_one();
            std::future::pending::<()>().await;
        }
        "/slow" => tokio::time::sleep(HASTY.look * 5).await,
        _ => {}
    }
    std::mem::forget(call); // It came to its end.
    drop(seen);
    match head.uri.path() {
        "/long" => Response::new(Full::new(Bytes::from(vec![7; LONG]))),
        _ => Response::new(Full::new(Bytes::from_static(b"done"))),
    }
}

/// A client and the connection that serves it.
async fn connect(seen: &Arc<Seen>) -> (TcpStream, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let seat = Open::new(4, Arc::default()).seat().await.unwrap();
    let seen = seen.clone();
    let answer = move |request| answer(seen.clone(), request);
    let serving = task::spawn("connection", connection::serve(stream, seat, HASTY, answer));
    (client, serving)
}

/// Reads one short reply, which says "done".
async fn read_done(client: &mut TcpStream) {
    let mut said = Vec::new();
    while !said.ends_with(b"done") {
        let n_bytes = client.read_buf(&mut said).await.unwrap();
        assert!(n_bytes > 0, "{}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn a_connection_rests_and_wakes() {
    let (seen, pauses) = (Arc::<Seen>::default(), [0, 1, 4, 0, 4]);
    let (mut client, serving) = connect(&seen).await;
    for looks in pauses {
        tokio::time::sleep(HASTY.look * looks).await;
        client.write_all(GET).await.unwrap();
        read_done(&mut client).await;
    }
    drop(client);
    serving.await.unwrap();
    assert_eq!(seen.n_begun.load(Ordering::SeqCst), pauses.len());
}

#[tokio::test]
async fn a_head_in_pieces_is_one_head() {
    let seen = Arc::default();
    let (mut client, _serving) = connect(&seen).await;
    for _ in 0..2 {
        let (one, rest) = GET.split_at(1);
        let (two, three) = rest.split_at(20);
        for piece in [one, two, three] {
            client.write_all(piece).await.unwrap();
            tokio::time::sleep(HASTY.look / 2).await;
        }
        read_done(&mut client).await;
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let seen = Arc::<Seen>::default();
    let (mut client, serving) = connect(&seen).await;
    // Each byte is a sign of life, and none ends the head.
    let trickle = async {
        client.write_all(b"GET /short HTTP/1.1\r\nx: ").await.unwrap();
        while !serving.is_finished() && client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(HASTY.look / 5).await;
        }
    };
    tokio::time::timeout(HASTY.look * 40, trickle).await.unwrap();
    serving.await.unwrap();
    assert_eq!(seen.n_begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_rest_of_a_refused_body_is_no_request() {
    let seen = Arc::<Seen>::default();
    let (mut client, serving) = connect(&seen).await;
    let head = b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    client.write_all(head).await.unwrap();
    read_done(&mut client).await;
    tokio::time::sleep(HASTY.look * 3).await;
    let _sent = client.write_all(GET).await;
    let mut said = Vec::new();
    let _read = client.read_to_end(&mut said).await;
    assert_eq!(String::from_utf8_lossy(&said), "");
    serving.await.unwrap();
    assert_eq!(seen.n_begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_takes_longer_than_a_look_is_not_cut_off() {
    let seen = Arc::default();
    let (mut client, _serving) = connect(&seen).await;
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_done(&mut client).await;
    client.write_all(GET).await.unwrap();
    read_done(&mut client).await;
}

#[tokio::test]
async fn a_reply_that_is_not_taken_ends_the_connection() {
    let seen = Arc::default();
    let (mut client, serving) = connect(&seen).await;
    client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::timeout(HASTY.reply * 20, serving).await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn a_long_reply_that_is_taken_is_whole() {
    let seen = Arc::default();
    let (mut client, _serving) = connect(&seen).await;
    client.write_all(b"GET /long HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    assert!(said.len() > LONG, "{}", said.len());
}

#[tokio::test]
async fn a_caller_who_goes_away_drops_its_call() {
    for body in ["\r\n", "content-length: 4\r\n\r\n1234"] {
        let seen = Arc::<Seen>::default();
        let (mut client, serving) = connect(&seen).await;
        let head = format!("POST /never HTTP/1.1\r\nhost: x\r\n{body}");
        client.write_all(head.as_bytes()).await.unwrap();
        seen.changed.notified().await;
        drop(client);
        seen.changed.notified().await;
        assert_eq!(seen.n_dropped.load(Ordering::SeqCst), 1, "{body}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn those_at_rest_end_at_once_and_calls_are_finished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (open, seen) = (Open::new(4, Arc::default()), Arc::<Seen>::default());
    let mut clients = Vec::new();
    for request in ["", "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (seat, seen) = (open.seat().await.unwrap(), seen.clone());
        let answer = move |request| answer(seen.clone(), request);
        task::spawn("connection", connection::serve(stream, seat, HASTY, answer));
        client.write_all(request.as_bytes()).await.unwrap();
        clients.push(client);
    }
    while seen.n_begun.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let [mut resting, mut calling] = clients.try_into().unwrap();
    let called = async {
        let mut said = String::new();
        calling.read_to_string(&mut said).await.unwrap();
        said
    };
    let ((), said) = tokio::join!(open.stop(), called);
    assert!(said.ends_with("done"), "{said}");
    assert_eq!(resting.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn http2_is_told_by_its_first_bytes() {
    let seen = Arc::default();
    let (client, _serving) = connect(&seen).await;
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(client);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    task::spawn("client", async move { connection.await.unwrap() });
    let request = Request::get("http://x/short").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}
