//! `cargo xtask bench`: the server against bare ONNX Runtime, and against other servers of Python
//! code, in the same run.
//!
//! The chore itself only starts the measuring program over again, optimised and with the feature
//! that holds the load generator and ONNX Runtime.

#[cfg(feature = "bench")]
mod measure;

use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Calls a workload, at most.
    #[arg(long, default_value_t = 5000)]
    calls: u64,
    /// Seconds a workload, at most.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Only the workloads whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

#[cfg(feature = "bench")]
pub(crate) fn run(args: &Args) -> Result<()> {
    measure::run(args)
}

#[cfg(not(feature = "bench"))]
pub(crate) fn run(args: &Args) -> Result<()> {
    use crate::interrupt::Interrupt;
    use crate::workspace::{cargo, root};

    let mut again = cargo();
    again.args(["run", "--quiet", "--release", "--package", "xtask", "--features", "bench", "--"]);
    again.args(["bench", "--calls", &args.calls.to_string()]);
    again.args(["--seconds", &args.seconds.to_string()]);
    again.args(["--connections", &args.connections.to_string()]);
    again.args(args.only.iter().flat_map(|only| ["--only", only]));
    Interrupt::listen()?.run(again.current_dir(root()?))
}
