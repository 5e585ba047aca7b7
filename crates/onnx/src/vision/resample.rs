//! Brings a picture to its size in the model's input, upright.

use std::error::Error;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;

use super::baseline::Plane;
use super::decode::{Picture, Pixels};
use super::geometry::Plan;
use super::planes::to_rgb;
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
    let task = Task { plan: &plan.turned_back(picture.orientation), filter: spec.filter };
    match &picture.pixels {
        Pixels::Together(channels) => task.together(picture, *channels, scratch)?,
        Pixels::Apart(planes) => task.apart(planes, scratch)?,
    }
    if picture.orientation == Orientation::NoTransforms {
        return Ok(&scratch.small);
    }
    upright(&scratch.small, picture, plan, &mut scratch.turned);
    Ok(&scratch.turned)
}

/// What is to be done before the picture is turned.
struct Task<'p> {
    plan: &'p Plan,
    filter: Filter,
}

impl Task<'_> {
    fn together(
        &self,
        picture: &Picture,
        channels: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Box<dyn Error>> {
        let pixel = match channels {
            1 => PixelType::U8,
            2 => PixelType::U8x2,
            3 => PixelType::U8x3,
            _ => PixelType::U8x4,
        };
        let source = ImageRef::new(picture.width, picture.height, &scratch.pixels, pixel)?;
        scratch.small.resize(self.pixels() * channels, 0);
        self.resize(&source, (1, 1), &mut scratch.resizer, &mut scratch.small)
    }

    fn apart(&self, planes: &[Plane], scratch: &mut Scratch) -> Result<(), Box<dyn Error>> {
        let each = self.pixels();
        scratch.small.resize(each * planes.len(), 0);
        let apart = match planes {
            [_] => &mut scratch.small,
            _ => &mut scratch.apart,
        };
        apart.resize(each * planes.len(), 0);
        for (plane, to) in planes.iter().zip(apart.chunks_exact_mut(each)) {
            let (width, height) = (u32::try_from(plane.width)?, u32::try_from(plane.height)?);
            let from = &scratch.pixels[plane.start..][..plane.width * plane.height];
            let source = ImageRef::new(width, height, from, PixelType::U8)?;
            self.resize(&source, plane.coarse, &mut scratch.resizer, to)?;
        }
        if let [_, _, _] = planes {
            let (light, colors) = scratch.apart.split_at(each);
            let (blue, red) = colors.split_at(each);
            to_rgb([light, blue, red], &mut scratch.small);
        }
        Ok(())
    }

    fn pixels(&self) -> usize {
        self.plan.size.0 as usize * self.plan.size.1 as usize
    }

    /// Resizes pixels that each stand for so many of the picture. The vertical pass comes first,
    /// over the crop's columns only, so what lies between the passes has the target's height.
    fn resize(
        &self,
        source: &ImageRef<'_>,
        coarse: (u8, u8),
        resizer: &mut Resizer,
        to: &mut [u8],
    ) -> Result<(), Box<dyn Error>> {
        let [left, top, width, height] = self.plan.crop;
        let (x, y) = (f64::from(coarse.0), f64::from(coarse.1));
        let options = ResizeOptions::new()
            .resize_alg(algorithm(self.filter))
            .crop(left / x, top / y, width / x, height / y)
            .use_alpha(false);
        let (width, height) = self.plan.size;
        let mut target = Image::from_slice_u8(width, height, to, source.pixel_type())?;
        Ok(resizer.resize(source, &mut target, &options)?)
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
fn upright(small: &[u8], picture: &Picture, plan: &Plan, turned: &mut Vec<u8>) {
    let (upright_width, upright_height) = (plan.size.0 as usize, plan.size.1 as usize);
    let (width, height) = swapped_if(turns(picture.orientation), (upright_width, upright_height));
    let (right, bottom) = (width - 1, height - 1);
    let channels = picture.pixels.channels();
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
            let start = (from_y * width + from_x) * channels;
            turned.extend_from_slice(&small[start..start + channels]);
        }
    }
}
