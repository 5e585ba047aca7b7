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
pub(super) fn fill(
    spec: &ImageInput,
    plan: &Plan,
    channels: usize,
    small: &[u8],
    tensor: &mut [f32],
) {
    match channels {
        1 => fill_from::<1>(spec, plan, small, tensor),
        2 => fill_from::<2>(spec, plan, small, tensor),
        3 => fill_from::<3>(spec, plan, small, tensor),
        _ => fill_from::<4>(spec, plan, small, tensor),
    }
}

fn fill_from<const N: usize>(spec: &ImageInput, plan: &Plan, small: &[u8], tensor: &mut [f32]) {
    let (pixels, _) = small.as_chunks::<N>();
    let tables = [0, 1, 2].map(|channel| table(spec, channel));
    let is_gray = N < 3;
    let canvas = Canvas::new(spec, plan, pixels);
    match (spec.channels, spec.layout) {
        (Channels::Gray, _) if is_gray => {
            canvas.plane(tensor, spec.pad[0], &tables[0], |pixel| pixel[0]);
        }
        (Channels::Gray, _) => canvas.plane(tensor, spec.pad[0], &tables[0], luma),
        (Channels::Rgb | Channels::Bgr, Layout::Nchw) => canvas.planes(tensor, spec, &tables),
        (Channels::Rgb | Channels::Bgr, Layout::Nhwc) => canvas.interleaved(tensor, spec, &tables),
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
    left: usize,
    top: usize,
    small_size: (usize, usize),
    small: &'p [[u8; N]],
}

impl<'p, const N: usize> Canvas<'p, N> {
    fn new(spec: &ImageInput, plan: &Plan, small: &'p [[u8; N]]) -> Self {
        Self {
            width: spec.width as usize,
            left: plan.at.0 as usize,
            top: plan.at.1 as usize,
            small_size: (plan.size.0 as usize, plan.size.1 as usize),
            small,
        }
    }

    /// All channels, one after the other.
    fn planes(&self, tensor: &mut [f32], spec: &ImageInput, tables: &[Table; 3]) {
        let planes = tensor.chunks_exact_mut(tensor.len() / 3);
        for (channel, (plane, table)) in planes.zip(tables).enumerate() {
            let pad = spec.pad[channel];
            // The place is known when the loop over the pixels is compiled, which makes it fast.
            match place(spec.channels, channel, N) {
                0 => self.plane(plane, pad, table, |pixel| pixel[0]),
                1 => self.plane(plane, pad, table, |pixel| pixel[1.min(N - 1)]),
                _ => self.plane(plane, pad, table, |pixel| pixel[2.min(N - 1)]),
            }
        }
    }

    /// One channel of all the pixels.
    fn plane(&self, plane: &mut [f32], pad: u8, table: &Table, sample: impl Fn(&[u8; N]) -> u8) {
        for (to, from) in self.rows(plane, table[usize::from(pad)]) {
            for (to, pixel) in to.iter_mut().zip(from) {
                *to = table[usize::from(sample(pixel))];
            }
        }
    }

    /// All channels, pixel by pixel.
    fn interleaved(&self, tensor: &mut [f32], spec: &ImageInput, tables: &[Table; 3]) {
        let places = [0, 1, 2].map(|channel| place(spec.channels, channel, N));
        let values = |channel: usize, pixel: u8| tables[channel][usize::from(pixel)];
        let pad = [0, 1, 2].map(|channel| values(channel, spec.pad[channel]));
        let (pixels, _) = tensor.as_chunks_mut::<3>();
        for (to, from) in self.rows(pixels, pad) {
            for (to, pixel) in to.iter_mut().zip(from) {
                *to = [0, 1, 2].map(|channel| values(channel, pixel[places[channel]]));
            }
        }
    }

    /// The rows that the picture covers, with its own. The rest becomes padding.
    fn rows<'t, T: Copy>(
        &self,
        all: &'t mut [T],
        pad: T,
    ) -> impl Iterator<Item = (&'t mut [T], &'p [[u8; N]])> {
        let (width, height) = self.small_size;
        let (left, right) = (self.left, self.left + width);
        let (above, rest) = all.split_at_mut(self.top * self.width);
        let (covered, below) = rest.split_at_mut(height * self.width);
        above.fill(pad);
        below.fill(pad);
        covered.chunks_exact_mut(self.width).zip(self.small.chunks_exact(width)).map(
            move |(to, from)| {
                to[..left].fill(pad);
                to[right..].fill(pad);
                (&mut to[left..right], from)
            },
        )
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
