//! The chores of this workspace: `cargo xtask <chore>`.
#![expect(clippy::print_stdout, reason = "a chore reports on the terminal")]

mod bench;
mod codegen;
mod demo;
mod interrupt;
mod lint;
mod process;
mod scenarios;
mod server;
mod test;
mod tidy;
mod totals;
mod venv;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The server's allocator, so that the limit differs from it in nothing but what it leaves out.
#[cfg(feature = "bench")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "The chores of this workspace", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build, serve a vision model and ask it about a picture: the newcomer's path.
    Demo(demo::Args),
    /// Run every test: Rust's, then the scenarios in Python.
    Test,
    /// Run the scenarios in Python against the built binary.
    Scenarios(scenarios::Args),
    /// Check format, lints, docs and dependencies.
    Lint,
    /// Hold the sizes of files against the bar.
    Tidy,
    /// Measure the server against its limit and other servers; writes docs/benchmarks.md.
    Bench(bench::Args),
    /// The server that `bench` measures ours against.
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    BenchLimit(bench::LimitArgs),
    /// Write the wire types from AWS's service models.
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().chore {
        Chore::Demo(args) => demo::run(&args).map(|()| ExitCode::SUCCESS),
        Chore::Test => test::run(),
        Chore::Scenarios(args) => scenarios::run(&args),
        Chore::Lint => lint::run().map(|()| ExitCode::SUCCESS),
        Chore::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Chore::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "bench")]
        Chore::BenchLimit(args) => bench::run_limit(&args).map(|()| ExitCode::SUCCESS),
        Chore::Codegen(args) => codegen::run(&args).map(|()| ExitCode::SUCCESS),
    }
}
