//! `cargo xtask bench`: the server against its limit and against other servers, in the same run;
//! a whole run writes `docs/benchmarks.md`.
//!
//! The chore itself only starts the measuring program over again, optimised and with the feature
//! that holds the load generator and ONNX Runtime.

#[cfg(feature = "bench")]
mod aws;
#[cfg(feature = "bench")]
mod figures;
#[cfg(feature = "bench")]
mod limit;
#[cfg(feature = "bench")]
mod load;
#[cfg(feature = "bench")]
mod machine;
#[cfg(feature = "bench")]
mod many;
#[cfg(feature = "bench")]
mod measure;
#[cfg(feature = "bench")]
mod overload;
#[cfg(feature = "bench")]
mod report;
#[cfg(feature = "bench")]
mod rounds;
#[cfg(feature = "bench")]
mod side;
#[cfg(feature = "bench")]
mod usage;
#[cfg(feature = "bench")]
mod workload;

use anyhow::Result;

#[cfg(feature = "bench")]
pub(crate) use limit::Args as LimitArgs;
#[cfg(feature = "bench")]
use measure::Bench;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; each measures every side once, and what is reported is their median.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that a side is under load in a round.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Only the workloads whose name contains this: row, image, echo-1kb, echo-100kb, echo-5mb,
    /// many, overload. The report is then printed, not written.
    #[arg(long)]
    only: Option<String>,
    /// Only our server and its limit.
    #[arg(long)]
    no_peers: bool,
    /// The cargo profile that the server and this program are built with.
    #[arg(long, default_value = "release")]
    profile: String,
}

#[cfg(feature = "bench")]
pub(crate) fn run(args: &Args) -> Result<()> {
    measure::run(args)
}

/// The limit server, until it is ended.
#[cfg(feature = "bench")]
pub(crate) fn run_limit(args: &LimitArgs) -> Result<()> {
    limit::run(args)
}

#[cfg(not(feature = "bench"))]
pub(crate) fn run(args: &Args) -> Result<()> {
    use crate::interrupt::Interrupt;
    use crate::workspace::{cargo, root};

    let mut again = cargo();
    again.args(["run", "--quiet", "--profile", &args.profile, "--package", "xtask"]);
    again.args(["--features", "bench", "--", "bench", "--profile", &args.profile]);
    again.args(["--rounds", &args.rounds.to_string(), "--seconds", &args.seconds.to_string()]);
    again.args(args.only.iter().flat_map(|only| ["--only", only]));
    again.args(args.no_peers.then_some("--no-peers"));
    Interrupt::listen()?.run(again.current_dir(root()?))
}
