//! `cargo xtask lint`: format, lints, docs, dependencies.

use std::process::Command;

use anyhow::Result;

use crate::process::{self, step};
use crate::workspace::{cargo, has_cargo_command, root};

pub(crate) fn run() -> Result<()> {
    check("cargo fmt --check", cargo().args(["fmt", "--all", "--check"]))?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets", "--features", "xtask/bench"]);
    check("cargo clippy", clippy.args(["--", "-D", "warnings"]))?;
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
    check("cargo doc", doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    if has_cargo_command("deny") {
        return check("cargo deny", cargo().args(["deny", "check", "bans", "licenses", "sources"]));
    }
    println!("cargo deny is not installed: bans, licenses and sources are not checked");
    Ok(())
}

fn check(name: &str, command: &mut Command) -> Result<()> {
    step(name, || process::run(command.current_dir(root()?)))
}
