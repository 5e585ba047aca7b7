//! Inflates one gzip member, within limits.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use flate2::bufread::GzDecoder;

use crate::Limits;
use crate::extract::ExtractError;

/// What went through, what may still, and what stopped it.
///
/// Shared by the reader below the tar reader and the loop above it: the tar reader in between
/// would bury the reason of an error.
pub(crate) struct Meter {
    packed: Cell<u64>,
    inflated: Cell<u64>,
    /// How much of headers may be read before the next entry's content.
    headers_left: Cell<Option<u64>>,
    fault: RefCell<Option<ExtractError>>,
    limits: Limits,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Rc<Self> {
        Rc::new(Self {
            packed: Cell::new(0),
            inflated: Cell::new(0),
            headers_left: Cell::new(None),
            fault: RefCell::new(None),
            limits: limits.clone(),
        })
    }

    /// From here on headers are read, `max` bytes of them at most. The tar reader takes a long
    /// name into memory, however long it is.
    pub(crate) fn expect_headers(&self, max: u64) {
        self.headers_left.set(Some(max));
    }

    /// From here on content is read.
    pub(crate) fn expect_content(&self) {
        self.headers_left.set(None);
    }

    /// How much content the archive may still inflate to.
    pub(crate) fn room(&self) -> u64 {
        self.limits.unpacked_bytes.saturating_sub(self.inflated.get())
    }

    /// The reason to refuse what is larger than that.
    pub(crate) fn too_large(&self) -> String {
        too_large(self.limits.unpacked_bytes)
    }

    /// Why reading stopped, if it did below the tar reader.
    pub(crate) fn take_fault(&self) -> Option<ExtractError> {
        self.fault.borrow_mut().take()
    }

    /// Keeps the first fault, and makes an error to pass through the readers above.
    fn stop(&self, fault: ExtractError) -> io::Error {
        self.fault.borrow_mut().get_or_insert(fault);
        io::ErrorKind::Other.into()
    }

    fn refuse(&self, reason: impl Into<String>) -> io::Error {
        self.stop(ExtractError::Refused(reason.into()))
    }

    fn is_stopped(&self) -> bool {
        self.fault.borrow().is_some()
    }

    /// Counts inflated bytes and holds them against the limits.
    fn count(&self, bytes: u64) -> io::Result<()> {
        if let Some(left) = self.headers_left.get() {
            let Some(left) = left.checked_sub(bytes) else {
                return Err(self.refuse("an entry's name or header is too long"));
            };
            self.headers_left.set(Some(left));
        }
        let inflated = self.inflated.get().saturating_add(bytes);
        self.inflated.set(inflated);
        let Limits { unpacked_bytes, ratio, ratio_free_bytes, .. } = self.limits;
        if inflated > unpacked_bytes {
            return Err(self.refuse(self.too_large()));
        }
        let fair = ratio_free_bytes.saturating_add(self.packed.get().saturating_mul(ratio));
        if inflated > fair {
            let reason = format!("it unpacks to more than {ratio} times its size");
            return Err(self.refuse(reason));
        }
        Ok(())
    }
}

/// The reason to refuse what unpacks to more than `max` bytes.
pub(crate) fn too_large(max: u64) -> String {
    format!("its files take more than {max} bytes")
}

/// Reads the inflated bytes of `R`, which is one gzip member and nothing else.
pub(crate) struct Inflate<R> {
    gzip: GzDecoder<Packed<R>>,
    meter: Rc<Meter>,
}

impl<R: BufRead> Inflate<R> {
    pub(crate) fn new(packed: R, meter: Rc<Meter>) -> Self {
        Self { gzip: GzDecoder::new(Packed { inner: packed, meter: meter.clone() }), meter }
    }

    /// Reads what follows the archive's end: zeros that fill up a record, and no second member.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let mut rest = vec![0; 64 << 10];
        loop {
            let count = self.read(&mut rest)?;
            if count == 0 {
                return Ok(());
            }
            if rest[..count].iter().any(|byte| *byte != 0) {
                return Err(self.meter.refuse("data follows the end of the archive"));
            }
        }
    }

    /// Says why inflating failed, unless reading had failed before.
    fn explain(&self, error: &io::Error) -> io::Error {
        if self.meter.is_stopped() {
            return io::ErrorKind::Other.into();
        }
        let is_cut_off = error.kind() == io::ErrorKind::UnexpectedEof;
        let has_header = self.gzip.header().is_some();
        self.meter.refuse(match (is_cut_off, has_header) {
            (true, _) if self.meter.packed.get() == 0 => "the archive is empty: upload it again",
            (true, _) => "the archive is truncated: upload it again",
            (false, false) => "the archive is not gzip-compressed: pack it with `tar czf`",
            (false, true) => "the archive's gzip data is damaged: upload it again",
        })
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.gzip.read(buffer).map_err(|error| self.explain(&error))?;
        if count == 0 && !self.gzip.get_mut().fill_buf()?.is_empty() {
            return Err(self.meter.refuse("data follows the end of the gzip stream"));
        }
        self.meter.count(count as u64)?;
        Ok(count)
    }
}

/// Counts packed bytes as they are used, and keeps the error if there are no more.
struct Packed<R> {
    inner: R,
    meter: Rc<Meter>,
}

impl<R: BufRead> BufRead for Packed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let meter = &self.meter;
        self.inner.fill_buf().map_err(|error| meter.stop(ExtractError::Io(error)))
    }

    fn consume(&mut self, count: usize) {
        let packed = self.meter.packed.get().saturating_add(count as u64);
        self.meter.packed.set(packed);
        self.inner.consume(count);
    }
}

impl<R: BufRead> Read for Packed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}
