//! Writes `crates/wire/src/generated/` and `unimplemented-operations.txt` from the service models
//! that ship with botocore.
//!
//! 1. [`botocore`] fetches the pinned package and reads the models in it ([`model`]).
//! 2. [`service`] joins a model with the operations that `xtask/operations.toml` lists.
//! 3. [`render`] writes the Rust of a service: [`operations`], [`types`], [`tables`]; [`names`]
//!    turns AWS's names into ours.
//! 4. [`mod@unimplemented`] writes the list of all other operations, which may only shrink.
//! 5. [`tree`] compares all that with the files at hand and brings them up to date.

mod botocore;
mod model;
mod names;
mod operations;
mod render;
mod service;
mod tables;
#[cfg(test)]
mod tests;
mod tree;
mod types;
mod unimplemented;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use botocore::Botocore;
use service::Service;
use tree::Files;

const LIST: &str = "xtask/operations.toml";
const GENERATED: &str = "crates/wire/src/generated";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if a file differs from what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace_root()?;
    let services = services(&root)?;
    let wanted = wanted_files(&root, &services)?;
    let differences = tree::compare(&root, GENERATED, &wanted)?;
    if args.check {
        return report(&differences);
    }
    unimplemented::check_shrinks(&root, &services)?;
    tree::write(&root, &differences)?;
    println!("{} services, {} files written", services.len(), differences.len());
    Ok(())
}

fn report(differences: &[tree::Difference]) -> Result<()> {
    if differences.is_empty() {
        println!("the generated files are up to date");
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    bail!("run `cargo xtask codegen`; these files differ:\n{}", lines.join("\n"))
}

/// The listed services, each with its model.
fn services(root: &Path) -> Result<Vec<Service>> {
    let botocore = Botocore::open(&root.join("target/codegen"))?;
    let mut services = Vec::new();
    for (name, operations) in listed_operations(root)? {
        services.push(Service::new(&name, operations, botocore.model(&name)?)?);
    }
    Ok(services)
}

fn listed_operations(root: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let text = fs::read_to_string(root.join(LIST)).with_context(|| format!("reading {LIST}"))?;
    toml::from_str(&text).with_context(|| format!("parsing {LIST}"))
}

/// Every file that codegen owns, by its path below `root`, with what it must hold.
fn wanted_files(root: &Path, services: &[Service]) -> Result<Files> {
    let mut files = Files::new();
    for service in services {
        let path = format!("{GENERATED}/{}.rs", service.module());
        files.insert(path.into(), tree::rustfmt(root, &render::service(service))?);
    }
    files.insert(format!("{GENERATED}/mod.rs").into(), render::root(services));
    files.insert(unimplemented::FILE.into(), unimplemented::render(services));
    Ok(files)
}

fn workspace_root() -> Result<PathBuf> {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(xtask.parent().context("xtask lies in the workspace")?.to_owned())
}
