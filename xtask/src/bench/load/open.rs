//! Calls at fixed times, whatever becomes of those before: what is late counts as late.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::deck::Deck;
use super::schedule::Schedule;
use super::tally::Tally;
use super::timer::Timer;

/// How late a call is taken for a sign that there are too few connections.
const LATE: Duration = Duration::from_millis(1);

/// How calls are offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) per_second: f64,
    pub(crate) time: Duration,
    /// At the start, and at most: more are opened while calls are late.
    pub(crate) connections: (usize, usize),
    /// How long calls that were sent may take beyond the end.
    pub(crate) grace: Duration,
}

struct State<'a> {
    deck: &'a Deck<'a>,
    schedule: Schedule,
    began: Instant,
    end: Instant,
    most: usize,
    /// Whoever holds it waits for the next call's time; the others wait for it.
    turn: Mutex<Timer>,
    taken: Cell<usize>,
    connections: Cell<usize>,
    /// Another connection is wanted.
    wanted: Notify,
    in_flight: Cell<u64>,
    tally: RefCell<Tally>,
}

/// Offers the calls. A call that finds no connection waits for one; its time runs. Calls that
/// still wait at the end are never sent.
pub(crate) async fn open(deck: &Deck<'_>, offer: Offer) -> Result<Tally> {
    let began = Instant::now();
    let (first, most) = offer.connections;
    let state = State {
        deck,
        schedule: Schedule::new(offer.per_second, offer.time),
        began,
        end: began + offer.time,
        most,
        turn: Mutex::new(Timer::new()?),
        taken: Cell::new(0),
        connections: Cell::new(first),
        wanted: Notify::new(),
        in_flight: Cell::new(0),
        tally: RefCell::new(Tally::new()?),
    };
    let mut callers: FuturesUnordered<_> = (0..first).map(|_| state.call_on()).collect();
    let all = async {
        loop {
            tokio::select! {
                ended = callers.next() => match ended {
                    Some(ended) => ended?,
                    None => return Ok(()),
                },
                () = state.wanted.notified() => {
                    state.connections.set(state.connections.get() + 1);
                    callers.push(state.call_on());
                }
            }
        }
    };
    let ended = timeout_at(state.end + offer.grace, all).await;
    ended.unwrap_or(Ok::<(), anyhow::Error>(()))?;
    drop(callers);
    let unsent = state.schedule.calls().saturating_sub(state.taken.get());
    let mut tally = state.tally.into_inner();
    tally.hung = state.in_flight.get();
    tally.unsent = u64::try_from(unsent)?;
    Ok(tally)
}

impl State<'_> {
    /// Takes one call after the other, until there are no more.
    async fn call_on(&self) -> Result<()> {
        let mut connection = Connection::new(self.deck.address);
        // A call should not have to wait for its connection. Should this fail, the call says so.
        let _connected = connection.connect().await;
        while let Some((n, planned)) = self.take().await? {
            let (request, expected) = self.deck.card(n)?;
            self.in_flight.set(self.in_flight.get() + 1);
            let sent = Instant::now();
            let answer = connection.call(request).await;
            self.in_flight.set(self.in_flight.get() - 1);
            let (late, took) = (planned.elapsed(), sent.elapsed());
            let mut tally = self.tally.borrow_mut();
            let before = tally.right();
            tally.take(&answer, expected, late, took);
            if Instant::now() > self.end {
                tally.after_end += tally.right() - before;
            }
        }
        Ok(())
    }

    /// The next call and the time it was to begin, once that has come.
    async fn take(&self) -> Result<Option<(usize, Instant)>> {
        let timer = self.turn.lock().await;
        let n = self.taken.get();
        let Some(at) = self.schedule.at(n) else { return Ok(None) };
        let planned = self.began + at;
        timer.wait_until(planned).await?;
        let now = Instant::now();
        if now >= self.end {
            return Ok(None);
        }
        if now > planned + LATE && self.connections.get() < self.most {
            self.wanted.notify_one();
        }
        self.taken.set(n + 1);
        Ok(Some((n, planned)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::deck::{Deck, Question, Target};
    use super::super::expected::{Expected, Rule};
    use super::{Offer, open};

    /// A server that answers each call after `pause`, on any number of connections.
    async fn serve(listener: TcpListener, pause: Duration) {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            drop(sagebrush_core::task::spawn("answer", async move {
                let mut buffer = [0_u8; 1024];
                while socket.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                    tokio::time::sleep(pause).await;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    socket.write_all(answer).await.unwrap();
                }
            }));
        }
    }

    #[tokio::test]
    async fn a_late_call_counts_from_its_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(sagebrush_core::task::spawn("serve", serve(listener, Duration::from_millis(40))));
        let target = Target { address, path: "/".to_owned(), is_signed: false, pid: 0 };
        let question = Question {
            content_type: "text/plain",
            headers: Vec::new(),
            body: "x".into(),
            expected: Expected::new(Rule::Exactly("ok".into())),
        };
        let questions = [question];
        let deck = Deck::new(&target, &questions, &[0]).unwrap();
        let offer = |most| Offer {
            per_second: 100.0,
            time: Duration::from_secs(1),
            connections: (1, most),
            grace: Duration::from_secs(5),
        };
        // One connection answers 25 calls a second at most: later ones wait, and the wait counts.
        // The k-th was to begin after 10 (k - 1) ms, and is answered after 40 k ms at the earliest.
        let few = open(&deck, offer(1)).await.unwrap();
        assert_eq!((few.errors(), few.right() + few.unsent), (few.unsent, 100), "{few:?}");
        assert!(few.right() <= 25 && few.unsent >= 75, "{few:?}");
        assert!(few.latencies.max() >= 29_900 * few.right() + 10_000, "{few:?}");
        // As many as it takes are opened.
        let tally = open(&deck, offer(64)).await.unwrap();
        assert_eq!((tally.errors(), tally.right() + tally.unsent), (tally.unsent, 100));
        assert!(tally.right() > 25, "{tally:?}");
    }
}
