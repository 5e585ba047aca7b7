//! The buffers that a thread's next picture uses again.

use std::cell::RefCell;

use fast_image_resize::Resizer;

use super::limits::MAX_KEPT;

/// What becomes of a picture on its way. Whoever fills a buffer writes or clears all of it, lest
/// one caller sees pixels of another's.
#[derive(Default)]
pub(super) struct Scratch {
    /// The decoded picture.
    pub(super) pixels: Vec<u8>,
    pub(super) resizer: Resizer,
    /// The picture at its size in the model's input.
    pub(super) small: Vec<u8>,
    /// The same before its channels lie side by side.
    pub(super) apart: Vec<u8>,
    /// The same, upright.
    pub(super) turned: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends this thread's buffers, and gives their memory back when the picture was a large one.
pub(super) fn lend<T>(borrow: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        let done = borrow(scratch);
        if scratch.size() > MAX_KEPT {
            *scratch = Scratch::default();
        }
        done
    })
}

impl Scratch {
    pub(super) fn size(&self) -> usize {
        let resizing = self.resizer.size_of_internal_buffers();
        [&self.pixels, &self.small, &self.apart, &self.turned]
            .map(Vec::capacity)
            .iter()
            .sum::<usize>()
            + resizing
    }
}

/// As many zeros as there are to be bytes. A decoder may leave pixels of a damaged file unwritten.
pub(super) fn cleared(buffer: &mut Vec<u8>, size: usize) -> &mut [u8] {
    buffer.clear();
    buffer.resize(size, 0);
    buffer
}
