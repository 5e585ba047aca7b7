//! The usual JPEG, decoded to planes no larger than need be.
//!
//! Baseline, all components in one scan, colours at full or half resolution. For anything else, and
//! for files with a fault, the caller has another decoder.

use super::headers::{START_OF_SCAN, Segments};
use bits::{Bits, Class, Huffman};
use transform::Basis;

mod bits;
mod transform;

const BASELINE: u8 = 0xC0;
const HUFFMAN_TABLES: u8 = 0xC4;
const QUANTIZATION_TABLES: u8 = 0xDB;
const RESTART_INTERVAL: u8 = 0xDD;

/// Where each coefficient of a block stands.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// A file's frame and tables, and where its scan begins.
pub(super) struct Baseline<'b> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) components: Vec<Component>,
    dc: [Option<Box<Huffman>>; 4],
    ac: [Option<Box<Huffman>>; 4],
    quantization: [Option<[f32; 64]>; 4],
    restart_interval: usize,
    scan: &'b [u8],
}

pub(super) struct Component {
    id: u8,
    /// Blocks of a unit, across and down.
    blocks: (usize, usize),
    /// How many pixels of the picture lie in one of the component, across and down.
    pub(super) coarse: (u8, u8),
    /// Which table has its quantization.
    steps: usize,
    dc: usize,
    ac: usize,
}

/// One component's pixels, row by row, in the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    /// How many pixels of the picture lie in one of these, across and down.
    pub(super) coarse: (u8, u8),
}

impl<'b> Baseline<'b> {
    /// `None` is for files of another kind, and for those that are not in order.
    pub(super) fn read(body: &'b [u8]) -> Option<Self> {
        let mut file = Self {
            width: 0,
            height: 0,
            components: Vec::new(),
            dc: [const { None }; 4],
            ac: [const { None }; 4],
            quantization: [None; 4],
            restart_interval: 0,
            scan: &[],
        };
        let mut segments = Segments::new(body);
        while let Some((marker, payload)) = segments.next() {
            match marker {
                QUANTIZATION_TABLES => file.read_quantization(payload)?,
                HUFFMAN_TABLES => file.read_codes(payload)?,
                RESTART_INTERVAL => {
                    file.restart_interval =
                        usize::from(u16::from_be_bytes(*payload.first_chunk()?));
                }
                BASELINE if file.components.is_empty() => file.read_frame(payload)?,
                BASELINE..=0xCF => return None,
                START_OF_SCAN => {
                    file.read_scan(payload)?;
                    file.scan = segments.rest();
                    return Some(file);
                }
                _ => {}
            }
        }
        None
    }

    fn read_codes(&mut self, mut payload: &[u8]) -> Option<()> {
        while let Some((head, rest)) = payload.split_first_chunk::<17>() {
            let [kind, lengths @ ..] = head;
            let count = lengths.iter().map(|count| usize::from(*count)).sum();
            let (listed, rest) = rest.split_at_checked(count)?;
            let (class, tables) = match kind >> 4 {
                0 => (Class::Dc, &mut self.dc),
                1 => (Class::Ac, &mut self.ac),
                _ => return None,
            };
            let table = tables.get_mut(usize::from(kind & 15))?;
            *table = Some(Box::new(Huffman::new(lengths, listed, class)?));
            payload = rest;
        }
        payload.is_empty().then_some(())
    }

    fn read_frame(&mut self, payload: &[u8]) -> Option<()> {
        let [8, h1, h0, w1, w0, count, components @ ..] = payload else { return None };
        self.height = usize::from(u16::from_be_bytes([*h1, *h0]));
        self.width = usize::from(u16::from_be_bytes([*w1, *w0]));
        let (components, []) = components.as_chunks::<3>() else { return None };
        let blocks = |sampling: u8| (sampling >> 4, sampling & 15);
        let (across, down) = match components {
            [_] => (1, 1), // Alone, a component's sampling means nothing.
            [first, [_, 0x11, _], [_, 0x11, _]] => blocks(first[1]),
            _ => return None,
        };
        let known = matches!((across, down), (1 | 2, 1 | 2));
        if !known || usize::from(*count) != components.len() || self.width * self.height == 0 {
            return None;
        }
        self.components = (0..components.len())
            .map(|index| Component {
                id: components[index][0],
                blocks: if index == 0 { (usize::from(across), usize::from(down)) } else { (1, 1) },
                coarse: if index == 0 { (1, 1) } else { (across, down) },
                steps: usize::from(components[index][2]),
                dc: 0,
                ac: 0,
            })
            .collect();
        Some(())
    }

