//! Who may use whom, and how long a file may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The map of who may use whom. A crate or an arrow that is not on it fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sagebrush-core", &[]),
    ("sagebrush-wire", &[]),
    ("sagebrush-aws", &["sagebrush-core", "sagebrush-wire"]),
    ("sagebrush-store", &["sagebrush-core"]),
    ("sagebrush-onnx", &["sagebrush-core"]),
    ("sagebrush-artifacts", &["sagebrush-core"]),
    ("sagebrush-outbound", &["sagebrush-core"]),
    ("sagebrush-records", &[]),
    ("sagebrush-runtime", &["sagebrush-core"]),
    ("sagebrush-objects", &["sagebrush-core", "sagebrush-aws"]),
    (
        "sagebrush-serving",
        &["sagebrush-core", "sagebrush-aws", "sagebrush-records", "sagebrush-wire"],
    ),
    (
        "sagebrush-control",
        &["sagebrush-core", "sagebrush-aws", "sagebrush-records", "sagebrush-wire"],
    ),
    ("sagebrush-access", &["sagebrush-core", "sagebrush-aws", "sagebrush-wire"]),
    (
        "sagebrush-telemetry",
        &["sagebrush-core", "sagebrush-aws", "sagebrush-outbound", "sagebrush-wire"],
    ),
    (
        "sagebrush-messaging",
        &["sagebrush-core", "sagebrush-aws", "sagebrush-outbound", "sagebrush-wire"],
    ),
    (
        "sagebrush",
        &[
            "sagebrush-core",
            "sagebrush-wire",
            "sagebrush-aws",
            "sagebrush-store",
            "sagebrush-onnx",
            "sagebrush-artifacts",
            "sagebrush-runtime",
            "sagebrush-objects",
            "sagebrush-serving",
            "sagebrush-control",
            "sagebrush-telemetry",
            "sagebrush-messaging",
            "sagebrush-access",
        ],
    ),
    // The load generator signs with ours and measures ONNX Runtime bare.
    ("xtask", &["sagebrush-core", "sagebrush-aws", "sagebrush-onnx"]),
];

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().expect("name");
        let may_use = allowed.get(name).unwrap_or_else(|| panic!("`{name}` is not on the map"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let used = dependency["name"].as_str().expect("name");
            let for_tests_only = dependency["kind"] == "dev";
            assert!(
                !ours.contains(&used) || for_tests_only || may_use.contains(&used),
                "`{name}` must not use `{used}`"
            );
        }
    }
}

#[test]
fn the_map_names_no_crate_that_is_gone() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    for (name, _) in MAY_USE {
        assert!(packages.iter().any(|package| package["name"] == *name), "`{name}` is gone");
    }
}

fn metadata() -> serde_json::Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    serde_json::from_slice(&out.stdout).expect("metadata is JSON")
}

/// A file may have so many lines without its tests.
const LONGEST: usize = 500;

/// `cargo xtask tidy` holds the same bar, and the list to what it says.
#[test]
fn files_are_small() {
    let listed = fs::read_to_string(root().join("xtask/over-the-bar.txt")).expect("the list");
    let mut folders = vec![root().join("crates"), root().join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                check_size(&path, &listed);
            }
        }
    }
}

fn check_size(path: &Path, listed: &str) {
    let name = path.strip_prefix(root()).expect("below the root").display().to_string();
    let is_generated = name.starts_with("crates/wire/src/generated");
    let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
    if is_generated || is_test || path.extension().is_none_or(|extension| extension != "rs") {
        return;
    }
    let text = fs::read_to_string(path).expect("a source file");
    let n = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let is_listed = listed.lines().any(|line| line.split(' ').next() == Some(name.as_str()));
    assert!(n <= LONGEST || is_listed, "{name} has {n} lines without tests");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root")
}
