//! Where a picture lies in the model's input.

use image::metadata::Orientation;

use super::{swapped_if, turns};
use crate::serving_json::{ImageInput, Resize};

/// How pixels of the model's input are found in the picture: `(input - left) / scale_x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Width and height of the upright picture.
    pub picture: (u32, u32),
    pub scale_x: f64,
    pub scale_y: f64,
    /// Negative where the picture's edge was cut off.
    pub left: f64,
    pub top: f64,
}

impl Geometry {
    /// A box `[x1, y1, x2, y2]` of the model's input, in pixels of the picture and within it.
    #[must_use]
    pub fn to_picture(self, corners: [f64; 4]) -> [f64; 4] {
        let (width, height) = (f64::from(self.picture.0), f64::from(self.picture.1));
        let x = |x: f64| ((x - self.left) / self.scale_x).clamp(0.0, width);
        let y = |y: f64| ((y - self.top) / self.scale_y).clamp(0.0, height);
        let [x1, y1, x2, y2] = corners;
        [x(x1), y(y1), x(x2), y(y2)]
    }
}

/// What part of the picture goes where. All of it in upright coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Plan {
    /// Left, top, width and height of what is taken from the picture.
    pub(super) crop: [f64; 4],
    /// The size it is brought to.
    pub(super) size: (u32, u32),
    /// Where that begins in the model's input; the rest is padding.
    pub(super) at: (u32, u32),
    pub(super) geometry: Geometry,
}

impl Plan {
    pub(super) fn new(spec: &ImageInput, picture: (u32, u32)) -> Self {
        let target = (spec.width, spec.height);
        let whole = [0.0, 0.0, f64::from(picture.0), f64::from(picture.1)];
        match spec.resize {
            Resize::Stretch => Self::of(picture, whole, target, (0, 0)),
            Resize::Letterbox => {
                let size = letterboxed(picture, target);
                let at = ((target.0 - size.0) / 2, (target.1 - size.1) / 2);
                Self::of(picture, whole, size, at)
            }
            Resize::Cover => Self::of(picture, middle(picture, target), target, (0, 0)),
        }
    }

    /// What is taken and what it is brought to, before the picture is turned upright.
    pub(super) fn turned_back(&self, orientation: Orientation) -> Self {
        let turned = turns(orientation);
        let [left, top, width, height] = self.crop;
        let (left, top) = swapped_if(turned, (left, top)); // The crop is from the middle.
        let (width, height) = swapped_if(turned, (width, height));
        Self { crop: [left, top, width, height], size: swapped_if(turned, self.size), ..*self }
    }

    fn of(picture: (u32, u32), crop: [f64; 4], size: (u32, u32), at: (u32, u32)) -> Self {
        let [crop_left, crop_top, crop_width, crop_height] = crop;
        let scale_x = f64::from(size.0) / crop_width;
        let scale_y = f64::from(size.1) / crop_height;
        let left = f64::from(at.0) - crop_left * scale_x;
        let top = f64::from(at.1) - crop_top * scale_y;
        Self { crop, size, at, geometry: Geometry { picture, scale_x, scale_y, left, top } }
    }
}

/// The largest size within the target that keeps the picture's proportions.
fn letterboxed(picture: (u32, u32), target: (u32, u32)) -> (u32, u32) {
    let (x, y) = ratios(picture, target);
    let ratio = x.min(y);
    (scaled(picture.0, ratio, target.0), scaled(picture.1, ratio, target.1))
}

/// Rounds as Python does, which most models were trained with.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to `most`")]
fn scaled(side: u32, ratio: f64, most: u32) -> u32 {
    (f64::from(side) * ratio).round_ties_even().clamp(1.0, f64::from(most)) as u32
}

/// The largest part of the picture with the target's proportions, from its middle.
fn middle(picture: (u32, u32), target: (u32, u32)) -> [f64; 4] {
    let (x, y) = ratios(picture, target);
    let ratio = x.max(y);
    let (whole_width, whole_height) = (f64::from(picture.0), f64::from(picture.1));
    let width = (f64::from(target.0) / ratio).min(whole_width);
    let height = (f64::from(target.1) / ratio).min(whole_height);
    [(whole_width - width) / 2.0, (whole_height - height) / 2.0, width, height]
}

fn ratios(picture: (u32, u32), target: (u32, u32)) -> (f64, f64) {
    (f64::from(target.0) / f64::from(picture.0), f64::from(target.1) / f64::from(picture.1))
}
