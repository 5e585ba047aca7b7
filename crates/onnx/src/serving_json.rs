//! `serving.json` of a model's archive: pictures in, decisions out, batches between. See `docs/serving-json.md`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use self::object::Object;
use crate::batching::{Asked, LARGEST_SIZE, LONGEST_DELAY_MS};

mod object;
#[cfg(test)]
mod tests;

const FILE: &str = "serving.json";
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The widest and highest input of a model, in pixels.
const MAX_SIDE: u32 = 8192;

/// The most boxes or classes of one answer; also how many boxes the suppression looks at.
pub const MAX_ANSWERS: usize = 3000;

/// A checked `serving.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServingConfig {
    image: Option<ImageInput>,
    output: Option<Output>,
    batch: Asked,
}

/// How a picture becomes the model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageInput {
    /// The input to fill; `None` for the only one.
    pub tensor: Option<String>,
    pub width: u32,
    pub height: u32,
    pub resize: Resize,
    pub filter: Filter,
    pub channels: Channels,
    pub layout: Layout,
    pub dtype: Dtype,
    /// What letterbox fills the bars with. As `mean` and `std` in the order of `channels`; `gray`
    /// uses the first.
    pub pad: [u8; 3],
    /// A value is `(pixel * scale - mean) / std`.
    pub scale: f64,
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The whole picture, its proportions kept, bars around it.
    Letterbox,
    /// The whole picture, its proportions lost.
    Stretch,
    /// The middle of the picture, its proportions kept.
    Cover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    Rgb,
    Bgr,
    Gray,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    Nchw,
    Nhwc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Float32,
    /// The pixels as they are; the values are whole and from 0 to 255.
    Uint8,
}

/// What becomes of the model's outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Detections(Detections),
    Classification(Classification),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    pub source: BoxSource,
    /// A file of the archive.
    pub labels: Option<String>,
    pub score_threshold: f32,
    /// `None`: the model suppressed overlapping boxes itself.
    pub iou_threshold: Option<f32>,
    /// Boxes of different classes that overlap are one thing, too.
    pub class_agnostic: bool,
    pub max_detections: usize,
}

/// Where a model says its boxes.
#[derive(Debug, Clone, PartialEq)]
pub enum BoxSource {
    /// `[1, 4 + classes, anchors]`; `None` for the only output.
    YoloV8 { tensor: Option<String> },
    /// `[1, anchors, 5 + classes]`, the fifth being whether there is anything at all.
    YoloV5 { tensor: Option<String> },
    /// Corners, scores and classes, each an output of its own.
    Boxes { boxes: String, scores: String, classes: String },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The output to read; `None` for the only one.
    pub tensor: Option<String>,
    pub activation: Activation,
    pub top_k: usize,
    /// A file of the archive.
    pub labels: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    Softmax,
    Sigmoid,
    None,
}

/// Why a `serving.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{FILE} cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("{FILE} has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    #[error("{FILE} is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("{FILE}: unknown key `{path}`; known there: {}", known.join(", "))]
    UnknownKey { path: String, known: Vec<&'static str> },
    #[error("{FILE}: `{path}` is missing")]
    Missing { path: String },
    #[error("{FILE}: `{path}` {why}")]
    Invalid { path: String, why: String },
    #[error("the labels file `{file}` {why}")]
    Labels { file: String, why: String },
}

impl ServingConfig {
    /// Reads the `serving.json` of a model's folder; `None` when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or says something that we do not know how to do.
    pub fn read(dir: &Path) -> Result<Option<Self>, ConfigError> {
        let file = match File::open(dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ConfigError::Unreadable(error)),
        };
        let mut text = Vec::new();
        let mut limited = file.take(MAX_FILE_BYTES + 1);
        let bytes = limited.read_to_end(&mut text).map_err(ConfigError::Unreadable)?;
        if bytes as u64 > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge);
        }
        Self::parse(&text).map(Some)
    }

    fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(text).map_err(ConfigError::NotJson)?;
        let mut root = Object::root(&value)?;
        root.optional::<String>("$schema")?;
        if root.required::<u32>("version")? != 1 {
            return Err(root.invalid("version", "must be 1, the only version that there is"));
        }
        let image = root.object("input")?.map(input).transpose()?;
        let output = root.object("output")?.map(output).transpose()?;
        let batch = root.object("batch")?.map(batch).transpose()?.unwrap_or_default();
        root.finish()?;
        Ok(Self { image, output, batch })
    }

    /// How pictures are taken, if they are.
    #[must_use]
    pub fn image(&self) -> Option<&ImageInput> {
        self.image.as_ref()
    }

    /// What becomes of the outputs; `None` to answer with the tensors.
    #[must_use]
    pub fn output(&self) -> Option<&Output> {
        self.output.as_ref()
    }

    /// How calls are answered together, as far as it is said.
    pub(crate) fn batch(&self) -> Asked {
        self.batch
    }
}

impl ImageInput {
    /// How many values a pixel of the tensor has.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.channels.count()
    }
}

