//! Two hundred models behind one endpoint that has room for fifty, asked as popularity goes.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Bench;
use super::aws::Aws;
use super::figures::{float, median, millis_at};
use super::load::{Connection, Deck, Expected, Question, Target, closed, request};
use super::side::fresh_server;
use super::usage::{cpu_of_tree, memory_of_tree};
use crate::process::{now, step};

const NAME: &str = "bench-many";
const ROOM: usize = 50;
const CONNECTIONS: usize = 16;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The order repeats after so many calls.
const ORDER: usize = 20_000;

/// What was seen; medians over rounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Many {
    pub(super) models: usize,
    pub(super) room: usize,
    pub(super) per_second: f64,
    pub(super) cpu_per_thousand: f64,
    pub(super) p50_millis: f64,
    pub(super) p99_millis: f64,
    /// The part of calls whose model was loaded already.
    pub(super) hits: f64,
    pub(super) loads_per_second: f64,
    pub(super) memory: u64,
    pub(super) errors: u64,
    pub(super) wrong: u64,
}

struct Round {
    per_second: f64,
    cpu_per_thousand: f64,
    p50_millis: f64,
    p99_millis: f64,
    hits: f64,
    loads_per_second: f64,
}

pub(super) fn measure(bench: &Bench) -> Result<Many> {
    let server = fresh_server(bench, &bench.out.join("data-many"))?;
    step("200 models: make the endpoint", || deploy(bench, server.address()))?;
    let target = Target {
        address: server.address().to_owned(),
        path: format!("/endpoints/{NAME}/invocations"),
        is_signed: true,
        pid: server.pid(),
    };
    let questions = questions(bench);
    let order = zipf(questions.len(), ORDER);
    let (mut rounds, mut errors, mut wrong) = (Vec::new(), 0, 0);
    wait(bench, &target, &questions)?;
    for round in 1..=bench.rounds {
        bench.check_interrupt()?;
        rounds.push(step(&format!("many, round {round} of {}", bench.rounds), || {
            let deck = Deck::new(&target, &questions, &order)?;
            let (before, seen) = (cpu_of_tree(target.pid)?, Lookups::read(bench, &target)?);
            let load = closed(&deck, CONNECTIONS, bench.seconds);
            let (tally, took) = bench.runtime.block_on(load)?;
            let cpu = cpu_of_tree(target.pid)? - before;
            let seen = Lookups::read(bench, &target)?.since(seen);
            if let Some(trouble) = &tally.trouble {
                println!("{} calls failed; first: {trouble}", tally.errors());
            }
            (errors, wrong) = (errors + tally.errors(), wrong + tally.wrong);
            Ok(Round {
                per_second: float(tally.right()) / took.as_secs_f64(),
                cpu_per_thousand: cpu.as_secs_f64() * 1000.0 / float(tally.right()),
                p50_millis: millis_at(&tally.latencies, 0.5),
                p99_millis: millis_at(&tally.latencies, 0.99),
                hits: seen.hits / (seen.hits + seen.misses),
                loads_per_second: seen.misses / took.as_secs_f64(),
            })
        })?);
    }
    let of = |field: fn(&Round) -> f64| {
        median(rounds.iter().map(field).collect()).context("no round was measured")
    };
    Ok(Many {
        models: questions.len(),
        room: ROOM,
        per_second: of(|round| round.per_second)?,
        cpu_per_thousand: of(|round| round.cpu_per_thousand)?,
        p50_millis: of(|round| round.p50_millis)?,
        p99_millis: of(|round| round.p99_millis)?,
        hits: of(|round| round.hits)?,
        loads_per_second: of(|round| round.loads_per_second)?,
        memory: memory_of_tree(target.pid)?,
        errors,
        wrong,
    })
}

fn deploy(bench: &Bench, address: &str) -> Result<()> {
    let aws = Aws::new(bench, address);
    let object = |n: usize| {
        let name = format!("model-{n}.onnx");
        Ok((name.clone(), fs::read(bench.out.join("many").join(name))?))
    };
    let objects = (0..bench.inputs.many.len()).map(object).collect::<Result<Vec<_>>>()?;
    let url = aws.upload(&objects)?;
    let environment = [("SAGEBRUSH_MODEL_CACHE_MODELS", ROOM.to_string())];
    aws.create_config(NAME, "sagebrush/onnx", &url, Some("MultiModel"), &environment)?;
    aws.create_endpoint(NAME)
}

