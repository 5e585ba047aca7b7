//! The report: `docs/benchmarks.md`.

mod sections;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use super::figures::Line;
use super::many::Many;
use super::overload::Overload;
use super::side::Side;
use super::workload::Kind;
use table::mebibytes;

/// All that a run has shown.
pub(super) struct Report {
    pub(super) about: About,
    /// Bytes of our server without an endpoint.
    pub(super) idle_memory: u64,
    pub(super) sections: Vec<Section>,
    pub(super) many: Option<Many>,
    pub(super) overload: Option<Vec<Overload>>,
    pub(super) absent: Vec<Absent>,
}

/// What it was measured on and with.
pub(super) struct About {
    /// As `2025-02-28`.
    pub(super) date: String,
    pub(super) cores: usize,
    pub(super) cpu: String,
    pub(super) kernel: String,
    /// The load average before the run.
    pub(super) load: f64,
    pub(super) versions: Vec<(String, String)>,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
}

/// One workload. The first line is ours.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lines: Vec<Line>,
    /// Of our endpoint, from `CreateEndpoint` to the first answer.
    pub(super) cold_starts: Vec<Duration>,
}

/// Who was not measured, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absent {
    side: &'static str,
    kind: Option<&'static str>,
    reason: String,
}

impl Absent {
    /// Keeps the first line of the reason, without the paths of this machine.
    pub(super) fn new(side: Side, kind: Option<Kind>, error: &anyhow::Error) -> Self {
        let reason = format!("{error:#}");
        let words = reason.lines().next().unwrap_or_default().split(' ');
        let words: Vec<&str> =
            words.map(|word| if word.contains('/') { ".." } else { word }).collect();
        Self { side: side.name(), kind: kind.map(Kind::name), reason: words.join(" ") }
    }
}

impl Report {
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        self.head(&mut text);
        for section in &self.sections {
            text.push_str(&section.render());
        }
        if let Some(many) = &self.many {
            text.push_str(&many.render());
        }
        if let Some(sides) = &self.overload {
            text.push_str(&sections::overload(sides));
        }
        self.tail(&mut text);
        text
    }

    /// Answers with 200 that were not right, of all sides.
    pub(super) fn wrong_answers(&self) -> u64 {
        let lines = self.sections.iter().flat_map(|section| &section.lines);
        let of_lines: u64 = lines.map(|line| line.saturated.wrong + line.steady.wrong).sum();
        let overload = self.overload.iter().flatten();
        let of_overload: u64 = overload.map(|side| side.wrong).sum();
        of_lines + of_overload + self.many.as_ref().map_or(0, |many| many.wrong)
    }

    // Writing to a `String` cannot fail.
    fn head(&self, text: &mut String) {
        let About { date, cores, cpu, kernel, load, rounds, seconds, .. } = &self.about;
        text.push_str(
            "# Benchmarks\n\nMade by `cargo xtask bench`; do not edit.\n\n\
             Ratios say more than figures: all sides ran in turn on one machine, whose \
             cores they shared with the load generator.\n\n",
        );
        let _ = writeln!(
            text,
            "- {date}, {cores} cores of {cpu}, Linux {kernel}\n\
             - Load average of the minute before the run: {load:.1}\n\
             - Rounds: {rounds}, of {seconds} s a side; medians over rounds"
        );
        for (name, version) in &self.about.versions {
            let _ = writeln!(text, "- {name} {version}");
        }
        let _ = writeln!(
            text,
            "\nOur server without an endpoint takes {} MiB.\n\n## How it is measured\n\n{METHOD}",
            mebibytes(self.idle_memory)
        );
    }

    fn tail(&self, text: &mut String) {
        if self.absent.is_empty() {
            return;
        }
        text.push_str("## Not measured\n\n");
        for Absent { side, kind, reason } in &self.absent {
            let kind = kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
            let _ = writeln!(text, "- {side}{kind}: {reason}");
        }
    }
}

const METHOD: &str = "\
- **limit** is hyper with ONNX Runtime, or with Python behind a framed socket, and nothing else: \
no signatures, routes, bounds or logs. It decodes, resizes and runs with our own code, so that the \
ratio shows what the product costs.
- Peers have as many workers as there are cores, one thread a session, no access log and no \
telemetry. Each is asked in the way that its documentation shows: rows as CSV or as its JSON, \
pictures as the body or, at LitServe, in base64. Their pictures are decoded by Pillow at a reduced \
scale. BentoML gets pictures as files.
- FastAPI's and BentoML's code runs inside the process that has the connection, and their echo \
crosses no process: one crash takes all calls along. Ours, the limit's, multi-model-server's, \
LitServe's and MLServer's runs in worker processes.
- All sides of a kind of workload run at the same time, but only one is asked; the others are \
idle. Rounds go through all sides in turn.
- Saturation: 64 connections (8 for 5 MB), each with one call at a time. CPU is user and system \
time of all processes of a side; the load generator's own is named below each table.
- Fixed rate: calls begin at planned times, whatever became of those before, and latency counts \
from the planned time. The rate is half of what the slower of ours and the limit can do; half of \
its own capacity for a side that can do less.
- Each answer is compared with the right one; one wrong answer fails the run. Errors are all calls \
without a right answer.
- Calls to our server are signed (SigV4) before the measurement begins, and the bytes are sent \
again and again: verifying is ours to pay on every call, signing is the client's.
- Memory after the load: what is no file's, shared pages counted once, and the mapped files of the \
largest process.
- Start: from the start of the process to the first right answer. Our server then has its endpoint \
on disk already; below the table stands the way from `CreateEndpoint` to the first answer.
- A shared machine disturbs wall time and, less, CPU time. p99 over a round of few seconds is a \
rough figure.
";
