//! The model's outputs become an answer that a caller can use: boxes or ranked classes, as JSON.

use std::path::Path;

use self::labels::Labels;
use crate::serving_json::{ConfigError, Output};
use crate::vision::Geometry;

mod classification;
mod detections;
mod labels;
#[cfg(test)]
mod tests;

/// What a run of the model gave.
pub trait Outputs {
    /// The shape and the values of an output, row by row; `None` when there is no such output.
    /// Values of other types come as the nearest `f32`.
    fn tensor(&self, name: &str) -> Option<(Vec<usize>, &[f32])>;

    /// The names of the outputs, in the model's order.
    fn names(&self) -> Vec<&str>;
}

/// Makes answers as `serving.json` says.
#[derive(Debug)]
pub struct PostProcessor {
    output: Output,
    labels: Option<Labels>,
}

/// Why outputs do not become an answer. The model, or what `serving.json` says of it, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    #[error("the model has no output `{wanted}`, which serving.json names; it has {has}")]
    NoOutput { wanted: String, has: String },
    #[error("the model has several outputs ({0}); serving.json must name the one to read")]
    WhichOutput(String),
    #[error("the output `{name}` must be {wanted}, not {shape:?}")]
    Shape { name: String, wanted: &'static str, shape: Vec<usize> },
    #[error("the labels file has {labels} labels, but the model has {classes} classes")]
    LabelCount { labels: usize, classes: usize },
    #[error("the model says class {class}, but the labels file has {labels} labels")]
    NoLabel { class: u32, labels: usize },
}

impl PostProcessor {
    /// Reads the labels from the model's folder.
    ///
    /// # Errors
    /// When the labels cannot be read.
    pub fn load(dir: &Path, output: &Output) -> Result<Self, ConfigError> {
        let file = match output {
            Output::Detections(detections) => &detections.labels,
            Output::Classification(classification) => &classification.labels,
        };
        let labels = file.as_deref().map(|file| Labels::read(dir, file)).transpose()?;
        Ok(Self { output: output.clone(), labels })
    }

    /// The answer, as JSON. `geometry` leads boxes back to the picture that they were found on;
    /// without one they stay in the pixels of the model's input.
    ///
    /// # Errors
    /// When the outputs are not what `serving.json` says.
    pub fn apply(
        &self,
        outputs: &dyn Outputs,
        geometry: Option<&Geometry>,
    ) -> Result<Vec<u8>, PostError> {
        let labels = self.labels.as_ref();
        match &self.output {
            Output::Detections(spec) => detections::answer(spec, labels, outputs, geometry),
            Output::Classification(spec) => classification::answer(spec, labels, outputs),
        }
    }
}

/// An output, checked to have as many values as its shape says.
struct Tensor<'o> {
    name: String,
    shape: Vec<usize>,
    values: &'o [f32],
}

impl<'o> Tensor<'o> {
    /// The named output, or the only one.
    fn of(outputs: &'o dyn Outputs, name: Option<&str>) -> Result<Self, PostError> {
        let names = outputs.names();
        let name = match (name, names.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, _) => return Err(PostError::WhichOutput(names.join(", "))),
        };
        let Some((shape, values)) = outputs.tensor(name) else {
            return Err(PostError::NoOutput { wanted: name.to_owned(), has: names.join(", ") });
        };
        let tensor = Self { name: name.to_owned(), shape, values };
        if tensor.shape.iter().product::<usize>() != values.len() {
            return Err(tensor.mismatch("as long as its shape says"));
        }
        Ok(tensor)
    }

    fn mismatch(&self, wanted: &'static str) -> PostError {
        PostError::Shape { name: self.name.clone(), wanted, shape: self.shape.clone() }
    }
}
