//! The socket between us and a template process: one JSON object a message.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::path::Path;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest message; both ends know it.
const LONGEST: usize = 1 << 16;

/// What a template is told.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum Order<'a> {
    /// Import the framework's libraries, and the code of `submit_dir` or of `model_dir`.
    Start {
        framework: &'a str,
        /// `None` for a host of many models: each brings its own code.
        model_dir: Option<&'a Path>,
        submit_dir: Option<&'a Path>,
        /// Folders that come first on `sys.path`.
        paths: &'a [&'a Path],
    },
    /// Fork a worker that loads `model_dir`; its socket comes with the message, and the page where
    /// it notes which of several calls it begins.
    Fork { id: u32, model_dir: &'a Path },
    /// End a worker at once.
    Kill { id: u32 },
}

/// What a template says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event {
    Started,
    /// The code could not be imported.
    Failed {
        reason: String,
    },
    Forked {
        id: u32,
        pid: i32,
    },
    Exited {
        id: u32,
        code: Option<i32>,
        signal: Option<i32>,
        /// It was never forked.
        reason: Option<String>,
    },
}

/// A socket that keeps messages apart and says when the other end is closed.
pub(super) struct Control(UnixDatagram);

impl Control {
    /// Our end, and the template's.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let ours = StdUnixDatagram::from(ours);
        ours.set_nonblocking(true)?;
        Ok((Self(UnixDatagram::from_std(ours)?), theirs))
    }

    pub(super) async fn send(&self, order: &Order<'_>, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(order)?;
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::Error::other("no room for descriptors"));
            }
            let parts = [IoSlice::new(&text)];
            sendmsg(self.0.as_fd(), &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    /// Says that there are no more orders: the template ends.
    pub(super) fn close(&self) {
        // It may have ended before.
        let _closed = self.0.shutdown(Shutdown::Write);
    }

    /// The next event; `None` once the template is gone.
    pub(super) async fn receive(&self) -> io::Result<Option<Event>> {
        let mut text = vec![0; LONGEST];
        let n = self.0.recv(&mut text).await?;
        if n == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(text.get(..n).unwrap_or_default())?))
    }
}
