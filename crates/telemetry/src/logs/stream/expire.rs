//! Drops the oldest events of a stream.

use std::fs::{self, File};
use std::io;

use super::{Part, Stream, open_at};

impl Stream {
    /// Drops the events before the first one that is not older than `before`. Positions stay what
    /// they are. Only for the thread that writes.
    pub(in crate::logs) fn expire(&self, before: i64) -> io::Result<()> {
        let mut keep_from = self.end();
        let mut first_event = None;
        for placed in self.read(0)? {
            let placed = placed?;
            if placed.event.time >= before {
                keep_from = placed.start;
                first_event = Some(placed.event.time);
                break;
            }
        }
        let files = self.state().files.clone();
        let Some(last) = files.last().copied() else { return Ok(()) };
        let mut kept = Vec::new();
        let mut gone = Vec::new();
        for part in files {
            let is_whole = part.start >= keep_from;
            // The last file stays, even empty: it says where the stream goes on.
            let is_cut = part.start + part.len > keep_from || part.start == last.start;
            if is_whole {
                kept.push(part);
            } else if is_cut {
                kept.push(self.cut(part, keep_from)?);
                gone.push(part);
            } else {
                gone.push(part);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        state.files = kept;
        state.summary.first_event = first_event;
        drop(state);
        gone.iter().try_for_each(|part| fs::remove_file(self.path(part.start)))
    }

    /// Copies what follows `from` into a file of its own.
    fn cut(&self, part: Part, from: u64) -> io::Result<Part> {
        let half = self.dir.join("cut.new");
        let mut rest = open_at(&self.path(part.start), from - part.start)?;
        let len = io::copy(&mut rest, &mut File::create(&half)?)?;
        fs::rename(half, self.path(from))?;
        Ok(Part { start: from, len })
    }
}
