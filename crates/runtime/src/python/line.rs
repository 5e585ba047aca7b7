//! Our end of a worker's socket.
//!
//! It is told of what can be read only. A socket that is also told of room to write is woken each
//! time the worker takes a call off it, for nothing: that would be a third of all wake-ups.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::net::UnixStream;

use bytes::{Buf as _, Bytes};
use rustix::buffer::spare_capacity;
use rustix::net::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many parts one write takes.
const AT_ONCE: usize = 16;

pub(super) struct Line(AsyncFd<UnixStream>);

impl Line {
    /// Takes a stream that does not block.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        listen(stream, Interest::READABLE).map(Self)
    }

    /// Writes the parts, none of which is empty, to their end; what is left of them after a
    /// cancellation is still to be written.
    pub(super) async fn write(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        let mut room = None;
        while !parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            for (slice, part) in slices.iter_mut().zip(&*parts) {
                *slice = IoSlice::new(part);
            }
            let n_slices = parts.len().min(AT_ONCE);
            match self.0.get_ref().write_vectored(slices.get(..n_slices).unwrap_or_default()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => take(parts, n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let room = match &room {
                        Some(room) => room,
                        None => room.insert(self.room()?),
                    };
                    room.writable().await?.clear_ready();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// For large bodies: the same socket once more, told of room to write.
    fn room(&self) -> io::Result<AsyncFd<UnixStream>> {
        listen(self.0.get_ref().try_clone()?, Interest::WRITABLE)
    }

    /// Appends what has come, as far as `input` has room; 0 at the end of the stream.
    pub(super) async fn read(&self, input: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let wanted = input.capacity() - input.len();
            match rustix::io::read(self.0.get_ref(), spare_capacity(input)) {
                Ok(n) => {
                    if n < wanted {
                        ready.clear_ready(); // There is no more: the next look would be for nothing.
                    }
                    return Ok(n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Takes away `n` bytes that were written.
fn take(parts: &mut VecDeque<Bytes>, mut n: usize) {
    while let Some(mut part) = parts.pop_front() {
        if n < part.len() {
            part.advance(n);
            return parts.push_front(part);
        }
        n -= part.len();
    }
}

impl Drop for Line {
    /// The worker ends. Closing is not enough: there is a copy of our end, for its last moment.
    fn drop(&mut self) {
        let _closed = shutdown(self.0.get_ref(), Shutdown::Both);
    }
}

#[expect(unsafe_code, reason = "tokio cannot know that the stream owns its descriptor")]
fn listen(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a `UnixStream` owns its descriptor, gives out the same one each time, and closes it
    // only when it is dropped; `AsyncFd` keeps the stream and lends it out as a shared reference.
    Ok(unsafe { AsyncFd::register_with_interest(stream, interest) }?)
}
