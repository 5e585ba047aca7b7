//! `cargo xtask test`: every test there is, and one closing line.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::process::{self, step};
use crate::scenarios;
use crate::totals::Totals;
use crate::workspace::{cargo, has_cargo_command, is_ci, root};

pub(crate) fn run() -> Result<ExitCode> {
    let library = scenarios::onnxruntime()?;
    let mut totals = rust_tests(&library)?;
    totals += scenarios_or_failure(&library);
    println!("{totals}");
    Ok(if totals.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A scenario run that did not come about is one failure: the closing line still comes.
fn scenarios_or_failure(library: &Path) -> Totals {
    scenarios::all(library, &[]).unwrap_or_else(|error| {
        println!("the scenarios did not run: {error:#}");
        Totals { passed: 0, failed: 1 }
    })
}

fn rust_tests(library: &Path) -> Result<Totals> {
    if !has_cargo_command("nextest") {
        build(cargo().args(["test", "--workspace", "--no-run"]))?;
        return counted(
            "cargo test",
            library,
            cargo().args(["test", "--workspace", "--no-fail-fast"]),
        );
    }
    build(cargo().args(["nextest", "run", "--workspace", "--no-run"]))?;
    let profile = if is_ci() { "ci" } else { "default" };
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--workspace", "--profile", profile]);
    let mut totals = counted("cargo nextest", library, &mut nextest)?;
    // nextest leaves the examples in the docs out.
    let mut docs = cargo();
    docs.args(["test", "--doc", "--workspace"]);
    totals += counted("doc tests", library, &mut docs)?;
    Ok(totals)
}

/// Built apart, so that the time of building and the time of testing both stand in the log.
fn build(command: &mut Command) -> Result<()> {
    step("build the Rust tests", || process::run(command.current_dir(root()?)))
}

fn counted(name: &str, library: &Path, command: &mut Command) -> Result<Totals> {
    let mut totals = Totals::default();
    command.env("SAGEBRUSH_ONNXRUNTIME", library).env("INSTA_UPDATE", "no").current_dir(root()?);
    let status = step(name, || {
        process::watch(command, |line| totals += Totals::read(line).unwrap_or_default())
    })?;
    Ok(totals.with_status(status))
}