fn questions(bench: &Bench) -> Vec<Question> {
    let question = |(n, item): (usize, &super::workload::Item)| Question {
        content_type: "text/csv",
        headers: vec![("x-amzn-sagemaker-target-model", format!("model-{n}.onnx"))],
        body: item.body.clone(),
        expected: Expected::new(item.rule.clone()),
    };
    bench.inputs.many.iter().enumerate().map(question).collect()
}

fn wait(bench: &Bench, target: &Target, questions: &[Question]) -> Result<()> {
    let began = now();
    while began.elapsed() < READY_WITHIN {
        bench.check_interrupt()?;
        let deck = Deck::new(target, questions, &[0])?;
        let (tally, _) = bench.runtime.block_on(closed(&deck, 1, Duration::from_millis(50)))?;
        if tally.right() > 0 {
            return Ok(());
        }
    }
    bail!("the endpoint of many models gave no right answer within {READY_WITHIN:?}");
}

/// `n` places in an order where the k-th of all models is asked 1/k times as often as the first;
/// the same in each run.
fn zipf(models: usize, n: usize) -> Vec<usize> {
    let weight = |model: usize| 1.0 / f64::from(u32::try_from(model + 1).unwrap_or(u32::MAX));
    let total: f64 = (0..models).map(weight).sum();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        // xorshift: nothing here needs better, and each run must draw the same.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut left = float(state >> 12) / float(1 << 52) * total;
        let is_it = |model: &usize| {
            left -= weight(*model);
            left < 0.0
        };
        (0..models).find(is_it).unwrap_or_default()
    };
    (0..n).map(|_| draw()).collect()
}

/// What the server counted, over all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Lookups {
    hits: f64,
    misses: f64,
}

impl Lookups {
    fn read(bench: &Bench, target: &Target) -> Result<Self> {
        let bytes = request(("GET", &target.address, "/metrics"), &[], b"", None)?;
        let mut connection = Connection::new(&target.address);
        let answer = bench.runtime.block_on(connection.call(&bytes))?;
        anyhow::ensure!(answer.status == 200, "/metrics is answered {}", answer.status);
        Ok(Self::parse(&String::from_utf8_lossy(answer.body)))
    }

    fn parse(metrics: &str) -> Self {
        let sum = |name: &str| {
            let value = |line: &str| -> Option<f64> {
                line.strip_prefix(name)?.rsplit_once(' ')?.1.parse().ok()
            };
            metrics.lines().filter_map(value).sum()
        };
        Self {
            hits: sum("sagebrush_model_cache_hits_total{"),
            misses: sum("sagebrush_model_cache_misses_total{"),
        }
    }

    fn since(self, earlier: Self) -> Self {
        Self { hits: self.hits - earlier.hits, misses: self.misses - earlier.misses }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lookups, zipf};

    #[test]
    fn the_first_is_asked_most() {
        let order = zipf(200, 10_000);
        let count = |model| order.iter().filter(|drawn| **drawn == model).count();
        // Of 200 with weights 1/k the first has 17 %, the second half of that.
        assert!((1_500..1_900).contains(&count(0)), "{}", count(0));
        assert!((700..1_000).contains(&count(1)), "{}", count(1));
        assert!(order.iter().any(|model| *model > 190));
        assert_eq!(order, zipf(200, 10_000));
    }

    #[test]
    fn metrics_are_read() {
        let text = "# HELP x\nsagebrush_model_cache_hits_total{a=\"b c\"} 7\n\
            sagebrush_model_cache_misses_total{a=\"b\"} 2\n\
            sagebrush_model_cache_misses_total{a=\"c\"} 1\n";
        assert_eq!(Lookups::parse(text), Lookups { hits: 7.0, misses: 3.0 });
    }
}
