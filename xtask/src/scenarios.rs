//! `cargo xtask scenarios`: the boto3 and SDK scenarios, each in the virtualenv that it needs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{self, step};
use crate::totals::Totals;
use crate::venv;
use crate::workspace::{self, cargo, root, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files or folders below scenarios/, or a test as pytest names it [default: all].
    paths: Vec<String>,
}

/// The tests of the Python package that user code meets, as seen from `scenarios/`.
const PACKAGE: &str = "../crates/runtime/python/tests";

/// The virtualenvs: the files that run in each, and its lock.
const VENVS: &[(&str, &str, Suite)] = &[
    (
        "venv",
        "scenarios/requirements.txt",
        Suite::AllBut(&["test_sdk2.py", "test_sdk3.py", PACKAGE]),
    ),
    ("venv", "scenarios/requirements.txt", Suite::Only(PACKAGE)),
    ("venv-sdk2", "scenarios/requirements-sdk2.txt", Suite::Only("test_sdk2.py")),
    ("venv-sdk3", "scenarios/requirements-sdk3.txt", Suite::Only("test_sdk3.py")),
];

enum Suite {
    AllBut(&'static [&'static str]),
    Only(&'static str),
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let library = onnxruntime()?;
    let totals = all(&library, &args.paths)?;
    println!("{totals}");
    Ok(if totals.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fetches ONNX Runtime and returns the path of its library.
pub(crate) fn onnxruntime() -> Result<PathBuf> {
    step("sagebrush setup (ONNX Runtime)", || {
        let mut setup = cargo();
        setup.args(["run", "--quiet", "--package", "sagebrush", "--", "setup"]);
        let printed = process::output(setup.current_dir(root()?))?;
        let path = printed.lines().last().context("`sagebrush setup` printed no path")?;
        Ok(PathBuf::from(path.trim()))
    })
}

/// Builds the binary once and runs the scenarios against it.
pub(crate) fn all(library: &Path, paths: &[String]) -> Result<Totals> {
    step("build the server", || {
        process::run(cargo().args(["build", "--package", "sagebrush"]).current_dir(root()?))
    })?;
    // It has the packages that the models' code needs, whoever the client is.
    let models = venv::ready("venv", "scenarios/requirements.txt")?;
    let mut totals = Totals::default();
    for (name, lock, suite) in VENVS {
        let arguments = suite.arguments(paths);
        if arguments.is_empty() {
            continue;
        }
        let python = venv::ready(name, lock)?;
        totals += step(&format!("{} in {name}", suite.name()), || {
            pytest(&python, &models, library, &arguments)
        })?;
    }
    Ok(totals)
}

fn pytest(python: &Path, models: &Path, library: &Path, arguments: &[String]) -> Result<Totals> {
    let mut totals = Totals::default();
    let mut command = Command::new(python);
    command
        .args(["-m", "pytest", "-p", "no:cacheprovider", "--durations=5", "--durations-min=2"])
        .args(arguments)
        .env("SAGEBRUSH_ONNXRUNTIME", library)
        .env("SAGEBRUSH_BINARY", target()?.join("debug/sagebrush"))
        .env("SAGEBRUSH_SCENARIO_PYTHON", models)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(root()?.join("scenarios"));
    if !workspace::is_ci() {
        command.arg("--color=yes");
    }
    let status = process::watch(&mut command, |line| {
        if let Some(read) = Totals::read(&without_colour(line)) {
            totals = read;
        }
    })?;
    Ok(totals.with_status(status))
}

/// A line without the sequences that colour it.
fn without_colour(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

impl Suite {
    fn name(&self) -> &'static str {
        match self {
            Self::Only(PACKAGE) => "Python package",
            Self::Only(_) | Self::AllBut(_) => "scenarios",
        }
    }

    /// What pytest is told to run of `paths`; nothing if none of them is this suite's.
    fn arguments(&self, paths: &[String]) -> Vec<String> {
        let named = |path: &String| path.trim_start_matches("scenarios/").to_owned();
        let paths = paths.iter().map(named).filter(|path| !path.is_empty());
        let paths: Vec<String> = paths.collect();
        match self {
            Self::AllBut(others) if paths.is_empty() => {
                let here = others.iter().filter(|other| !other.starts_with(".."));
                let ignored = here.map(|other| format!("--ignore={other}"));
                std::iter::once(".".to_owned()).chain(ignored).collect()
            }
            Self::Only(file) if paths.is_empty() => vec![(*file).to_owned()],
            Self::AllBut(others) => {
                let is_other = |path: &str| others.iter().any(|other| path.starts_with(other));
                paths.into_iter().filter(|path| !is_other(path)).collect()
            }
            Self::Only(file) => paths.into_iter().filter(|path| path.starts_with(file)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Suite, without_colour};

    #[test]
    fn each_file_runs_in_its_own_virtualenv() {
        let all_but = Suite::AllBut(&["test_sdk2.py"]);
        let only = Suite::Only("test_sdk2.py");
        assert_eq!(all_but.arguments(&[]), [".", "--ignore=test_sdk2.py"]);
        assert_eq!(only.arguments(&[]), ["test_sdk2.py"]);
        let paths = ["scenarios/test_s3.py::test_a".to_owned(), "test_sdk2.py".to_owned()];
        assert_eq!(all_but.arguments(&paths), ["test_s3.py::test_a"]);
        assert_eq!(only.arguments(&paths), ["test_sdk2.py"]);
    }

    #[test]
    fn colours_go() {
        assert_eq!(without_colour("\u{1b}[32m== 3 passed\u{1b}[0m in 1s"), "== 3 passed in 1s");
        assert_eq!(without_colour("plain"), "plain");
    }
}
