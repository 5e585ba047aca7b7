//! The list of the operations that we do not serve. It may only shrink.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Result, ensure};

use super::botocore;
use super::service::Service;

pub(super) const FILE: &str = "unimplemented-operations.txt";

/// A line for each operation that is not served: `sagemaker:AddAssociation`.
pub(super) fn render(services: &[Service]) -> String {
    let mut lines = BTreeSet::new();
    for service in services {
        lines.extend(service.unimplemented().map(|name| format!("{}:{name}\n", service.name)));
    }
    let lines: Vec<String> = lines.into_iter().collect();
    format!("{}{}", head(services), lines.concat())
}

/// Fails if the list at hand would grow.
pub(super) fn check_shrinks(root: &Path, services: &[Service]) -> Result<()> {
    match fs::read_to_string(root.join(FILE)) {
        Ok(old) => check_shorter(&old, &render(services)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Fails if `new` has an operation that `old` has not, unless botocore or the services changed.
pub(super) fn check_shorter(old: &str, new: &str) -> Result<()> {
    let (old_head, old_lines) = parts(old);
    let (new_head, new_lines) = parts(new);
    if old_head != new_head {
        return Ok(());
    }
    let grown: Vec<&str> = new_lines.difference(&old_lines).copied().collect();
    ensure!(grown.is_empty(), "{FILE} may only shrink, but would gain {}", grown.join(", "));
    Ok(())
}

/// Says what the list was made from.
fn head(services: &[Service]) -> String {
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let version = botocore::VERSION;
    format!(
        "# Written by `cargo xtask codegen`: what botocore {version} knows and we do not serve.\n\
         # Services: {}.\n",
        names.join(", ")
    )
}

/// The lines of the head, and the operations.
fn parts(list: &str) -> (Vec<&str>, BTreeSet<&str>) {
    let head = list.lines().filter(|line| line.starts_with('#')).collect();
    let operations = list.lines().filter(|line| !line.starts_with('#')).collect();
    (head, operations)
}
