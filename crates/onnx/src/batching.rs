//! How many calls a model answers in one run: what is asked for, and what the model allows.

use std::collections::BTreeMap;
use std::time::Duration;

use sagebrush_core::worker::LaunchError;

use crate::model::Model;
use crate::port::{Dim, Kind, Port};
use crate::rows::Rows;

/// How many calls a run answers at most; a variable of the container's environment.
pub const MAX_BATCH_SIZE: &str = "SAGEBRUSH_MAX_BATCH_SIZE";
/// How long a batch may wait to be full; a variable of the container's environment.
pub const MAX_BATCH_DELAY_MS: &str = "SAGEBRUSH_MAX_BATCH_DELAY_MS";

pub(crate) const LARGEST_SIZE: usize = 1024;
pub(crate) const LONGEST_DELAY_MS: u64 = 1000;

/// The bound where nobody says one. With more rows a run gains little for each, and all of them
/// wait for it.
const DEFAULT_SIZE: usize = 32;

/// What the environment or `serving.json` asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) size: Option<usize>,
    pub(crate) delay: Option<Duration>,
}

/// What a worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batching {
    pub(crate) size: usize,
    pub(crate) delay: Duration,
    /// What whoever runs the model should know, in a line.
    pub(crate) remark: Option<String>,
}

impl Asked {
    /// Reads the container's environment.
    pub(crate) fn of(environment: &BTreeMap<String, String>) -> Result<Self, LaunchError> {
        let size = number(environment, MAX_BATCH_SIZE, 1, LARGEST_SIZE as u64)?;
        let delay = number(environment, MAX_BATCH_DELAY_MS, 0, LONGEST_DELAY_MS)?;
        let size = size.and_then(|size| usize::try_from(size).ok());
        Ok(Self { size, delay: delay.map(Duration::from_millis) })
    }

    /// This, and what it does not say from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { size: self.size.or(other.size), delay: self.delay.or(other.delay) }
    }
}

fn number(
    environment: &BTreeMap<String, String>,
    name: &str,
    least: u64,
    most: u64,
) -> Result<Option<u64>, LaunchError> {
    let Some(text) = environment.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
        _ => Err(LaunchError::Permanent {
            reason: format!(
                "The environment variable {name} must be a number from {least} to {most}, not \
                 {text:?}."
            ),
        }),
    }
}

impl Batching {
    /// Decides for a model. `look` finds out whether its rows may be computed together; it is
    /// asked only where that matters.
    pub(crate) fn of(model: &Model, asked: Asked, look: impl FnOnce() -> Rows) -> Self {
        let delay = asked.delay.unwrap_or_default();
        let alone = |remark| Self { size: 1, delay, remark };
        let wanted = asked.size.unwrap_or(DEFAULT_SIZE);
        if wanted == 1 {
            return alone(None);
        }
        if !is_open(&model.inputs, &model.outputs) {
            let remark = asked.size.map(|size| {
                format!(
                    "batches of {size} calls are asked for, but the model takes rows one by one"
                )
            });
            return alone(remark);
        }
        let together = |remark| Self { size: wanted, delay, remark };
        match (look(), asked.size) {
            (Rows::Independent, _) | (Rows::Unknown, Some(_)) => together(None),
            (Rows::Unknown, None) => alone(None),
            (Rows::Dependent(why), Some(size)) => together(Some(format!(
                "batches of {size} calls are asked for, though rows of the model change each \
                 other: {why}"
            ))),
            (Rows::Dependent(why), None) => alone(Some(format!(
                "calls are answered one by one, for rows of the model change each other: {why}"
            ))),
        }
    }
}

/// Whether any number of rows goes in and comes out.
fn is_open(inputs: &[Port], outputs: &[Port]) -> bool {
    let any = |dim: &Dim| dim.fixed().is_none();
    let comes_out = |port: &Port| match &port.kind {
        // Of an output without dimensions nothing may be known; the first run shows what it is.
        Kind::Tensor { dims, .. } => dims.first().is_none_or(any),
        Kind::ZipMap { .. } => true,
    };
    let goes_in = |port: &Port| port.dims().first().is_some_and(any);
    !inputs.is_empty() && inputs.iter().all(goes_in) && outputs.iter().all(comes_out)
}
