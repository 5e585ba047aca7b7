//! What is asked of all sides.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::Deserialize;

use super::load::Rule;
use crate::interrupt::Interrupt;
use crate::venv;
use crate::workspace::root;

/// What a side is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row for a forest of 200 trees.
    Row,
    /// A picture for a convolutional network.
    Image,
    /// Python code that answers what it is sent.
    Echo,
}

/// One table of the report.
pub(super) struct Workload {
    /// What `--only` looks at.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    pub(super) items: Vec<Item>,
    /// Connections at saturation.
    pub(super) connections: usize,
}

/// A body and what must come back, before a side's own way to write them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) body: Bytes,
    pub(super) rule: Rule,
}

/// The right answers, made together with the questions.
#[derive(Deserialize)]
struct Known {
    /// The probabilities of each row.
    rows: Vec<Vec<f64>>,
    /// The best class of each picture.
    pictures: Vec<u32>,
    /// How many models stand behind the endpoint with many.
    many: usize,
}

/// Everything that is asked, and the probabilities of the first row by the n-th of many models.
pub(super) struct Inputs {
    pub(super) workloads: Vec<Workload>,
    pub(super) many: Vec<Item>,
}

/// Bodies of an echo: this many that differ, so that an answer to another's question is noticed.
const ECHOES: u8 = 4;
const ECHO_SIZES: [(&str, &str, usize, usize); 3] = [
    ("echo-1kb", "Python echo, 1 KB", 1_000, 64),
    ("echo-100kb", "Python echo, 100 KB", 100_000, 64),
    ("echo-5mb", "Python echo, 5 MB", 5_000_000, 8),
];

/// Makes the models and the questions below `out`.
pub(super) fn make(interrupt: &Interrupt, out: &Path) -> Result<Inputs> {
    let python = venv::ready("venv", "scenarios/requirements.txt")?;
    let script = root()?.join("xtask/src/bench/make_inputs.py");
    let mut make = Command::new(python);
    interrupt.run(make.arg(script).arg(out).env("PYTHONDONTWRITEBYTECODE", "1"))?;
    let read = |name: &str| fs::read(out.join(name)).with_context(|| format!("reading {name}"));
    let known: Known = serde_json::from_slice(&read("expected.json")?)?;
    let rows = (0..).zip(&known.rows).map(|(n, probabilities): (usize, _)| {
        let body = read(&format!("row-{n}.csv"))?.into();
        Ok(Item { body, rule: Rule::Numbers(probabilities.clone()) })
    });
    let pictures = (0..).zip(&known.pictures).map(|(n, class): (usize, _)| {
        let body = read(&format!("picture-{n}.jpg"))?.into();
        Ok(Item { body, rule: Rule::Numbers(vec![f64::from(*class)]) })
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let many = many(&known, &rows)?;
    let mut workloads = vec![
        Workload {
            name: "row",
            title: "Tabular row: a forest of 200 trees as ONNX",
            kind: Kind::Row,
            items: rows,
            connections: 64,
        },
        Workload {
            name: "image",
            title: "1280x720 JPEG to the best five classes: MobileNetV2 at 224x224 as ONNX",
            kind: Kind::Image,
            items: pictures.collect::<Result<_>>()?,
            connections: 64,
        },
    ];
    workloads.extend(ECHO_SIZES.iter().map(|&(name, title, bytes, connections)| Workload {
        name,
        title,
        kind: Kind::Echo,
        items: (0..ECHOES).map(|n| echo(b'a' + n, bytes)).collect(),
        connections,
    }));
    Ok(Inputs { workloads, many })
}

fn echo(letter: u8, bytes: usize) -> Item {
    let body = Bytes::from(vec![letter; bytes]);
    Item { rule: Rule::Exactly(body.clone()), body }
}

/// The first row's probabilities, times what `make_inputs.py` gave each model.
fn many(known: &Known, rows: &[Item]) -> Result<Vec<Item>> {
    let first = rows.first().context("there are no rows")?;
    let probabilities = known.rows.first().context("there are no answers")?;
    let by_model = (0..known.many).map(|n| {
        let factor = 1.0 + f64::from(u32::try_from(n)?) / 1000.0;
        let scaled = probabilities.iter().map(|value| value * factor).collect();
        Ok(Item { body: first.body.clone(), rule: Rule::Numbers(scaled) })
    });
    by_model.collect()
}

impl Kind {
    /// As the peers' scripts and the limit say it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Image => "image",
            Self::Echo => "echo",
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Row => "text/csv",
            Self::Image => "image/jpeg",
            Self::Echo => "application/octet-stream",
        }
    }

    /// The folder of the model.
    pub(super) fn model(self, out: &Path) -> Result<std::path::PathBuf> {
        Ok(match self {
            Self::Row => out.join("forest"),
            Self::Image => out.join("cnn"),
            Self::Echo => root()?.join("xtask/src/bench/code/echo"),
        })
    }

    pub(super) fn image(self) -> &'static str {
        match self {
            Self::Row | Self::Image => "sagebrush/onnx",
            Self::Echo => "sagebrush/python",
        }
    }
}
