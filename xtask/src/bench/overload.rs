//! Three times what a side can do, for twenty seconds, and what comes after.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep, timeout};

use super::Bench;
use super::figures::{Line, float, millis_at};
use super::load::{Connection, Deck, Offer, closed, open};
use super::side::Running;
use super::workload::{Kind, Workload};
use crate::process::step;

const TIMES: f64 = 3.0;
const FOR: Duration = Duration::from_secs(20);
/// At the best goodput, to know what three times of it is.
const BEST_FOR: Duration = Duration::from_secs(4);
const CONNECTIONS: (usize, usize) = (64, 1024);
/// A call that has no answer so long after the load's end hangs.
const GRACE: Duration = Duration::from_secs(10);
/// A side is well again once so many calls in a row are answered within so many times what a
/// call takes by itself.
const CALM_CALLS: usize = 5;
const CALM: u32 = 3;
const CALM_AT_LEAST: Duration = Duration::from_millis(50);
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What was seen of one side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Overload {
    pub(super) side: &'static str,
    /// Calls a second at saturation, and those that were offered.
    pub(super) best: f64,
    pub(super) offered: f64,
    /// Right answers a second, while the load lasted.
    pub(super) goodput: f64,
    pub(super) p50_millis: f64,
    pub(super) p99_millis: f64,
    pub(super) refused: u64,
    /// Of the refusals, those with 429 and a `Retry-After`.
    pub(super) well_refused: u64,
    /// From sending a call to its refusal.
    pub(super) refusal_p99_millis: f64,
    pub(super) broken: u64,
    pub(super) hung: u64,
    pub(super) unsent: u64,
    pub(super) wrong: u64,
    /// Until calls are answered as before; `None` if that did not come.
    pub(super) recovery: Option<Duration>,
}

/// `lines` are what the sides did before, if that was measured: what a side can do is the best
/// that was seen of it.
pub(super) fn measure(bench: &Bench, sides: &[Running], lines: &[Line]) -> Result<Vec<Overload>> {
    let workloads = &bench.inputs.workloads;
    let Some(workload) = workloads.iter().find(|workload| workload.kind == Kind::Image) else {
        return Ok(Vec::new());
    };
    let measure = |running: &Running| {
        let name = running.side.name();
        let line = lines.iter().find(|line| line.side == name);
        let before = line.map_or(0.0, |line| line.saturated.per_second);
        step(&format!("overload of {name}"), || one(bench, workload, running, before))
    };
    sides.iter().map(measure).collect()
}

fn one(bench: &Bench, workload: &Workload, running: &Running, before: f64) -> Result<Overload> {
    bench.check_interrupt()?;
    let questions = running.side.questions(workload.kind, &workload.items)?;
    let order: Vec<usize> = (0..questions.len()).collect();
    let deck = Deck::new(&running.target, &questions, &order)?;
    bench.runtime.block_on(async {
        let calm = alone(&deck).await?;
        let (tally, took) = closed(&deck, workload.connections, BEST_FOR).await?;
        let best = (float(tally.right()) / took.as_secs_f64()).max(before);
        let offered = best * TIMES;
        let offer =
            Offer { per_second: offered, time: FOR, connections: CONNECTIONS, grace: GRACE };
        let (tally, recovery) = tokio::join!(open(&deck, offer), recovery(&deck, calm));
        let (tally, recovery) = (tally?, recovery?);
        if let Some(trouble) = &tally.trouble {
            println!("the first that was not answered: {trouble}");
        }
        let seen = Overload {
            side: running.side.name(),
            best,
            offered,
            goodput: float(tally.right() - tally.after_end) / FOR.as_secs_f64(),
            p50_millis: millis_at(&tally.latencies, 0.5),
            p99_millis: millis_at(&tally.latencies, 0.99),
            refused: tally.n_refused(),
            well_refused: if tally.refused.keys().all(|status| *status == 429) {
                tally.refused_with_retry_after
            } else {
                0
            },
            refusal_p99_millis: millis_at(&tally.refusals, 0.99),
            broken: tally.broken,
            hung: tally.hung,
            unsent: tally.unsent,
            wrong: tally.wrong,
            recovery,
        };
        println!("{seen:?}");
        Ok(seen)
    })
}

/// How long a call may take by itself.
async fn alone(deck: &Deck<'_>) -> Result<Duration> {
    let (tally, _) = closed(deck, 1, Duration::from_secs(1)).await?;
    let median = Duration::from_micros(tally.latencies.value_at_quantile(0.5));
    Ok((median * CALM).max(CALM_AT_LEAST))
}

/// From the load's end to the first of some calls in a row that are as quick as they should be.
async fn recovery(deck: &Deck<'_>, calm: Duration) -> Result<Option<Duration>> {
    sleep(FOR).await;
    let ended = Instant::now();
    let mut connection = Connection::new(deck.address);
    let (mut in_a_row, mut since) = (0, ended);
    while ended.elapsed() < RECOVERS_WITHIN {
        let (request, expected) = deck.card(0)?;
        let sent = Instant::now();
        let is_well = match timeout(CALL_TIMEOUT, connection.call(request)).await {
            Ok(Ok(answer)) => answer.status == 200 && expected.is_met_by(answer.body),
            Ok(Err(_)) | Err(_) => false,
        };
        if !is_well || sent.elapsed() > calm {
            in_a_row = 0;
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        if in_a_row == 0 {
            since = sent;
        }
        in_a_row += 1;
        if in_a_row == CALM_CALLS {
            return Ok(Some(since - ended));
        }
    }
    Ok(None)
}
