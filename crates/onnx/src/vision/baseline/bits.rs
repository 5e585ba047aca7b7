//! The bits of a scan, and Huffman's code for them.

/// So many bits are looked up at once; most codes are shorter, with the value that follows.
const LOOKED_UP: u32 = 10;

/// Ends a block: more than there are coefficients.
const END_OF_BLOCK: u32 = 64;

/// A scan's bits, without stuffed bytes. Nothing takes a reference that is not inlined, so that they
/// stay in registers.
#[derive(Clone, Copy)]
pub(super) struct Bits<'b> {
    rest: &'b [u8],
    /// The next bits, from the top.
    buffer: u64,
    count: u32,
    /// How many of these are not in the file.
    invented: u32,
}

impl<'b> Bits<'b> {
    pub(super) fn new(rest: &'b [u8]) -> Self {
        Self { rest, buffer: 0, count: 0, invented: 0 }
    }

    /// Whether bits were taken that the file does not have.
    #[inline(always)]
    pub(super) fn overdrawn(&self) -> bool {
        self.count < self.invented
    }

    /// Goes on behind the restart marker that should be next.
    #[inline(always)]
    pub(super) fn restart(&mut self) -> Option<()> {
        let (marker, rest) = self.rest.split_first_chunk::<2>()?;
        let [0xFF, 0xD0..=0xD7] = *marker else { return None };
        if self.overdrawn() {
            return None;
        }
        *self = Self::new(rest);
        Some(())
    }

    /// Makes sure of 32 bits at least, which are a code and its value.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(chunk) = self.rest.first_chunk::<8>() {
            let word = u64::from_be_bytes(*chunk);
            if !has_ff(word) {
                let bytes = (63 - self.count) / 8;
                self.buffer |= word >> self.count;
                self.count += 8 * bytes;
                self.rest = &self.rest[bytes as usize..];
                return;
            }
        }
        *self = self.refilled_slowly();
    }

    #[cold]
    #[inline(never)]
    fn refilled_slowly(mut self) -> Self {
        // The fast way may have left bits below those that count.
        self.buffer &= !(u64::MAX >> self.count);
        while self.count <= 56 {
            let (byte, length) = match *self.rest {
                [0xFF, 0, ..] => (0xFF, 2),
                [0xFF, ..] | [] => (0, 0),
                [byte, ..] => (byte, 1),
            };
            if length == 0 {
                self.invented += 8;
            }
            self.rest = &self.rest[length..];
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
        self
    }

    #[inline(always)]
    fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// A value of so many bits, 1 to 16, the first of them telling its sign.
    #[inline(always)]
    fn value(&mut self, bits: u32) -> i32 {
        let value = upper(self.buffer) >> (32 - bits);
        self.skip(bits);
        signed(value, bits)
    }
}

/// The upper half of the bits.
#[inline(always)]
fn upper(bits: u64) -> u32 {
    (bits >> 32) as u32
}

/// A value of so many bits: those that begin with 0 are negative.
#[inline(always)]
fn signed(value: u32, bits: u32) -> i32 {
    let value = value.cast_signed();
    if value < 1 << (bits - 1) { value - (1 << bits) + 1 } else { value }
}

fn has_ff(word: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let inverse = !word;
    inverse.wrapping_sub(LOW) & word & HIGH != 0
}

/// A table of codes.
pub(super) struct Huffman {
    /// For each of the next bits: the bits to take (low byte), the zeros before the value
    /// (second byte) and the value (above), or the symbol when `VALUE` is not set.
    looked_up: [u32; 1 << LOOKED_UP],
    /// By length: codes below this one are of that length, counted with 16 bits.
    below: [u32; 17],
    /// By length: what leads from a code to its symbol.
    offset: [i32; 17],
    symbols: [u8; 256],
}

/// The entry holds a value, not a symbol.
const VALUE: u32 = 0x80;

