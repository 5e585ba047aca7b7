//! Our end of a worker's socket.
//!
//! It is told of what can be read only. A socket that is also told of room to write is woken each
//! time the worker takes a call off it, for nothing: that would be a third of all wake-ups.

use std::io::{self, IoSlice, Write as _};
use std::os::unix::net::UnixStream;

use bytes::{Buf as _, Bytes};
use rustix::buffer::spare_capacity;
use rustix::net::{Shutdown, shutdown};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(super) struct Line(AsyncFd<UnixStream>);

impl Line {
    /// Takes a stream that does not block.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        listen(stream, Interest::READABLE).map(Self)
    }

    /// Writes both parts to their end; what is left of them after a cancellation is still to be
    /// written.
    pub(super) async fn write(&self, head: &mut Bytes, body: &mut Bytes) -> io::Result<()> {
        let mut room = None;
        while head.has_remaining() || body.has_remaining() {
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            match self.0.get_ref().write_vectored(&parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    let of_head = n.min(head.len());
                    head.advance(of_head);
                    body.advance(n - of_head);
                }
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
