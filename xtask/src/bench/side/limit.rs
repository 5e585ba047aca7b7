//! The limit server, as a process of its own.

use std::process::Command;

use anyhow::Result;

use super::child;
use super::peers::free_ports;
use super::{Running, Side};
use crate::bench::Bench;
use crate::bench::workload::Kind;

pub(super) fn start(bench: &Bench, kind: Kind) -> Result<Running> {
    let [port] = free_ports()?;
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["bench-limit", kind.name(), "--listen", &address, "--model"])
        .arg(kind.model(&bench.out)?)
        .arg("--library")
        .arg(&bench.library)
        .arg("--python")
        .arg(&bench.python);
    child::start(bench, Side::Limit, kind, command, (address, "/invocations"))
}