impl Channels {
    fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

fn batch(mut object: Object<'_>) -> Result<Asked, ConfigError> {
    let size = object.optional_in("max_size", 1, LARGEST_SIZE)?;
    let delay = object.optional_in("max_delay_ms", 0, LONGEST_DELAY_MS)?;
    object.finish()?;
    Ok(Asked { size, delay: delay.map(Duration::from_millis) })
}

fn input(mut object: Object<'_>) -> Result<ImageInput, ConfigError> {
    let inner = object.object("image")?;
    object.finish()?;
    image(inner.ok_or_else(|| object.missing("image"))?)
}

fn image(mut object: Object<'_>) -> Result<ImageInput, ConfigError> {
    let channels = object.optional("channels")?.unwrap_or(Channels::Rgb);
    let dtype = object.optional("dtype")?.unwrap_or(Dtype::Float32);
    let unit = match dtype {
        Dtype::Float32 => 1.0 / 255.0,
        Dtype::Uint8 => 1.0,
    };
    let image = ImageInput {
        tensor: object.optional("tensor")?,
        width: side(&mut object, "width")?,
        height: side(&mut object, "height")?,
        resize: object.optional("resize")?.unwrap_or(Resize::Letterbox),
        filter: object.optional("filter")?.unwrap_or(Filter::Bilinear),
        channels,
        layout: object.optional("layout")?.unwrap_or(Layout::Nchw),
        dtype,
        pad: per_channel(&mut object, "pad", channels, 114)?,
        scale: object.optional("scale")?.unwrap_or(unit),
        mean: per_channel(&mut object, "mean", channels, 0.0)?,
        std: per_channel(&mut object, "std", channels, 1.0)?,
    };
    if image.std.contains(&0.0) {
        return Err(object.invalid("std", "must not be 0: values are divided by it"));
    }
    let plain = image.scale == 1.0 && image.mean == [0.0; 3] && image.std == [1.0; 3];
    if dtype == Dtype::Uint8 && !plain {
        return Err(object.invalid("dtype", "of uint8 leaves no room for scale, mean and std"));
    }
    object.finish()?;
    Ok(image)
}

fn side(object: &mut Object<'_>, key: &'static str) -> Result<u32, ConfigError> {
    object.required_in(key, 1, MAX_SIDE)
}

/// One value for all channels, or one for each.
fn per_channel<'v, T: Deserialize<'v> + Copy>(
    object: &mut Object<'v>,
    key: &'static str,
    channels: Channels,
    default: T,
) -> Result<[T; 3], ConfigError> {
    let Some(values) = object.optional::<Vec<T>>(key)? else {
        return Ok([default; 3]);
    };
    match (values.as_slice(), channels.count()) {
        ([one], _) => Ok([*one; 3]),
        ([a, b, c], 3) => Ok([*a, *b, *c]),
        (_, 1) => Err(object.invalid(key, "must be a list of 1 number, as `channels` is gray")),
        _ => Err(object.invalid(key, "must be a list of 1 or 3 numbers")),
    }
}

fn output(mut object: Object<'_>) -> Result<Output, ConfigError> {
    let detected = object.object("detections")?;
    let classified = object.object("classification")?;
    object.finish()?;
    match (detected, classified) {
        (Some(detected), None) => detections(detected).map(Output::Detections),
        (None, Some(classified)) => classification(classified).map(Output::Classification),
        (Some(_), Some(_)) => {
            Err(object.invalid("classification", "and `detections` exclude each other"))
        }
        (None, None) => Err(object.missing("detections` or `classification")),
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    YoloV8,
    YoloV5,
    Boxes,
}

fn detections(mut object: Object<'_>) -> Result<Detections, ConfigError> {
    let format = object.required("format")?;
    let source = match format {
        Format::YoloV8 => BoxSource::YoloV8 { tensor: object.optional("tensor")? },
        Format::YoloV5 => BoxSource::YoloV5 { tensor: object.optional("tensor")? },
        Format::Boxes => BoxSource::Boxes {
            boxes: object.required("boxes")?,
            scores: object.required("scores")?,
            classes: object.required("classes")?,
        },
    };
    let overlap = match format {
        Format::YoloV8 | Format::YoloV5 => Some(0.45),
        Format::Boxes => None, // Such models suppress by themselves.
    };
    let detections = Detections {
        source,
        labels: labels(&mut object)?,
        score_threshold: object.optional_in("score_threshold", 0.0, 1.0)?.unwrap_or(0.25),
        iou_threshold: object.optional_in("iou_threshold", 0.0, 1.0)?.or(overlap),
        class_agnostic: object.optional("class_agnostic")?.unwrap_or(false),
        max_detections: object.optional_in("max_detections", 1, MAX_ANSWERS)?.unwrap_or(300),
    };
    object.finish()?;
    Ok(detections)
}

fn classification(mut object: Object<'_>) -> Result<Classification, ConfigError> {
    let classification = Classification {
        tensor: object.optional("tensor")?,
        activation: object.optional("activation")?.unwrap_or(Activation::Softmax),
        top_k: object.optional_in("top_k", 1, MAX_ANSWERS)?.unwrap_or(5),
        labels: labels(&mut object)?,
    };
    object.finish()?;
    Ok(classification)
}

/// A path that stays inside the archive.
fn labels(object: &mut Object<'_>) -> Result<Option<String>, ConfigError> {
    let Some(file) = object.optional::<String>("labels")? else {
        return Ok(None);
    };
    let inside = Path::new(&file)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    if file.is_empty() || !inside {
        return Err(object.invalid("labels", "must name a file inside the archive"));
    }
    Ok(Some(file))
}
