//! JPEGs, decoded without a detour.

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::baseline::{Baseline, Plane};
use super::decode::{Picture, Pixels, broken, check_cost};
use super::geometry::Plan;
use super::headers::Jpeg;
use super::scratch::cleared;
use super::{Format, PictureError, planes};
use crate::serving_json::{Channels, Filter, ImageInput};

/// Decodes into the buffer, the luma alone if the model wants no more, and no larger than it needs.
pub(super) fn decode(
    body: &[u8],
    spec: &ImageInput,
    pixels: &mut Vec<u8>,
) -> Result<Picture, PictureError> {
    // We check the size; a small deviation from the standard is none of a caller's concern.
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(body), options);
    decoder.decode_headers().map_err(|error| told(&error))?;
    let found = decoder.input_colorspace().unwrap_or(ColorSpace::YCbCr);
    let color = result(found, spec.channels);
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let (width, height) = size(&decoder)?;
    let header = Jpeg::read(body);
    let bytes = decoder.output_buffer_size().ok_or_else(|| broken(Format::Jpeg, "too large"))?;
    let coefficients = 2 * u64::from(header.buffered_components);
    let result = u64::try_from(bytes).unwrap_or(u64::MAX);
    check_cost(Format::Jpeg, (width, height), result, coefficients)?;
    if !header.complete {
        // The decoder would fill the rest with grey.
        return Err(broken(Format::Jpeg, "it is cut short"));
    }
    let exif = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let orientation = exif.unwrap_or(Orientation::NoTransforms);
    let channels = color.num_components();
    let mut picture = Picture { pixels: Pixels::Together(channels), width, height, orientation };
    let apart = matches!(found, ColorSpace::YCbCr | ColorSpace::Luma)
        .then(|| decode_apart(body, spec, &picture, pixels))
        .flatten();
    if let Some(planes) = apart {
        picture.pixels = Pixels::Apart(planes);
    } else {
        decoder.decode_into(cleared(pixels, bytes)).map_err(|error| told(&error))?;
    }
    Ok(picture)
}

/// The usual file's components, each no larger than need be.
fn decode_apart(
    body: &[u8],
    spec: &ImageInput,
    picture: &Picture,
    pixels: &mut Vec<u8>,
) -> Option<Vec<Plane>> {
    if spec.filter == Filter::Nearest {
        return None; // It chooses among the picture's own pixels.
    }
    let file = Baseline::read(body)?;
    let same = (u32::try_from(file.width), u32::try_from(file.height));
    if same != (Ok(picture.width), Ok(picture.height)) {
        return None;
    }
    let plan = Plan::new(spec, picture.upright_size()).turned_back(picture.orientation);
    planes::decode(&file, picture.pixels.channels(), &plan, pixels)
}

/// What the decoder shall make of the file's colours. Luma is there for the taking.
fn result(found: ColorSpace, wanted: Channels) -> ColorSpace {
    match (found, wanted) {
        (ColorSpace::Luma, _) | (ColorSpace::YCbCr, Channels::Gray) => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    }
}

fn size(decoder: &JpegDecoder<ZCursor<&[u8]>>) -> Result<(u32, u32), PictureError> {
    let (width, height) = decoder.dimensions().unwrap_or_default();
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(width), Ok(height)) => Ok((width, height)),
        _ => Err(broken(Format::Jpeg, "too large")),
    }
}

fn told(error: &DecodeErrors) -> PictureError {
    broken(Format::Jpeg, &error.to_string())
}
