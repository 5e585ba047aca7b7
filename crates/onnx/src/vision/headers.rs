//! What must be known of a file before it is decoded, and the decoders do not tell.

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
pub(super) const START_OF_SCAN: u8 = 0xDA;
const PROGRESSIVE: u8 = 0xC2;

/// What we need of a JPEG.
pub(super) struct Jpeg {
    /// How many components are held as coefficients until the last scan was read.
    pub(super) buffered_components: u8,
    /// Whether it ends where it should.
    pub(super) complete: bool,
}

impl Jpeg {
    pub(super) fn read(body: &[u8]) -> Self {
        let mut jpeg =
            Self { buffered_components: 0, complete: body.ends_with(&[0xFF, END_OF_IMAGE]) };
        let mut segments = Segments::new(body);
        let mut frame = (0, 0); // Its marker and components.
        while let Some((marker, payload)) = segments.next() {
            match marker {
                0xC0..=0xC2 => frame = (marker, payload.get(5).copied().unwrap_or(u8::MAX)),
                START_OF_SCAN => {
                    let (kind, components) = frame;
                    let together = payload.first() == Some(&components);
                    if kind == PROGRESSIVE || !together {
                        jpeg.buffered_components = components;
                    }
                    if jpeg.complete {
                        return jpeg; // The usual end; what follows is the pixels.
                    }
                    segments.skip_scan();
                }
                END_OF_IMAGE => return Self { complete: true, ..jpeg },
                _ => {}
            }
        }
        jpeg
    }
}

/// The segments of a JPEG: a marker with its payload.
pub(super) struct Segments<'b> {
    rest: &'b [u8],
}

impl<'b> Segments<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self { rest: body }
    }

    /// What follows the last segment.
    pub(super) fn rest(&self) -> &'b [u8] {
        self.rest
    }

    pub(super) fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let start = self.rest.windows(2).position(|pair| pair[0] == 0xFF && is_marker(pair[1]))?;
        let marker = self.rest[start + 1];
        self.rest = &self.rest[start + 2..];
        if marker == START_OF_IMAGE || marker == END_OF_IMAGE {
            return Some((marker, &[]));
        }
        let length = usize::from(u16::from_be_bytes(*self.rest.first_chunk::<2>()?));
        let payload = self.rest.get(2..length)?;
        self.rest = &self.rest[length..];
        Some((marker, payload))
    }

    fn skip_scan(&mut self) {
        let end = self.rest.windows(2).position(|pair| pair[0] == 0xFF && is_marker(pair[1]));
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }
}

/// Neither a stuffed or filling byte nor a restart within a scan.
fn is_marker(byte: u8) -> bool {
    !matches!(byte, 0x00 | 0x01 | 0xFF | 0xD0..=0xD7)
}

/// The sizes that the lossy frames of a WebP claim, an animation's frames too.
pub(super) fn webp_frames(body: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    const ANIMATION_FRAME_HEADER: usize = 16;
    let top = Chunks { rest: body.get(12..).unwrap_or_default() };
    top.flat_map(|(name, payload)| match &name {
        b"ANMF" => Chunks { rest: payload.get(ANIMATION_FRAME_HEADER..).unwrap_or_default() },
        _ => Chunks { rest: &[] },
    })
    .chain(Chunks { rest: body.get(12..).unwrap_or_default() })
    .filter(|(name, _)| name == b"VP8 ")
    .filter_map(|(_, payload)| lossy_size(payload))
}

/// The size in the header of a VP8 key frame.
fn lossy_size(payload: &[u8]) -> Option<(u32, u32)> {
    let [0x9D, 0x01, 0x2A, a, b, c, d] = *payload.get(3..10)?.first_chunk::<7>()? else {
        return None;
    };
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((side(a, b), side(c, d)))
}

/// The chunks of a RIFF file. A chunk that says more than there is ends with the file.
struct Chunks<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Chunks<'b> {
    type Item = ([u8; 4], &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?.min(rest.len());
        let (payload, after) = rest.split_at(length);
        self.rest = after.get(length % 2..).unwrap_or_default();
        Some((*name, payload))
    }
}
