//! Saturation: so many connections, each of which calls again as soon as it has its answer.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Result;
use futures::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::deck::Deck;
use super::tally::Tally;

/// How long calls that were sent may take beyond the load's end.
const GRACE: Duration = Duration::from_secs(20);
/// A side that breaks connections at once must not make this a busy loop.
const AFTER_BREAK: Duration = Duration::from_millis(5);

/// Calls for `time` and returns what came of it, and how long it took until the last answer.
pub(crate) async fn closed(
    deck: &Deck<'_>,
    connections: usize,
    time: Duration,
) -> Result<(Tally, Duration)> {
    let tally = RefCell::new(Tally::new()?);
    let (calls, in_flight) = (Cell::new(0_usize), Cell::new(0_u64));
    let began = Instant::now();
    let until = began + time;
    let call_on = async || -> Result<()> {
        let mut connection = Connection::new(deck.address);
        while Instant::now() < until {
            let (request, expected) = deck.card(calls.get())?;
            calls.set(calls.get() + 1);
            in_flight.set(in_flight.get() + 1);
            let sent = Instant::now();
            let answer = connection.call(request).await;
            in_flight.set(in_flight.get() - 1);
            let took = sent.elapsed();
            tally.borrow_mut().take(&answer, expected, took, took);
            if answer.is_err() {
                tokio::time::sleep(AFTER_BREAK).await;
            }
        }
        Ok(())
    };
    let all = join_all((0..connections).map(|_| call_on()));
    if let Ok(ended) = timeout_at(until + GRACE, all).await {
        ended.into_iter().collect::<Result<()>>()?;
    }
    let mut tally = tally.into_inner();
    tally.hung = in_flight.get();
    Ok((tally, began.elapsed()))
}
