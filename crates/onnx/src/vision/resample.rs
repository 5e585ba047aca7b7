//! Brings a picture to its size in the model's input, upright.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;

use super::decode::Picture;
use super::geometry::Plan;
use super::limits::MAX_KEPT;
use super::{swapped_if, turns};
use crate::serving_json::{Filter, ImageInput};

/// Buffers that the next picture uses again.
#[derive(Default)]
struct Scratch {
    resizer: Resizer,
    small: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Hands the pixels of the small upright picture on, with as many channels as the picture has.
///
/// The picture is turned after it was made small, which is cheaper. With [`Filter::Nearest`] the
/// pixel chosen may thus be the neighbour of the one that turning first would choose.
pub(super) fn resample<T>(
    picture: &Picture,
    spec: &ImageInput,
    plan: &Plan,
    then: impl FnOnce(&[u8]) -> T,
) -> Result<T, String> {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.resize(picture, spec, plan).map_err(|error| error.to_string())?;
        let done = if picture.orientation == Orientation::NoTransforms {
            then(&scratch.small)
        } else {
            then(&upright(&scratch.small, picture, plan))
        };
        scratch.shrink();
        Ok(done)
    })
}

impl Scratch {
    fn resize(
        &mut self,
        picture: &Picture,
        spec: &ImageInput,
        plan: &Plan,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let pixel = match picture.channels {
            1 => PixelType::U8,
            2 => PixelType::U8x2,
            3 => PixelType::U8x3,
            _ => PixelType::U8x4,
        };
        let turned = turns(picture.orientation);
        let (width, height) = swapped_if(turned, plan.size);
        let [left, top, crop_width, crop_height] = plan.crop;
        let (left, top) = swapped_if(turned, (left, top)); // The crop is from the middle.
        let (crop_width, crop_height) = swapped_if(turned, (crop_width, crop_height));
        let options = ResizeOptions::new()
            .resize_alg(algorithm(spec.filter))
            .crop(left, top, crop_width, crop_height)
            .use_alpha(false);
        let source = ImageRef::new(picture.width, picture.height, &picture.pixels, pixel)?;
        let pixels = usize::try_from(u64::from(width) * u64::from(height))?;
        self.small.resize(pixels * pixel.size(), 0);
        let mut target = Image::from_slice_u8(width, height, &mut self.small, pixel)?;
        self.resizer.resize(&source, &mut target, &options)?;
        Ok(())
    }

    /// Gives memory back that only an unusual picture needs.
    fn shrink(&mut self) {
        if self.resizer.size_of_internal_buffers() > MAX_KEPT {
            self.resizer.reset_internal_buffers();
        }
        if self.small.capacity() > MAX_KEPT {
            self.small = Vec::new();
        }
    }
}

/// Pillow's filters.
fn algorithm(filter: Filter) -> ResizeAlg {
    match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    }
}

/// Turns and mirrors pixels as EXIF says.
fn upright(small: &[u8], picture: &Picture, plan: &Plan) -> Vec<u8> {
    let (upright_width, upright_height) = (plan.size.0 as usize, plan.size.1 as usize);
    let (width, height) = swapped_if(turns(picture.orientation), (upright_width, upright_height));
    let (right, bottom) = (width - 1, height - 1);
    let mut turned = Vec::with_capacity(small.len());
    for y in 0..upright_height {
        for x in 0..upright_width {
            let (from_x, from_y) = match picture.orientation {
                Orientation::NoTransforms => (x, y),
                Orientation::FlipHorizontal => (right - x, y),
                Orientation::Rotate180 => (right - x, bottom - y),
                Orientation::FlipVertical => (x, bottom - y),
                Orientation::Rotate90FlipH => (y, x),
                Orientation::Rotate90 => (y, bottom - x),
                Orientation::Rotate270FlipH => (right - y, bottom - x),
                Orientation::Rotate270 => (right - y, x),
            };
            let start = (from_y * width + from_x) * picture.channels;
            turned.extend_from_slice(&small[start..start + picture.channels]);
        }
    }
    turned
}
