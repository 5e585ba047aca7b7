//! Pixels to the values of the tensor: normalised, padded, in the model's order, in one pass.

use super::geometry::Plan;
use crate::serving_json::{Channels, Dtype, ImageInput, Layout};

/// The value of each pixel of a channel.
type Table = [f32; 256];

/// The shape of the tensor.
pub(super) fn shape(spec: &ImageInput) -> Vec<usize> {
    let (width, height) = (spec.width as usize, spec.height as usize);
    match spec.layout {
        Layout::Nchw => vec![1, spec.depth(), height, width],
        Layout::Nhwc => vec![1, height, width, spec.depth()],
    }
}

/// Fills the tensor from the small upright picture, of `channels` bytes a pixel.
pub(super) fn tensor(spec: &ImageInput, plan: &Plan, channels: usize, small: &[u8]) -> Vec<f32> {
    match channels {
        1 => fill::<1>(spec, plan, small),
        2 => fill::<2>(spec, plan, small),
        3 => fill::<3>(spec, plan, small),
        _ => fill::<4>(spec, plan, small),
    }
}

fn fill<const N: usize>(spec: &ImageInput, plan: &Plan, small: &[u8]) -> Vec<f32> {
    let (pixels, _) = small.as_chunks::<N>();
    let tables = [0, 1, 2].map(|channel| table(spec, channel));
    let is_gray = N < 3;
    let canvas = Canvas::new(spec, plan, pixels);
    let (empty, pad) = (Vec::new(), spec.pad[0]);
    match (spec.channels, spec.layout) {
        (Channels::Gray, _) if is_gray => canvas.plane(empty, pad, &tables[0], |pixel| pixel[0]),
        (Channels::Gray, _) => canvas.plane(empty, pad, &tables[0], luma),
        (Channels::Rgb | Channels::Bgr, Layout::Nchw) => canvas.planes(empty, spec, &tables),
        (Channels::Rgb | Channels::Bgr, Layout::Nhwc) => canvas.interleaved(spec, &tables),
    }
}

/// Where a pixel of the picture has what a channel of the tensor wants.
fn place(channels: Channels, channel: usize, of: usize) -> usize {
    match channels {
        _ if of < 3 => 0, // A grey picture has the same for all.
        Channels::Rgb | Channels::Gray => channel,
        Channels::Bgr => 2 - channel,
    }
}

/// The model's input with the small picture on it.
struct Canvas<'p, const N: usize> {
    width: usize,
    height: usize,
    left: usize,
    top: usize,
    small_width: usize,
    small: &'p [[u8; N]],
}

impl<'p, const N: usize> Canvas<'p, N> {
    fn new(spec: &ImageInput, plan: &Plan, small: &'p [[u8; N]]) -> Self {
        Self {
            width: spec.width as usize,
            height: spec.height as usize,
            left: plan.at.0 as usize,
            top: plan.at.1 as usize,
            small_width: plan.size.0 as usize,
            small,
        }
    }

    /// All channels, one after the other.
    fn planes(&self, mut tensor: Vec<f32>, spec: &ImageInput, tables: &[Table; 3]) -> Vec<f32> {
        tensor.reserve_exact(3 * self.width * self.height);
        for (channel, (pad, table)) in spec.pad.into_iter().zip(tables).enumerate() {
            // The place is known when the loop over the pixels is compiled, which makes it fast.
            tensor = match place(spec.channels, channel, N) {
                0 => self.plane(tensor, pad, table, |pixel| pixel[0]),
                1 => self.plane(tensor, pad, table, |pixel| pixel[1.min(N - 1)]),
                _ => self.plane(tensor, pad, table, |pixel| pixel[2.min(N - 1)]),
            };
        }
        tensor
    }

    /// Adds one channel of all the pixels.
    fn plane(
        &self,
        mut tensor: Vec<f32>,
        pad: u8,
        table: &Table,
        sample: impl Fn(&[u8; N]) -> u8,
    ) -> Vec<f32> {
        let pad = table[usize::from(pad)];
        let start = tensor.len();
        tensor.reserve(self.width * self.height);
        let right = self.width - self.left - self.small_width;
        tensor.resize(start + self.top * self.width, pad);
        for row in self.small.chunks_exact(self.small_width) {
            tensor.resize(tensor.len() + self.left, pad);
            tensor.extend(row.iter().map(|pixel| table[usize::from(sample(pixel))]));
            tensor.resize(tensor.len() + right, pad);
        }
        tensor.resize(start + self.height * self.width, pad);
        tensor
    }

    /// All channels, pixel by pixel.
    fn interleaved(&self, spec: &ImageInput, tables: &[Table; 3]) -> Vec<f32> {
        let places = [0, 1, 2].map(|channel| place(spec.channels, channel, N));
        let values = |channel: usize, pixel: u8| tables[channel][usize::from(pixel)];
        let pad = [0, 1, 2].map(|channel| values(channel, spec.pad[channel]));
        let mut tensor = vec![pad; self.width * self.height];
        let rows = tensor.chunks_exact_mut(self.width).skip(self.top);
        for (to, from) in rows.zip(self.small.chunks_exact(self.small_width)) {
            for (to, pixel) in to[self.left..].iter_mut().zip(from) {
                *to = [0, 1, 2].map(|channel| values(channel, pixel[places[channel]]));
            }
        }
        tensor.into_flattened()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the tensor is of f32")]
fn table(spec: &ImageInput, channel: usize) -> Table {
    let (mean, std) = (spec.mean[channel], spec.std[channel]);
    let mut table = [0.0; 256];
    for (pixel, value) in (0u8..=255).zip(&mut table) {
        *value = match spec.dtype {
            Dtype::Float32 => ((f64::from(pixel) * spec.scale - mean) / std) as f32,
            Dtype::Uint8 => f32::from(pixel),
        };
    }
    table
}

/// Pillow's `convert("L")`, to the bit.
fn luma<const N: usize>(pixel: &[u8; N]) -> u8 {
    let weighed = [19_595, 38_470, 7_471].iter().zip(pixel);
    let sum: u32 = weighed.map(|(weight, sample)| weight * u32::from(*sample)).sum();
    (sum + 0x8000).to_be_bytes()[1]
}