    fn read_scan(&mut self, payload: &[u8]) -> Option<()> {
        let (count, rest) = payload.split_first()?;
        let (chosen, [0, 63, 0]) = rest.split_at_checked(2 * usize::from(*count))? else {
            return None;
        };
        let (chosen, _) = chosen.as_chunks::<2>();
        if chosen.len() != self.components.len() || chosen.is_empty() {
            return None;
        }
        for (component, [id, codes]) in self.components.iter_mut().zip(chosen) {
            component.dc = usize::from(codes >> 4);
            component.ac = usize::from(codes & 15);
            if component.id != *id {
                return None;
            }
        }
        Some(())
    }

    fn read_quantization(&mut self, mut payload: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = payload.split_first() {
            let table = self.quantization.get_mut(usize::from(*kind))?; // Of bytes, not more.
            let (steps, rest) = rest.split_first_chunk::<64>()?;
            *table = Some(steps.map(f32::from));
            payload = rest;
        }
        Some(())
    }
}

impl Baseline<'_> {
    /// Decodes the first `reductions.len()` components, each reduced by 1, 2, 4 or 8, one behind
    /// the other into the buffer, of which every byte is written. `None` when the file has a fault.
    pub(super) fn decode(&self, reductions: &[usize], buffer: &mut Vec<u8>) -> Option<Vec<Plane>> {
        let mut size = 0;
        let mut planes = Vec::new();
        for (component, reduction) in self.components.iter().zip(reductions) {
            let coarse = (
                component.coarse.0 * u8::try_from(*reduction).ok()?,
                component.coarse.1 * u8::try_from(*reduction).ok()?,
            );
            let width = self.width.div_ceil(usize::from(coarse.0));
            let height = self.height.div_ceil(usize::from(coarse.1));
            planes.push(Plane { start: size, width, height, coarse });
            size += width * height;
        }
        buffer.resize(size, 0);
        let tables = self.components.iter().map(|component| self.tables(component));
        let tables = tables.collect::<Option<Vec<_>>>()?;
        let bases = Bases::new();
        let scan = Scan { file: self, tables, planes: &planes, reductions, bases };
        #[cfg(target_arch = "x86_64")]
        let is_fit = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2");
        #[cfg(target_arch = "x86_64")]
        if is_fit {
            // SAFETY: the processor has what the function needs.
            unsafe { scan.decode_avx2(buffer) }?;
            return Some(planes);
        }
        scan.decode(buffer)?;
        Some(planes)
    }

    fn tables(&self, component: &Component) -> Option<Tables<'_>> {
        Some(Tables {
            steps: self.quantization.get(component.steps)?.as_ref()?,
            dc: self.dc.get(component.dc)?.as_deref()?,
            ac: self.ac.get(component.ac)?.as_deref()?,
        })
    }
}

/// What a component's blocks are decoded with.
struct Tables<'f> {
    steps: &'f [f32; 64],
    dc: &'f Huffman,
    ac: &'f Huffman,
}

struct Bases {
    full: Basis<8>,
    half: Basis<4>,
    quarter: Basis<2>,
}

impl Bases {
    fn new() -> Self {
        Self { full: transform::basis(), half: transform::basis(), quarter: transform::basis() }
    }
}

struct Scan<'s> {
    file: &'s Baseline<'s>,
    tables: Vec<Tables<'s>>,
    planes: &'s [Plane],
    reductions: &'s [usize],
    bases: Bases,
}

/// Where in a scan one is.
struct Progress<'b> {
    bits: Bits<'b>,
    /// Of each component, what the next block's first coefficient is told from.
    levels: [i32; 3],
    until_restart: usize,
}

