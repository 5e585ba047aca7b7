//! `cargo xtask tidy`: the sizes of files against the bar of the style guide.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::workspace::root;

/// A file may have so many lines without its tests.
const LONGEST: usize = 500;
/// The files over the bar with the lines that each may have. May only shrink.
const LIST: &str = "xtask/over-the-bar.txt";
/// What codegen writes is not read by people.
const GENERATED: &str = "crates/wire/src/generated";

pub(crate) fn run() -> Result<()> {
    let root = root()?;
    let allowed = read_list(&root)?;
    let sizes = sizes(&root)?;
    report(&sizes);
    let findings = findings(&sizes, &allowed);
    if findings.is_empty() {
        println!("all files are within the bar of {LONGEST} lines");
        return Ok(());
    }
    bail!("{}", findings.join("\n"));
}

type Sizes = BTreeMap<String, usize>;

/// The lines without tests of each Rust file, by its path in the workspace.
fn sizes(root: &Path) -> Result<Sizes> {
    let mut folders = vec![root.join("crates"), root.join("xtask")];
    let mut sizes = Sizes::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = measured(root, &path) {
                sizes.insert(name, code_lines(&fs::read_to_string(&path)?));
            }
        }
    }
    Ok(sizes)
}

/// The name of a file that is held against the bar.
fn measured(root: &Path, path: &Path) -> Option<String> {
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let name = path.strip_prefix(root).ok()?.to_str()?.to_owned();
    let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
    (is_rust && !is_test && !name.starts_with(GENERATED)).then_some(name)
}

/// The lines before the tests at the end of the file.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

fn read_list(root: &Path) -> Result<Sizes> {
    let path: PathBuf = root.join(LIST);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {LIST}"))?;
    let entries = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, n) = line.split_once(' ').with_context(|| format!("`{line}` in {LIST}"))?;
        Ok((name.to_owned(), n.trim().parse().with_context(|| format!("`{line}` in {LIST}"))?))
    };
    entries.map(parse).collect()
}

fn findings(sizes: &Sizes, allowed: &Sizes) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, n) in sizes {
        let most = allowed.get(name).copied().unwrap_or(LONGEST);
        if *n > most {
            findings.push(format!("{name} has {n} lines without tests; it may have {most}"));
        }
    }
    for (name, most) in allowed {
        let n = sizes.get(name).copied().unwrap_or(0);
        if n < *most {
            let rest = if n > LONGEST { format!("write {n}") } else { "strike it".to_owned() };
            findings.push(format!("{name} in {LIST} shrank from {most} to {n}: {rest}"));
        }
    }
    findings
}

fn report(sizes: &Sizes) {
    let mut sorted: Vec<usize> = sizes.values().copied().collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or(0);
    println!("{} files: median {} lines, p95 {}", sorted.len(), at(50), at(95));
    for (name, n) in sizes.iter().filter(|(_, n)| **n > LONGEST) {
        println!("over {LONGEST}: {name} {n}");
    }
}

#[cfg(test)]
mod tests {
    use super::{Sizes, code_lines, findings};

    fn sizes(name: &str, n: usize) -> Sizes {
        Sizes::from([(name.to_owned(), n)])
    }

    #[test]
    fn tests_do_not_count() {
        assert_eq!(code_lines("a\nb\n\n#[cfg(test)]\nmod tests {}\n"), 3);
    }

    #[test]
    fn the_list_may_only_shrink() {
        assert!(findings(&sizes("a.rs", 500), &Sizes::new()).is_empty());
        assert_eq!(findings(&sizes("a.rs", 501), &Sizes::new()).len(), 1);
        assert!(findings(&sizes("a.rs", 600), &sizes("a.rs", 600)).is_empty());
        assert_eq!(findings(&sizes("a.rs", 601), &sizes("a.rs", 600)).len(), 1);
        assert_eq!(findings(&sizes("a.rs", 550), &sizes("a.rs", 600)).len(), 1);
        assert_eq!(findings(&sizes("a.rs", 100), &sizes("a.rs", 600)).len(), 1);
    }
}
