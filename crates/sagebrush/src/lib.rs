//! The binary: settings, assembly of the crates, and the command line.

mod access_log;
pub mod answer;
pub mod assemble;
pub mod cli;
pub mod client;
mod commands;
pub mod config;
pub mod failure;
pub mod images;
mod secrets;
pub mod server;
pub mod setup;

use cli::{Cli, Command};
use failure::Failure;

/// Does what the command line says.
///
/// # Errors
/// With the exit code that scripts are told of.
pub fn run(cli: Cli) -> Result<(), Failure> {
    let config = cli.options.resolve(cli.config.as_deref())?;
    match cli.command {
        Command::Serve => server::serve(config),
        Command::Env(args) => commands::env::run(&config, &args),
        Command::Setup => commands::setup::run(),
        Command::Deploy(args) => commands::block_on(commands::deploy::run(&config, &args)),
        Command::Invoke(args) => commands::block_on(commands::invoke::run(&config, &args)),
        Command::Endpoints(args) => commands::block_on(commands::endpoints::run(&config, &args)),
        Command::Describe(args) => commands::block_on(commands::describe::run(&config, &args)),
        Command::Delete(args) => commands::block_on(commands::delete::run(&config, &args)),
        Command::Alarms(args) => commands::block_on(commands::alarms::run(&config, &args)),
        Command::Logs(args) => commands::block_on(commands::logs::run(&config, &args)),
    }
}