impl Scan<'_> {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn decode_avx2(&self, buffer: &mut [u8]) -> Option<()> {
        self.decode(buffer)
    }

    #[inline(always)]
    fn decode(&self, buffer: &mut [u8]) -> Option<()> {
        let file = self.file;
        let (across, down) = file.components.first()?.blocks;
        let interval = file.restart_interval;
        let mut progress =
            Progress { bits: Bits::new(file.scan), levels: [0; 3], until_restart: interval };
        for row in 0..file.height.div_ceil(8 * down) {
            for column in 0..file.width.div_ceil(8 * across) {
                if interval > 0 && progress.until_restart == 0 {
                    progress.bits.restart()?;
                    progress.levels = [0; 3];
                    progress.until_restart = interval;
                }
                progress.until_restart = progress.until_restart.wrapping_sub(1);
                self.unit((column, row), &mut progress, buffer)?;
            }
            if progress.bits.overdrawn() {
                return None;
            }
        }
        Some(())
    }

    /// The blocks of all components for the same part of the picture.
    #[inline(always)]
    fn unit(
        &self,
        (column, row): (usize, usize),
        progress: &mut Progress<'_>,
        buffer: &mut [u8],
    ) -> Option<()> {
        let components = self.file.components.iter().zip(&self.tables).zip(&mut progress.levels);
        for (index, ((component, tables), level)) in components.enumerate() {
            let (across, down) = component.blocks;
            for at in 0..across * down {
                let mut block = [[0.0f32; 8]; 8];
                let last = read_block(&mut progress.bits, tables, level, &mut block)?;
                let place = (column * across + at % across, row * down + at / across);
                self.draw(index, place, &block, USED[last & 63], buffer);
            }
        }
        Some(())
    }

    #[inline(always)]
    fn draw(
        &self,
        component: usize,
        place: (usize, usize),
        block: &[[f32; 8]; 8],
        used: u8,
        buffer: &mut [u8],
    ) {
        let Some(plane) = self.planes.get(component) else { return };
        let used = usize::from(used);
        let bases = &self.bases;
        match self.reductions[component] {
            1 => copy(plane, place, &transform::pixels(block, used, &bases.full), buffer),
            2 => copy(plane, place, &transform::pixels(block, used, &bases.half), buffer),
            4 => copy(plane, place, &transform::pixels(block, used, &bases.quarter), buffer),
            _ => copy(plane, place, &transform::pixels::<1>(block, 1, &[[0.0]; 8]), buffer),
        }
    }
}

/// Reads the coefficients of a block that is all zero, and tells the last one's place.
#[inline(always)]
fn read_block(
    bits: &mut Bits<'_>,
    tables: &Tables<'_>,
    level: &mut i32,
    block: &mut [[f32; 8]; 8],
) -> Option<usize> {
    *level = level.checked_add(bits.difference(tables.dc)?)?;
    block[0][0] = *level as f32 * tables.steps[0];
    let flat = block.as_flattened_mut();
    bits.coefficients(tables.ac, &mut |at, value| {
        flat[usize::from(ZIGZAG[at & 63] & 63)] = value as f32 * tables.steps[at & 63];
    })
}

/// By the last coefficient's place: how many rows and columns of the block are not all zero.
const USED: [u8; 64] = {
    let mut used = [0; 64];
    let (mut at, mut most) = (0, 0);
    while at < 64 {
        let (row, column) = (ZIGZAG[at] / 8, ZIGZAG[at] % 8);
        let side = if row > column { row } else { column };
        most = if side > most { side } else { most };
        used[at] = most + 1;
        at += 1;
    }
    used
};

/// Writes what of the block lies within the picture.
#[inline(always)]
fn copy<const N: usize>(
    plane: &Plane,
    (column, row): (usize, usize),
    pixels: &[[u8; N]; N],
    buffer: &mut [u8],
) {
    let (left, top) = (column * N, row * N);
    // Units may reach over the picture's edges by whole blocks.
    let width = N.min(plane.width.saturating_sub(left));
    let Some(rows) = buffer.get_mut(plane.start + top * plane.width..) else { return };
    let rows = rows.chunks_exact_mut(plane.width).take(plane.height.saturating_sub(top));
    for (row, pixels) in rows.zip(pixels) {
        if let Some(to) = row.get_mut(left..).and_then(<[u8]>::first_chunk_mut::<N>) {
            *to = *pixels;
        } else if let Some(to) = row.get_mut(left..) {
            to.copy_from_slice(&pixels[..width]);
        }
    }
}
