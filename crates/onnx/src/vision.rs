//! A picture in a request's body becomes the model's input: decode, resize, normalise.
//!
//! The results are Pillow's, but for a rounding here and there: its resampling, its conversion to
//! grey, and alpha dropped as by `convert("RGB")`. Pictures are taken upright, as their EXIF orientation says. Colour profiles
//! are not looked at. Of an animation the first frame counts.

use std::fmt;

use image::metadata::Orientation;

use self::decode::Picture;
use self::geometry::Plan;
use crate::serving_json::ImageInput;

mod baseline;
mod decode;
mod geometry;
mod headers;
mod jpeg;
mod limits;
mod planes;
mod resample;
mod scratch;
mod values;
#[cfg(test)]
mod tests;

pub use self::geometry::Geometry;
pub use self::limits::{MAX_ALLOCATION, MAX_BYTES, MAX_PIXELS, MAX_SIDE};

const TYPES: [&str; 5] = ["image/jpeg", "image/jpg", "image/png", "image/webp", IMAGE];

/// What SageMaker's own image algorithms take: any picture.
const IMAGE: &str = "application/x-image";

/// A picture as the model wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    pub tensor: Vec<f32>,
    /// With the batch, of one, in front.
    pub shape: Vec<usize>,
    /// Leads from the tensor back to the picture.
    pub geometry: Geometry,
}

/// Why a body does not become a tensor. The caller is at fault, and Display is fit for them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    #[error("pictures must be {}, not {content_type}", TYPES.join(", "))]
    Type { content_type: String },
    #[error("the picture is too large: {0}")]
    TooLarge(String),
    #[error("the body is not a picture: {0}")]
    Unknown(String),
    #[error("the body is not a {format}: {why}")]
    Broken { format: Format, why: String },
}

/// What a picture is packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
}

/// Whether bodies of this type are pictures. Parameters and case do not matter.
#[must_use]
pub fn accepts(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence))
}

/// Makes the model's input of a picture. Which of the formats the body has is read off the body;
/// a wrong one of the [accepted](accepts) types does no harm.
///
/// Work and memory are bounded by [`MAX_BYTES`], [`MAX_PIXELS`] and [`MAX_ALLOCATION`], for a
/// decoder cannot be stopped once it runs.
///
/// # Errors
/// When the type, the size or the bytes are wrong; see [`PictureError::status`].
pub fn prepare(
    spec: &ImageInput,
    content_type: &str,
    body: &[u8],
) -> Result<Prepared, PictureError> {
    let mut tensor = vec![0.0; tensor_len(spec)];
    let geometry = prepare_into(spec, content_type, body, &mut tensor)?;
    Ok(Prepared { tensor, shape: values::shape(spec), geometry })
}

/// The shape of what [`prepare`] makes, with the batch, of one, in front.
#[must_use]
pub fn shape(spec: &ImageInput) -> Vec<usize> {
    values::shape(spec)
}

/// As [`prepare`], into a tensor of [`tensor_len`] values that is there already, such as a
/// picture's part of a batch. All of it is written, whatever it held. After an error its values
/// mean nothing.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_into(
    spec: &ImageInput,
    content_type: &str,
    body: &[u8],
    tensor: &mut [f32],
) -> Result<Geometry, PictureError> {
    debug_assert_eq!(tensor.len(), tensor_len(spec), "the tensor is of another size");
    if !accepts(content_type) {
        return Err(PictureError::Type { content_type: content_type.to_owned() });
    }
    scratch::lend(|scratch| {
        let (picture, format) = decode::decode(body, spec, &mut scratch.pixels)?;
        let plan = Plan::new(spec, picture.upright_size());
        let small = resample::resample(&picture, spec, &plan, scratch)
            .map_err(|why| PictureError::Broken { format, why: why.to_string() })?;
        values::fill(spec, &plan, picture.pixels.channels(), small, tensor);
        Ok(plan.geometry)
    })
}

/// How many values a picture becomes.
#[must_use]
pub fn tensor_len(spec: &ImageInput) -> usize {
    spec.depth() * spec.height as usize * spec.width as usize
}

impl PictureError {
    /// The HTTP status that tells the caller.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Unknown(_) | Self::Broken { .. } => 400,
            Self::TooLarge(_) => 413,
            Self::Type { .. } => 415,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
        })
    }
}

impl Picture {
    fn upright_size(&self) -> (u32, u32) {
        swapped_if(turns(self.orientation), (self.width, self.height))
    }
}

/// Whether width and height change places.
fn turns(orientation: Orientation) -> bool {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => true,
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
    }
}

fn swapped_if<T>(swap: bool, (a, b): (T, T)) -> (T, T) {
    if swap { (b, a) } else { (a, b) }
}
