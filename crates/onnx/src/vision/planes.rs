//! Pictures whose components lie apart, light and two of colour, each at a size of its own.

use super::baseline::{Baseline, Plane};
use super::geometry::Plan;

/// How many pixels must be left for each of the model's input, across and down, where a picture is
/// decoded at a reduced size: Pillow's `reducing_gap` of 2.
const GAP: f64 = 2.0;

/// How many pixels there must be for each of the model's input if three planes shall be resized
/// faster than pixels of three channels, which the resizer is better at.
const WORTH: f64 = 2.5;

/// Decodes the first `wanted` components into the buffer, each no larger than the plan needs.
/// `None` when the file has a fault, or when it is not worth it.
pub(super) fn decode(
    file: &Baseline<'_>,
    wanted: usize,
    plan: &Plan,
    buffer: &mut Vec<u8>,
) -> Option<Vec<Plane>> {
    let [_, _, width, height] = plan.crop;
    let gaps = (width / f64::from(plan.size.0), height / f64::from(plan.size.1));
    if wanted > 1 && gap(gaps, (1, 1)) < WORTH {
        return None;
    }
    let coarse = || file.components.iter().take(wanted).map(|component| component.coarse);
    let reductions: Vec<usize> = coarse().map(|coarse| reduction(gap(gaps, coarse))).collect();
    let mut planes = file.decode(&reductions, buffer)?;
    for (plane, coarse) in planes.iter_mut().zip(coarse()) {
        if coarse != (1, 1) && gap(gaps, coarse) < GAP {
            raise(plane, (file.width, file.height), buffer);
        }
    }
    Some(planes)
}

/// Pixels of a component for each of the model's input, in the direction that has fewer.
fn gap((across, down): (f64, f64), coarse: (u8, u8)) -> f64 {
    (across / f64::from(coarse.0)).min(down / f64::from(coarse.1))
}

fn reduction(gap: f64) -> usize {
    [8u8, 4, 2].into_iter().find(|by| gap >= GAP * f64::from(*by)).map_or(1, usize::from)
}

/// Brings a plane of colour to the picture's size, behind the others in the buffer. A pixel takes
/// three quarters of the nearest value and one of the next, across and down, as libjpeg's do.
fn raise(plane: &mut Plane, (width, height): (usize, usize), buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.resize(start + width * height, 0);
    let (known, raised) = buffer.split_at_mut(start);
    let known = &known[plane.start..][..plane.width * plane.height];
    let row = |y: usize| &known[y * plane.width..][..plane.width];
    let doubled = plane.coarse.0 == 2;
    // With a value before the first and after the last.
    let mut sums = vec![0u16; plane.width + 2];
    for (y, to) in raised.chunks_exact_mut(width).enumerate() {
        let near = y / usize::from(plane.coarse.1);
        let far = match plane.coarse.1 {
            1 => near,
            _ if y % 2 == 0 => near.saturating_sub(1),
            _ => (near + 1).min(plane.height - 1),
        };
        for ((sum, near), far) in sums[1..].iter_mut().zip(row(near)).zip(row(far)) {
            *sum = 3 * u16::from(*near) + u16::from(*far);
        }
        sums[0] = sums[1];
        sums[plane.width + 1] = sums[plane.width];
        if doubled { double(&sums, to) } else { quarter(&sums[1..], to) }
    }
    *plane = Plane { start, width, height, coarse: (1, 1) };
}

fn double(sums: &[u16], to: &mut [u8]) {
    let (pairs, last) = to.as_chunks_mut::<2>();
    let mut values = sums.iter().zip(&sums[1..]).zip(&sums[2..]);
    let both = |((before, at), after): ((&u16, &u16), &u16)| {
        [low((3 * at + before + 8) >> 4), low((3 * at + after + 7) >> 4)]
    };
    for (pair, values) in pairs.iter_mut().zip(values.clone()) {
        *pair = both(values);
    }
    if let ([last], Some(values)) = (last, values.next_back()) {
        *last = both(values)[0];
    }
}

fn quarter(sums: &[u16], to: &mut [u8]) {
    for (to, sum) in to.iter_mut().zip(sums) {
        *to = low((sum + 2) >> 2);
    }
}

fn low(value: u16) -> u8 {
    value.to_be_bytes()[1]
}

/// JFIF's colours, a pixel after the other.
pub(super) fn to_rgb(planes: [&[u8]; 3], rgb: &mut [u8]) {
    let (pixels, _) = rgb.as_chunks_mut::<3>();
    let [light, blue, red] = planes;
    for (((pixel, light), blue), red) in pixels.iter_mut().zip(light).zip(blue).zip(red) {
        let (light, blue, red) = (i32::from(*light), i32::from(*blue) - 128, i32::from(*red) - 128);
        // In 65,536ths.
        let round = |value: i32| byte(light + ((value + 0x8000) >> 16));
        *pixel = [round(91_881 * red), round(-22_554 * blue - 46_802 * red), round(116_130 * blue)];
    }
}

fn byte(value: i32) -> u8 {
    value.clamp(0, 255).to_le_bytes()[0]
}
