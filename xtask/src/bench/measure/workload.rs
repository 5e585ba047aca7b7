//! What is called with what.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::interrupt::Interrupt;
use crate::venv;
use crate::workspace::root;

pub(super) struct Workload {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The folder with the model.
    pub(super) model: PathBuf,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Measured against the same work without a server.
    Onnx,
    /// Measured against other servers of Python code.
    Python,
}

/// The bodies of the Python workload.
const SIZES: &[(&str, usize)] = &[("1 KB", 1_000), ("100 KB", 100_000), ("5 MB", 5_000_000)];

pub(super) fn all(interrupt: &Interrupt, out: &Path) -> Result<Vec<Workload>> {
    let python = venv::ready("venv", "scenarios/requirements.txt")?;
    let script = root()?.join("xtask/src/bench/make_inputs.py");
    interrupt.run(Command::new(python).arg(script).arg(out))?;
    let read = |name: &str| fs::read(out.join(name)).with_context(|| format!("reading {name}"));
    let mut workloads = vec![Workload {
        name: "forest of 200 trees, a CSV row".to_owned(),
        kind: Kind::Onnx,
        model: out.join("forest"),
        content_type: "text/csv",
        body: read("row.csv")?,
    }];
    let vision = root()?.join("examples/vision");
    if vision.join("model.onnx").try_exists()? {
        workloads.push(Workload {
            name: "examples/vision, a 1280x720 JPEG".to_owned(),
            kind: Kind::Onnx,
            model: vision,
            content_type: "image/jpeg",
            body: read("page.jpg")?,
        });
    } else {
        println!("examples/vision has no model.onnx: it is not measured");
    }
    let echo = root()?.join("xtask/src/bench/echo-length");
    workloads.extend(SIZES.iter().map(|(size, bytes)| Workload {
        name: format!("python echo length, {size}"),
        kind: Kind::Python,
        model: echo.clone(),
        content_type: "application/octet-stream",
        body: vec![b'x'; *bytes],
    }));
    Ok(workloads)
}

impl Workload {
    /// The endpoint's name is the model's folder's.
    pub(super) fn endpoint(&self) -> String {
        let folder = self.model.file_name().unwrap_or_default();
        format!("bench-{}", folder.to_string_lossy())
    }
}

impl Kind {
    pub(super) fn image(self) -> &'static str {
        match self {
            Self::Onnx => "sagebrush/onnx",
            Self::Python => "sagebrush/python",
        }
    }
}
