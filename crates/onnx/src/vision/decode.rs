//! From bytes to pixels, within bounds.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::baseline::Plane;
use super::limits::{MAX_ALLOCATION, MAX_BYTES, MAX_PIXELS, MAX_SIDE};
use super::scratch::cleared;
use super::{Format, PictureError, headers, jpeg};
use crate::serving_json::ImageInput;

/// A decoded picture, not yet turned upright. Its pixels are in the buffer.
pub(super) struct Picture {
    pub(super) pixels: Pixels,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) orientation: Orientation,
}

/// How pixels lie in the buffer, row by row, a byte a channel.
pub(super) enum Pixels {
    /// So many channels side by side: 1 or 3, one more with alpha.
    Together(usize),
    /// One plane of light, or that and two of colour.
    Apart(Vec<Plane>),
}

impl Pixels {
    /// How many channels there are once they lie side by side.
    pub(super) fn channels(&self) -> usize {
        match self {
            Self::Together(channels) => *channels,
            Self::Apart(planes) => planes.len(),
        }
    }
}

/// Decodes into the buffer. What the model wants spares work; what there is, the picture says.
pub(super) fn decode(
    body: &[u8],
    spec: &ImageInput,
    pixels: &mut Vec<u8>,
) -> Result<(Picture, Format), PictureError> {
    if body.len() > MAX_BYTES {
        let why = format!("{} bytes, of at most {MAX_BYTES}", body.len());
        return Err(PictureError::TooLarge(why));
    }
    let format = sniff(body)?;
    let picture = match format {
        Format::Jpeg => jpeg::decode(body, spec, pixels),
        Format::Png => png(body, pixels),
        Format::WebP => webp(body, pixels),
    };
    Ok((picture?, format))
}

fn sniff(body: &[u8]) -> Result<Format, PictureError> {
    match body {
        [0xFF, 0xD8, 0xFF, ..] => Ok(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Ok(Format::Png),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Format::WebP),
        [] => Err(PictureError::Unknown("it is empty".to_owned())),
        start => {
            let start = start[..start.len().min(8)].escape_ascii();
            let why = format!("it starts with \"{start}\", as no JPEG, PNG or WebP does");
            Err(PictureError::Unknown(why))
        }
    }
}

fn png(body: &[u8], pixels: &mut Vec<u8>) -> Result<Picture, PictureError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION);
    let decoder = PngDecoder::with_limits(Cursor::new(body), limits).map_err(told(Format::Png))?;
    read(bounded(decoder, Format::Png, 0)?, Format::Png, pixels)
}

fn webp(body: &[u8], pixels: &mut Vec<u8>) -> Result<Picture, PictureError> {
    // The stream inside may claim another size than the container, and is decoded before that
    // shows.
    for (width, height) in headers::webp_frames(body) {
        check_size(width, height)?;
    }
    let decoder = WebPDecoder::new(Cursor::new(body)).map_err(told(Format::WebP))?;
    // A lossless frame is decoded as RGBA, an animation's is then laid on a canvas of RGBA.
    let buffered = if decoder.has_animation() { 8 } else { 4 };
    read(bounded(decoder, Format::WebP, buffered)?, Format::WebP, pixels)
}

/// Lets a decoder pass whose picture costs what it may, `buffered` being what it takes for each
/// pixel besides the result.
fn bounded<D: ImageDecoder>(decoder: D, format: Format, buffered: u64) -> Result<D, PictureError> {
    let (width, height) = decoder.dimensions();
    check_cost(format, (width, height), decoder.total_bytes(), buffered)?;
    Ok(decoder)
}

/// Refuses a picture that has no pixels, or that takes more memory than it may: `result` for
/// itself and `buffered` for each pixel.
pub(super) fn check_cost(
    format: Format,
    (width, height): (u32, u32),
    result: u64,
    buffered: u64,
) -> Result<(), PictureError> {
    if width == 0 || height == 0 {
        return Err(broken(format, "it has no pixels"));
    }
    check_size(width, height)?;
    let bytes = result + u64::from(width) * u64::from(height) * buffered;
    if bytes > MAX_ALLOCATION {
        let why = format!("decoding {width} x {height} takes {bytes} bytes of memory");
        return Err(PictureError::TooLarge(format!("{why}, of at most {MAX_ALLOCATION}")));
    }
    Ok(())
}

fn check_size(width: u32, height: u32) -> Result<(), PictureError> {
    if width > MAX_SIDE || height > MAX_SIDE {
        let why = format!("{width} x {height} pixels, of at most {MAX_SIDE} a side");
        return Err(PictureError::TooLarge(why));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let why = format!("{width} x {height} pixels, of at most {MAX_PIXELS} in all");
        return Err(PictureError::TooLarge(why));
    }
    Ok(())
}

fn read(
    mut decoder: impl ImageDecoder,
    format: Format,
    pixels: &mut Vec<u8>,
) -> Result<Picture, PictureError> {
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    // A picture whose EXIF data are broken is shown as it is.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let size = usize::try_from(decoder.total_bytes()).map_err(|_| broken(format, "too large"))?;
    decoder.read_image(cleared(pixels, size)).map_err(told(format))?;
    if matches!(color, ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16) {
        drop_low_bytes(pixels);
    }
    let pixels = Pixels::Together(usize::from(color.channel_count()));
    Ok(Picture { pixels, width, height, orientation })
}

/// From 16 to 8 bits a channel, in place.
fn drop_low_bytes(pixels: &mut Vec<u8>) {
    let samples = pixels.len() / 2;
    for index in 0..samples {
        let sample = u16::from_ne_bytes([pixels[2 * index], pixels[2 * index + 1]]);
        pixels[index] = sample.to_be_bytes()[0];
    }
    pixels.truncate(samples);
}

fn told(format: Format) -> impl Fn(ImageError) -> PictureError {
    move |error| match error {
        ImageError::Limits(limit) => PictureError::TooLarge(limit.to_string()),
        ImageError::Decoding(_)
        | ImageError::Encoding(_)
        | ImageError::Parameter(_)
        | ImageError::Unsupported(_)
        | ImageError::IoError(_) => broken(format, &error.to_string()),
    }
}

pub(super) fn broken(format: Format, why: &str) -> PictureError {
    PictureError::Broken { format, why: why.to_owned() }
}
