//! The chores of this workspace: `cargo xtask <chore>`.
#![expect(clippy::print_stdout, reason = "a chore reports on the terminal")]

mod codegen;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The chores of this workspace", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Write the wire types from AWS's service models.
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Codegen(args) => codegen::run(&args),
    }
}
