//! From the coefficients of a block to its pixels, at full or at reduced size.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// The pixels of each coefficient's cosine, those of a reduced block being the mean of those that
/// they stand for.
pub(super) type Basis<const N: usize> = [[f32; N]; 8];

pub(super) fn basis<const N: usize>() -> Basis<N> {
    let group = 8 / N;
    let cosine = |frequency: usize, pixel: usize| {
        let factor = if frequency == 0 { FRAC_1_SQRT_2 } else { 1.0 };
        let angle = (2 * pixel + 1) as f32 * frequency as f32 * PI / 16.0;
        factor * angle.cos() / 2.0
    };
    std::array::from_fn(|frequency| {
        std::array::from_fn(|pixel| {
            let pixels = pixel * group..(pixel + 1) * group;
            pixels.map(|pixel| cosine(frequency, pixel)).sum::<f32>() / group as f32
        })
    })
}

/// The pixels of a block whose coefficients from the row and the column `used` on are zero.
#[inline(always)]
pub(super) fn pixels<const N: usize>(
    block: &[[f32; 8]; 8],
    used: usize,
    basis: &Basis<N>,
) -> [[u8; N]; N] {
    if used <= 1 {
        return [[byte(block[0][0] / 8.0); N]; N];
    }
    let mut columns = [[0.0f32; 8]; N];
    for (pixel, column) in columns.iter_mut().enumerate() {
        *column = sum(used, |at| basis[at][pixel], |at| &block[at]);
    }
    let mut pixels = [[0; N]; N];
    for (pixels, column) in pixels.iter_mut().zip(&columns) {
        let row: [f32; N] = sum(used, |at| column[at], |at| &basis[at]);
        for (pixel, value) in pixels.iter_mut().zip(row) {
            *pixel = byte(value);
        }
    }
    pixels
}

/// The weighted sum of rows. The sum stays in a register, which makes the difference.
#[inline(always)]
fn sum<'r, const N: usize>(
    used: usize,
    weight: impl Fn(usize) -> f32,
    row: impl Fn(usize) -> &'r [f32; N],
) -> [f32; N] {
    let mut sum = [0.0; N];
    for at in 0..used.min(8) {
        let (weight, row) = (weight(at), row(at));
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += weight * value;
        }
    }
    sum
}

/// The nearest byte. Adding 2^23 leaves it in the lowest bits, which is faster than a cast.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "two instructions; what is no number does not occur")]
fn byte(value: f32) -> u8 {
    const WHOLE: f32 = 8_388_608.0;
    ((value + 128.0).max(0.0).min(255.0) + WHOLE).to_bits().to_le_bytes()[0]
}
