//! One workload on all sides, interleaved: A B C A B C, so that a change of the machine's mood
//! meets all of them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::figures::{Line, Saturated, Steady, float, millis_at};
use super::load::{Deck, Offer, Question, Tally, closed, open};
use super::side::{Running, Side};
use super::usage::{cpu_of, cpu_of_tree, memory_of_tree};
use super::workload::Workload;
use crate::process::step;

/// Of the load in each round: not counted, and at saturation. The rest is at a fixed rate.
const WARM_UP: f64 = 0.1;
const SATURATED: f64 = 0.5;
/// The fixed rate is this part of what the slower of ours and the limit can do; of a side's own
/// capacity, if that is less.
const MODEST: f64 = 0.5;
/// How many connections a fixed rate has, and may have.
const OPEN_CONNECTIONS: (usize, usize) = (32, 256);
const GRACE: Duration = Duration::from_secs(10);

struct Contender<'a> {
    running: &'a Running,
    questions: Vec<Question>,
    saturated: Vec<Saturated>,
    steady: Vec<Steady>,
    memory: u64,
}

pub(super) fn measure(bench: &Bench, workload: &Workload, sides: &[Running]) -> Result<Vec<Line>> {
    let contenders = sides.iter().map(|running| {
        let questions = running.side.questions(workload.kind, &workload.items)?;
        let (saturated, steady) = (Vec::new(), Vec::new());
        Ok(Contender { running, questions, saturated, steady, memory: 0 })
    });
    let mut contenders = contenders.collect::<Result<Vec<_>>>()?;
    for round in 1..=bench.rounds {
        step(&format!("{}, round {round} of {}", workload.name, bench.rounds), || {
            for contender in &mut contenders {
                contender.saturate(bench, workload)?;
            }
            let modest = modest(&contenders)?;
            for contender in &mut contenders {
                contender.steady(bench, workload, modest)?;
            }
            Ok(())
        })?;
    }
    contenders.iter().map(Contender::line).collect()
}

/// The rate at which all are measured that can: by the first round, so that it stays the same.
fn modest(contenders: &[Contender<'_>]) -> Result<f64> {
    let ours = contenders.iter().filter(|contender| !contender.running.side.is_peer());
    let slowest = ours.filter_map(Contender::capacity).reduce(f64::min);
    Ok(slowest.context("nothing of ours was measured")? * MODEST)
}

impl Contender<'_> {
    /// Calls a second in the first round.
    fn capacity(&self) -> Option<f64> {
        self.saturated.first().map(|round| round.per_second)
    }

    fn saturate(&mut self, bench: &Bench, workload: &Workload) -> Result<()> {
        bench.check_interrupt()?;
        let order: Vec<usize> = (0..self.questions.len()).collect();
        let target = &self.running.target;
        let deck = Deck::new(target, &self.questions, &order)?;
        let run = |part: f64| {
            let time = bench.seconds.mul_f64(part);
            bench.runtime.block_on(closed(&deck, workload.connections, time))
        };
        run(WARM_UP)?;
        let own = std::process::id();
        let (before, own_before) = (cpu_of_tree(target.pid)?, cpu_of(own)?);
        let (tally, took) = run(SATURATED)?;
        let (cpu, own_cpu) = (cpu_of_tree(target.pid)? - before, cpu_of(own)? - own_before);
        self.check(&tally)?;
        let thousands = float(tally.right()) / 1000.0;
        let saturated = Saturated {
            per_second: float(tally.right()) / took.as_secs_f64(),
            cpu_per_thousand: cpu.as_secs_f64() / thousands,
            own_cpu_per_thousand: own_cpu.as_secs_f64() / thousands,
            errors: tally.errors(),
            wrong: tally.wrong,
        };
        println!(
            "{:<20} {:>8.0} calls/s {:>8.3} CPU s/1,000 {:>8.3} by the load generator",
            self.running.side.name(),
            saturated.per_second,
            saturated.cpu_per_thousand,
            saturated.own_cpu_per_thousand,
        );
        self.saturated.push(saturated);
        Ok(())
    }

    fn steady(&mut self, bench: &Bench, workload: &Workload, modest: f64) -> Result<()> {
        bench.check_interrupt()?;
        let order: Vec<usize> = (0..self.questions.len()).collect();
        let deck = Deck::new(&self.running.target, &self.questions, &order)?;
        let per_second = (self.capacity().unwrap_or_default() * MODEST).min(modest);
        let (least, most) = OPEN_CONNECTIONS;
        let offer = Offer {
            per_second: per_second.max(1.0),
            time: bench.seconds.mul_f64(1.0 - WARM_UP - SATURATED),
            connections: (least.min(workload.connections), most),
            grace: GRACE,
        };
        let tally = bench.runtime.block_on(open(&deck, offer))?;
        self.check(&tally)?;
        let steady = Steady {
            per_second: offer.per_second,
            p50_millis: millis_at(&tally.latencies, 0.5),
            p99_millis: millis_at(&tally.latencies, 0.99),
            errors: tally.errors(),
            wrong: tally.wrong,
        };
        println!(
            "{:<20} {:>8.0} calls/s, p50 {:.3} ms, p99 {:.3} ms",
            self.running.side.name(),
            steady.per_second,
            steady.p50_millis,
            steady.p99_millis,
        );
        self.steady.push(steady);
        self.memory = memory_of_tree(self.running.target.pid)?;
        Ok(())
    }

    /// Says what went wrong. Nothing at all that went right is no measurement.
    fn check(&self, tally: &Tally) -> Result<()> {
        let name = self.running.side.name();
        if let Some(trouble) = &tally.trouble {
            println!("{name}: {} calls failed; first: {trouble}", tally.errors());
        }
        if tally.right() == 0 && self.running.side == Side::Ours {
            bail!("{name} gave no right answer");
        }
        Ok(())
    }

    fn line(&self) -> Result<Line> {
        Ok(Line {
            side: self.running.side.name(),
            saturated: Saturated::median(&self.saturated).context("no round was measured")?,
            steady: Steady::median(&self.steady).context("no round was measured")?,
            memory: self.memory,
            cold_start: self.running.cold_start,
        })
    }
}
