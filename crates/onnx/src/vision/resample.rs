//! Brings a picture to its size in the model's input, upright.

use std::error::Error;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions};
use image::metadata::Orientation;

use super::decode::Picture;
use super::geometry::Plan;
use super::scratch::Scratch;
use super::{swapped_if, turns};
use crate::serving_json::{Filter, ImageInput};

/// The pixels of the small upright picture, with as many channels as the picture has.
///
/// The picture is turned after it was made small, which is cheaper. With [`Filter::Nearest`] the
/// pixel chosen may thus be the neighbour of the one that turning first would choose.
pub(super) fn resample<'s>(
    picture: &Picture,
    spec: &ImageInput,
    plan: &Plan,
    scratch: &'s mut Scratch,
) -> Result<&'s [u8], Box<dyn Error>> {
    resize(picture, spec, plan, scratch)?;
    if picture.orientation == Orientation::NoTransforms {
        return Ok(&scratch.small);
    }
    upright(&scratch.small, picture, plan, &mut scratch.turned);
    Ok(&scratch.turned)
}

/// The vertical pass comes first, over the columns of the crop only, so that what lies between the
/// passes has the target's height.
fn resize(
    picture: &Picture,
    spec: &ImageInput,
    plan: &Plan,
    scratch: &mut Scratch,
) -> Result<(), Box<dyn Error>> {
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
    let source = ImageRef::new(picture.width, picture.height, &scratch.pixels, pixel)?;
    let pixels = usize::try_from(u64::from(width) * u64::from(height))?;
    scratch.small.resize(pixels * pixel.size(), 0);
    let mut target = Image::from_slice_u8(width, height, &mut scratch.small, pixel)?;
    scratch.resizer.resize(&source, &mut target, &options)?;
    Ok(())
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
fn upright(small: &[u8], picture: &Picture, plan: &Plan, turned: &mut Vec<u8>) {
    let (upright_width, upright_height) = (plan.size.0 as usize, plan.size.1 as usize);
    let (width, height) = swapped_if(turns(picture.orientation), (upright_width, upright_height));
    let (right, bottom) = (width - 1, height - 1);
    turned.clear();
    turned.reserve(small.len());
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
}