impl Huffman {
    /// `lengths` says how many codes there are of each length from 1.
    pub(super) fn new(lengths: &[u8; 16], listed: &[u8], class: Class) -> Option<Self> {
        let mut table = Self {
            looked_up: [0; 1 << LOOKED_UP],
            below: [0; 17],
            offset: [0; 17],
            symbols: [0; 256],
        };
        table.symbols.get_mut(..listed.len())?.copy_from_slice(listed);
        let (mut code, mut index) = (0u32, 0usize);
        for (length, count) in (1u32..).zip(lengths) {
            let length_at = length as usize;
            table.offset[length_at] = i32::try_from(index).ok()? - i32::try_from(code).ok()?;
            for _ in 0..*count {
                if code >> length != 0 {
                    return None;
                }
                if length <= LOOKED_UP {
                    table.enter(code, length, *listed.get(index)?, class);
                }
                code += 1;
                index += 1;
            }
            table.below[length_at] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Fills all entries that begin with the code.
    fn enter(&mut self, code: u32, length: u32, symbol: u8, class: Class) {
        let free = LOOKED_UP - length;
        let first = (code << free) as usize;
        for (low, entry) in (0u32..).zip(&mut self.looked_up[first..first + (1 << free)]) {
            *entry = entry_of(low, free, length, symbol, class);
        }
    }

    /// The symbol of a code that is not looked up, and its length.
    #[cold]
    #[inline(never)]
    fn long(&self, buffer: u64) -> Option<(u8, u32)> {
        let code = upper(buffer) >> 16;
        let (length, _) = (1u32..=16).zip(&self.below[1..]).find(|(_, below)| code < **below)?;
        let offset = self.offset[length as usize];
        let index = (code >> (16 - length)).checked_add_signed(offset)?;
        Some((*self.symbols.get(index as usize)?, length))
    }
}

/// What a table's symbols say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// The size of a difference.
    Dc,
    /// Zeros to skip and the size of a value.
    Ac,
}

fn entry_of(low: u32, free: u32, length: u32, symbol: u8, class: Class) -> u32 {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    if class == Class::Ac && size == 0 {
        let run = if run == 15 { 16 } else { END_OF_BLOCK };
        return run << 8 | VALUE | length;
    }
    if class == Class::Dc || size > free {
        return u32::from(symbol) << 8 | length;
    }
    let value = signed((low >> (free - size)) & ((1 << size) - 1), size);
    (value << 16).cast_unsigned() | (run + 1) << 8 | VALUE | (length + size)
}

impl Bits<'_> {
    /// What is to add to the block's first coefficient.
    #[inline(always)]
    pub(super) fn difference(&mut self, table: &Huffman) -> Option<i32> {
        self.refill();
        let (size, length) = self.symbol(table)?;
        self.skip(length);
        match u32::from(size) {
            0 => Some(0),
            size @ 1..=15 => Some(self.value(size)),
            _ => None,
        }
    }

    /// The other coefficients: hands each to `put` with its place in zigzag order, and tells the
    /// last place.
    #[inline(always)]
    pub(super) fn coefficients(
        &mut self,
        table: &Huffman,
        mut put: impl FnMut(usize, i32),
    ) -> Option<usize> {
        let (mut at, mut last) = (0usize, 0usize);
        loop {
            self.refill();
            let entry = table.looked_up[(self.buffer >> (64 - LOOKED_UP)) as usize];
            let value = if entry & VALUE != 0 {
                self.skip(entry & 0x7F);
                at += (entry >> 8 & 0xFF) as usize;
                entry.cast_signed() >> 16
            } else {
                let (symbol, length) = self.symbol(table)?;
                self.skip(length);
                let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                match (run, size) {
                    (15, 0) => at += 16,
                    (_, 0) => return Some(last),
                    _ => at += run + 1,
                }
                if size == 0 { 0 } else { self.value(size) }
            };
            if at > 63 {
                // The end, or more than there may be.
                return (at >= END_OF_BLOCK as usize && value == 0).then_some(last);
            }
            if value != 0 {
                put(at, value);
                last = at;
            }
            if at == 63 {
                return Some(last);
            }
        }
    }

    #[inline(always)]
    fn symbol(&self, table: &Huffman) -> Option<(u8, u32)> {
        let entry = table.looked_up[(self.buffer >> (64 - LOOKED_UP)) as usize];
        if entry == 0 {
            return table.long(self.buffer);
        }
        Some((entry.to_le_bytes()[1], entry & 0x7F))
    }
}
