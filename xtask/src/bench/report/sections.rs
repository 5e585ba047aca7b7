//! The sections, a table or two each.

use std::fmt::Write as _;
use std::time::Duration;

use super::Section;
use super::table::{Table, count, figure, mebibytes, percent, ratio};
use crate::bench::figures::{Line, float, median};
use crate::bench::many::Many;
use crate::bench::overload::Overload;

impl Section {
    pub(super) fn render(&self) -> String {
        let mut text = format!("## {}\n\n{}", self.title, figures(&self.lines));
        if let Some((ours, others)) = self.lines.split_first() {
            text.push_str(&ratios(ours, others));
        }
        text.push_str(&cold_starts(&self.cold_starts));
        let own = self.lines.iter().map(|line| line.saturated.own_cpu_per_thousand).collect();
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "The load generator itself took {} CPU-seconds per 1,000 calls (median of all sides).\n",
            figure(median(own).unwrap_or(f64::NAN))
        );
        text
    }
}

fn figures(lines: &[Line]) -> String {
    let mut table = Table::new(&[
        "",
        "calls/s",
        "CPU s/1,000",
        "at calls/s",
        "p50 ms",
        "p99 ms",
        "memory MiB",
        "start s",
        "errors",
    ]);
    for Line { side, saturated, steady, memory, cold_start } in lines {
        table.row([
            (*side).to_owned(),
            figure(saturated.per_second),
            figure(saturated.cpu_per_thousand),
            figure(steady.per_second),
            figure(steady.p50_millis),
            figure(steady.p99_millis),
            mebibytes(*memory),
            figure(cold_start.as_secs_f64()),
            count(saturated.errors + steady.errors),
        ]);
    }
    table.end()
}

/// Ours by each other's. Latencies are compared at the same rate only.
fn ratios(ours: &Line, others: &[Line]) -> String {
    let mut table =
        Table::new(&["sagebrush by", "calls/s", "CPU", "p50", "p99", "memory", "start"]);
    for other in others {
        let (mine, theirs) = (&ours.steady, &other.steady);
        let is_same_rate = (mine.per_second - theirs.per_second).abs() < 0.5;
        let latency = |mine, theirs| {
            if is_same_rate { ratio(mine, theirs) } else { "another rate".to_owned() }
        };
        table.row([
            other.side.to_owned(),
            ratio(ours.saturated.per_second, other.saturated.per_second),
            ratio(ours.saturated.cpu_per_thousand, other.saturated.cpu_per_thousand),
            latency(mine.p50_millis, theirs.p50_millis),
            latency(mine.p99_millis, theirs.p99_millis),
            ratio(float(ours.memory), float(other.memory)),
            ratio(ours.cold_start.as_secs_f64(), other.cold_start.as_secs_f64()),
        ]);
    }
    table.end()
}

fn cold_starts(took: &[Duration]) -> String {
    let Some((first, later)) = took.split_first() else { return String::new() };
    let later = median(later.iter().map(Duration::as_secs_f64).collect());
    let later = later.map(|seconds| format!(", then {} s", figure(seconds))).unwrap_or_default();
    let first = figure(first.as_secs_f64());
    format!("From `CreateEndpoint` to the first answer: {first} s the first time{later}. ")
}

impl Many {
    pub(super) fn render(&self) -> String {
        let mut table = Table::new(&[
            "",
            "calls/s",
            "CPU s/1,000",
            "p50 ms",
            "p99 ms",
            "was loaded",
            "loads/s",
            "memory MiB",
            "errors",
        ]);
        table.row([
            "sagebrush".to_owned(),
            figure(self.per_second),
            figure(self.cpu_per_thousand),
            figure(self.p50_millis),
            figure(self.p99_millis),
            percent(self.hits),
            figure(self.loads_per_second),
            mebibytes(self.memory),
            count(self.errors),
        ]);
        format!(
            "## {} models behind one endpoint with room for {}\n\n\
             Forests of 200 trees, each with answers of its own; the k-th is asked 1/k times as \
             often as the first (Zipf). 16 connections at saturation. Of the peers only \
             multi-model-server and MLServer load models by call; neither makes room by itself, \
             so they are left out.\n\n{}",
            self.models,
            self.room,
            table.end()
        )
    }
}

pub(super) fn overload(sides: &[Overload]) -> String {
    let mut table = Table::new(&[
        "",
        "best calls/s",
        "offered",
        "goodput",
        "of best",
        "p50 ms",
        "p99 ms",
        "refused",
        "429 with Retry-After",
        "refusal p99 ms",
        "broken",
        "hung",
        "unsent",
        "recovery s",
    ]);
    for side in sides {
        table.row([
            side.side.to_owned(),
            figure(side.best),
            figure(side.offered),
            figure(side.goodput),
            percent(side.goodput / side.best),
            figure(side.p50_millis),
            figure(side.p99_millis),
            count(side.refused),
            percent(float(side.well_refused) / float(side.refused)),
            figure(side.refusal_p99_millis),
            count(side.broken),
            count(side.hung),
            count(side.unsent),
            side.recovery.map_or_else(|| "over 30".to_owned(), |took| figure(took.as_secs_f64())),
        ]);
    }
    format!(
        "## Overload: three times what each can do, for 20 s\n\n\
         The picture again, once a side. Goodput counts right answers within the 20 s; p50 and \
         p99 are those of all right answers, from the planned time. A refusal's time counts from when the call was sent. Hung: sent and not \
         answered 10 s after the end. Unsent: found no free one of 1,024 connections. Recovery: \
         from the end until five calls in a row take no more than thrice what a call takes alone \
         (or 50 ms).\n\n{}",
        table.end()
    )
}
