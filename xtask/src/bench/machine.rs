//! What a run was made on and with, for the head of the report.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use sagebrush_core::{Clock as _, SystemClock};

use super::report::About;
use super::side::Side;
use super::{Args, Bench};
use crate::process;
use crate::workspace::root;

/// What a side's version is read off, by the name of its package.
const PACKAGES: [(Side, &[&str]); 5] = [
    (Side::FastApi, &["fastapi", "uvicorn", "uvloop", "onnxruntime", "numpy", "pillow"]),
    (Side::MultiModelServer, &["multi-model-server"]),
    (Side::LitServe, &["litserve"]),
    (Side::MlServer, &["mlserver"]),
    (Side::BentoMl, &["bentoml"]),
];

pub(super) fn about(bench: &Bench, args: &Args) -> Result<About> {
    let mut versions = vec![("sagebrush".to_owned(), ours(bench, &args.profile)?)];
    versions.push(("ONNX Runtime of ours and the limit".to_owned(), onnxruntime(bench)));
    let python = process::output(Command::new(&bench.python).arg("--version"))?;
    versions.push(("Python".to_owned(), python.trim().trim_start_matches("Python ").to_owned()));
    for (side, packages) in PACKAGES {
        versions.extend(packages.iter().filter_map(|package| {
            let python = bench.peer_pythons.get(&side)?;
            Some(((*package).to_owned(), version(python, package)?))
        }));
    }
    Ok(About {
        date: date(SystemClock.now().0),
        cores: bench.cores,
        cpu: cpu()?,
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        load: load()?,
        versions,
        rounds: bench.rounds,
        seconds: bench.seconds.as_secs(),
    })
}

/// The version, the commit, and whether there is more than the commit.
fn ours(bench: &Bench, profile: &str) -> Result<String> {
    let version = process::output(Command::new(&bench.binary).arg("--version"))?;
    let version = version.trim().trim_start_matches("sagebrush ").to_owned();
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(root()?);
    let commit = process::output(&mut git).unwrap_or_default();
    Ok(format!("{version}, commit {}, profile {profile}", commit.trim()))
}

/// `sagebrush setup` keeps it in a folder with its version.
fn onnxruntime(bench: &Bench) -> String {
    let folder = bench.library.parent().and_then(|folder| folder.file_name());
    let name = folder.unwrap_or_default().to_string_lossy();
    name.strip_prefix("onnxruntime-").unwrap_or("of unknown version").to_owned()
}

fn version(python: &std::path::Path, package: &str) -> Option<String> {
    const SCRIPT: &str = "import importlib.metadata, sys; \
                          print(importlib.metadata.version(sys.argv[1]))";
    let said = process::output(Command::new(python).args(["-I", "-c", SCRIPT, package])).ok()?;
    Some(said.trim().to_owned())
}

/// What others, and the builds before the run, had the machine do in the last minute.
fn load() -> Result<f64> {
    let averages = fs::read_to_string("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or_default().parse()?)
}

fn cpu() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let (_, name) = name.context("/proc/cpuinfo names no model")?;
    Ok(name.trim().to_owned())
}

/// The day of a time in milliseconds since 1970, in UTC: `2025-02-28`.
fn date(millis: i64) -> String {
    // Years that begin in March end with the leap day; 400 of them have 146,097 days.
    let days = millis.div_euclid(86_400_000) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days() {
        for (day, expected) in [(0, "1970-01-01"), (19_782, "2024-02-29"), (20_454, "2026-01-01")] {
            assert_eq!(date(day * 86_400_000 + 5), expected);
        }
    }
}
