//! From `CreateEndpoint` to the first answer of code that imports numpy.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::{self, step};
use crate::server::Server;
use crate::venv;
use crate::workspace::root;

/// Endpoints, one after the other; the first may find caches cold.
const TIMES: usize = 5;

/// How long each took.
pub(super) fn measure(server: &Server) -> Result<Vec<Duration>> {
    let python = venv::ready("venv", "scenarios/requirements.txt")?;
    let script = root()?.join("xtask/src/bench/cold_start.py");
    let printed = step("cold starts of code that imports numpy", || {
        process::output(Command::new(python).arg(script).arg(&server.url).arg(TIMES.to_string()))
    })?;
    let line = printed.lines().last().context("the script printed nothing")?;
    let seconds: Vec<f64> = serde_json::from_str(line)?;
    Ok(seconds.into_iter().map(Duration::from_secs_f64).collect())
}
