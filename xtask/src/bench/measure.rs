//! One run: what is built, started and asked, in its order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;

use super::load::{Deck, Question, Tally, Target, closed};
use super::report::{Absent, Report, Section};
use super::side::{self, Running, Side};
use super::workload::{self, Inputs, Item, Kind};
use super::{Args, machine, many, overload, rounds, usage};
use crate::interrupt::Interrupt;
use crate::process::{self, step};
use crate::venv;
use crate::workspace::{cargo, root, target};

/// How long a server without an endpoint is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

/// What all measurements need.
pub(super) struct Bench {
    pub(super) rounds: usize,
    /// That a side is under load in a round.
    pub(super) seconds: Duration,
    pub(super) interrupt: Interrupt,
    /// One thread: the sides have the other cores.
    pub(super) runtime: Runtime,
    /// Where inputs, logs and data go.
    pub(super) out: PathBuf,
    pub(super) binary: PathBuf,
    pub(super) library: PathBuf,
    /// Runs Python code for our server and the limit.
    pub(super) python: PathBuf,
    pub(super) peer_pythons: BTreeMap<Side, PathBuf>,
    pub(super) cores: usize,
    pub(super) inputs: Inputs,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let (bench, absent) = prepare(args)?;
    let wanted = |name: &str| args.only.as_deref().is_none_or(|only| name.contains(only));
    let mut report = Report {
        about: machine::about(&bench, args)?,
        idle_memory: step("an idle server", || idle_memory(&bench))?,
        sections: Vec::new(),
        many: None,
        overload: None,
        absent,
    };
    for kind in [Kind::Row, Kind::Image, Kind::Echo] {
        let overloads = kind == Kind::Image && wanted("overload");
        let names: Vec<_> = bench.inputs.workloads.iter().filter(|w| w.kind == kind).collect();
        let names: Vec<_> = names.into_iter().filter(|w| wanted(w.name)).collect();
        if names.is_empty() && !overloads {
            continue;
        }
        let deployed = step("make our endpoint", || side::deploy(&bench, kind))?;
        let sides = start(&bench, kind, args.no_peers, &mut report.absent)?;
        let mut measured = Vec::new();
        for workload in names {
            let lines = rounds::measure(&bench, workload, &sides)?;
            measured.clone_from(&lines);
            let cold_starts = deployed.cold_starts.clone();
            report.sections.push(Section { title: workload.title, lines, cold_starts });
        }
        if overloads {
            report.overload = Some(overload::measure(&bench, &sides, &measured)?);
        }
    }
    if wanted("many") {
        report.many = Some(many::measure(&bench)?);
    }
    publish(&report, args)
}

/// Prints the report; a whole run writes it, too. Wrong answers fail the run.
fn publish(report: &Report, args: &Args) -> Result<()> {
    let text = report.render();
    println!("\n{text}");
    if report.wrong_answers() > 0 {
        bail!("{} answers were wrong", report.wrong_answers());
    }
    if args.only.is_none() && !args.no_peers {
        let path = root()?.join("docs/benchmarks.md");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("docs/benchmarks.md is written");
    }
    Ok(())
}

fn prepare(args: &Args) -> Result<(Bench, Vec<Absent>)> {
    let interrupt = Interrupt::listen()?;
    let out = target()?.join("bench");
    fs::create_dir_all(&out)?;
    let binary = step("build the server", || build(&interrupt, &args.profile))?;
    let library = step("fetch ONNX Runtime", || setup(&binary))?;
    let inputs = step("make the inputs", || workload::make(&interrupt, &out))?;
    let (peer_pythons, absent) = if args.no_peers { Default::default() } else { peer_pythons() };
    let bench = Bench {
        rounds: args.rounds.max(1),
        seconds: Duration::from_secs(args.seconds.max(1)),
        interrupt,
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        out,
        binary,
        library,
        python: venv::ready("venv", "scenarios/requirements.txt")?,
        peer_pythons,
        cores: std::thread::available_parallelism()?.get(),
        inputs,
    };
    Ok((bench, absent))
}

fn build(interrupt: &Interrupt, profile: &str) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--profile", profile, "--package", "sagebrush"]);
    interrupt.run(build.current_dir(root()?))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(target()?.join(folder).join("sagebrush"))
}

fn setup(binary: &Path) -> Result<PathBuf> {
    let printed = process::output(Command::new(binary).arg("setup"))?;
    Ok(printed.lines().last().context("`sagebrush setup` printed no path")?.trim().into())
}

/// The interpreters with the peers' packages, and who cannot be had.
fn peer_pythons() -> (BTreeMap<Side, PathBuf>, Vec<Absent>) {
    const VENVS: [(&str, &str, &[Side]); 2] = [
        (
            "venv-peers",
            "xtask/src/bench/requirements-peers.txt",
            &[Side::FastApi, Side::MultiModelServer, Side::LitServe, Side::BentoMl],
        ),
        (
            "venv-peers-mlserver",
            "xtask/src/bench/requirements-peers-mlserver.txt",
            &[Side::MlServer],
        ),
    ];
    let (mut pythons, mut absent) = (BTreeMap::new(), Vec::new());
    for (name, lock, sides) in VENVS {
        match venv::ready(name, lock) {
            Ok(python) => pythons.extend(sides.iter().map(|side| (*side, python.clone()))),
            Err(error) => absent.extend(sides.iter().map(|side| Absent::new(*side, None, &error))),
        }
    }
    (pythons, absent)
}

fn idle_memory(bench: &Bench) -> Result<u64> {
    let server = side::fresh_server(bench, &bench.out.join("data-idle"))?;
    std::thread::sleep(IDLE);
    usage::memory_of_tree(server.pid())
}

/// All sides that can do the work. They stay, and are idle while others are measured.
fn start(
    bench: &Bench,
    kind: Kind,
    no_peers: bool,
    absent: &mut Vec<Absent>,
) -> Result<Vec<Running>> {
    let mut sides = Vec::new();
    for side in Side::ALL {
        let is_wanted = !side.is_peer() || !no_peers && bench.peer_pythons.contains_key(&side);
        if !is_wanted || !side.serves(kind) {
            continue;
        }
        let started =
            step(&format!("start {} ({})", side.name(), kind.name()), || side.start(bench, kind));
        match started {
            Ok(running) => sides.push(running),
            Err(error) if side.is_peer() && bench.check_interrupt().is_ok() => {
                absent.push(Absent::new(side, Some(kind), &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sides)
}

impl Bench {
    /// The first thing that is asked in workloads of `kind`.
    pub(super) fn first_item(&self, kind: Kind) -> Result<&[Item]> {
        let workload = self.inputs.workloads.iter().find(|workload| workload.kind == kind);
        workload.and_then(|workload| workload.items.get(..1)).context("nothing to ask")
    }

    pub(super) fn check_interrupt(&self) -> Result<()> {
        if self.interrupt.is_raised() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Some calls at once that nobody counts.
    pub(super) fn saturate(
        &self,
        target: &Target,
        questions: &[Question],
        time: Duration,
    ) -> Result<Tally> {
        let order: Vec<usize> = (0..questions.len()).collect();
        let deck = Deck::new(target, questions, &order)?;
        Ok(self.runtime.block_on(closed(&deck, 4 * self.cores, time))?.0)
    }
}
