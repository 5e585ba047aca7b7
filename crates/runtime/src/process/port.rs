//! Ports of 127.0.0.1 for programs to listen on.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// Below the ports that the system gives to outgoing connections (32768 and up), so that none of
/// those takes a port between the look and the program's own bind; and below Kubernetes' node
/// ports (30000 and up).
const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// A program gets this many in a row: one to listen on, the others for its own use.
const BLOCK: u16 = 16;

/// Hands out blocks of ports, each to one program at a time.
#[derive(Default)]
pub(super) struct Ports {
    taken: Mutex<BTreeSet<u16>>,
    #[cfg(test)]
    next: Mutex<Vec<u16>>,
}

/// A block of ports, free for others when dropped.
pub(super) struct PortClaim {
    ports: Arc<Ports>,
    first: u16,
}

impl Ports {
    /// A block that was free when it was looked at.
    pub(super) fn claim(self: &Arc<Self>) -> io::Result<PortClaim> {
        #[cfg(test)]
        if let Some(first) = self.next.lock().unwrap().pop() {
            return Ok(PortClaim { ports: self.clone(), first });
        }
        let n_blocks = (LAST - FIRST + 1) / BLOCK;
        let random = Uuid::new_v4().as_u128() % u128::from(n_blocks);
        let start = u16::try_from(random).unwrap_or(0); // Two servers should not try the same ones.
        for block in (0..n_blocks).map(|step| (start + step) % n_blocks) {
            let first = FIRST + block * BLOCK;
            if !self.reserve(first) {
                continue;
            }
            let claim = PortClaim { ports: self.clone(), first };
            if (first..first + BLOCK).all(is_free) {
                return Ok(claim);
            }
        }
        Err(io::Error::other(format!("no {BLOCK} ports in a row are free from {FIRST} to {LAST}")))
    }

    fn reserve(&self, first: u16) -> bool {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(first)
    }

    /// Hands out `ports` first, free or not; the last one at first.
    #[cfg(test)]
    pub(super) fn beginning_with(ports: &[u16]) -> Self {
        Self { taken: Mutex::default(), next: Mutex::new(ports.to_vec()) }
    }
}

impl PortClaim {
    /// Where the program is to listen.
    pub(super) fn port(&self) -> u16 {
        self.first
    }

    /// `SAGEMAKER_SAFE_PORT_RANGE`.
    pub(super) fn safe_range(&self) -> (u16, u16) {
        (self.first + 1, self.first + BLOCK - 1)
    }
}

impl Drop for PortClaim {
    fn drop(&mut self) {
        self.ports.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.first);
    }
}

/// True if nobody listens on `port`, at any address of this machine.
pub(super) fn is_free(port: u16) -> bool {
    let taken = |bound: io::Result<TcpListener>| {
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    !taken(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
        && !taken(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_block_is_handed_out_once_and_comes_back() {
        let ports = Arc::new(Ports::default());
        let first = ports.claim().unwrap();
        let second = ports.claim().unwrap();
        assert_ne!(first.port(), second.port());
        assert!(is_free(first.port()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first.port())).unwrap();
        assert!(!is_free(first.port()));
        drop((listener, first, second));
        assert!(ports.taken.lock().unwrap().is_empty());
    }
}
