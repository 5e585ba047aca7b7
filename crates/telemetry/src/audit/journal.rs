//! Records in files, newest last. The oldest files go when they are too old or there are too many.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sagebrush_core::Timestamp;

use super::Kept;
use super::record::Record;

/// A file is full beyond this. One at a time is held in memory by a search.
const FILE_BYTES: u64 = 4 << 20;

/// One kind of calls.
pub(super) struct Journal {
    dir: PathBuf,
    kept: Kept,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    parts: Vec<Part>,
    file: Option<File>,
}

/// A file. Its number orders it; its name says that and when it was begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) begun: i64,
    pub(super) len: u64,
}

impl Journal {
    pub(super) fn open(dir: &Path, kept: Kept) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some((number, begun)) = name.to_str().and_then(parse_name) {
                parts.push(Part { number, begun, len: entry.metadata()?.len() });
            }
        }
        parts.sort_by_key(|part| part.number);
        // The newest file may end with half a line; it is left as it is, and a new one begun.
        let state = Mutex::new(State { parts, file: None });
        Ok(Self { dir: dir.to_owned(), kept, state })
    }

    pub(super) fn append(&self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut state = self.state();
        let is_full = state.parts.last().is_none_or(|part| part.len >= FILE_BYTES);
        if is_full || state.file.is_none() {
            self.begin(&mut state, record.at)?;
        }
        let State { parts, file: Some(file) } = &mut *state else { return Ok(()) };
        let Some(part) = parts.last_mut() else { return Ok(()) };
        if let Err(error) = file.write_all(&line) {
            file.set_len(part.len)?; // Not half a line in the middle.
            return Err(error);
        }
        part.len += line.len() as u64;
        Ok(())
    }

    fn begin(&self, state: &mut State, now: Timestamp) -> io::Result<()> {
        let number = state.parts.last().map_or(0, |part| part.number + 1);
        let part = Part { number, begun: now.0, len: 0 };
        let mut options = OpenOptions::new();
        state.file = Some(options.append(true).create_new(true).open(self.path(&part))?);
        state.parts.push(part);
        let mut total: u64 = state.parts.iter().map(|part| part.len).sum();
        let mut n_gone = 0;
        while total > self.kept.bytes && n_gone + 1 < state.parts.len() {
            total -= state.parts[n_gone].len;
            n_gone += 1;
        }
        self.drop_oldest(state, n_gone)
    }

    /// Removes files in which everything is too old: those whose successor is.
    pub(super) fn sweep(&self, now: Timestamp) -> io::Result<()> {
        let lasts = i64::try_from(self.kept.lasts.as_millis()).unwrap_or(i64::MAX);
        let before = now.0.saturating_sub(lasts);
        let mut state = self.state();
        let successors = state.parts.iter().skip(1);
        let n_gone = successors.take_while(|part| part.begun < before).count();
        self.drop_oldest(&mut state, n_gone)
    }

    fn drop_oldest(&self, state: &mut State, n: usize) -> io::Result<()> {
        for part in state.parts.drain(..n) {
            fs::remove_file(self.path(&part))?;
        }
        Ok(())
    }

    /// Nothing from before this is shown.
    pub(super) fn kept_from(&self, now: Timestamp) -> i64 {
        now.0.saturating_sub(i64::try_from(self.kept.lasts.as_millis()).unwrap_or(i64::MAX))
    }

    /// The files, newest first.
    pub(super) fn parts(&self) -> Vec<Part> {
        self.state().parts.iter().rev().copied().collect()
    }

    /// What is in a file now; nothing if it is gone.
    pub(super) fn read(&self, part: &Part) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match File::open(self.path(part)) {
            Ok(file) => drop(file.take(part.len).read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(bytes)
    }

    fn path(&self, part: &Part) -> PathBuf {
        self.dir.join(format!("{:010}-{}.jsonl", part.number, part.begun))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_name(name: &str) -> Option<(u64, i64)> {
    let (number, begun) = name.strip_suffix(".jsonl")?.split_once('-')?;
    Some((number.parse().ok()?, begun.parse().ok()?))
}
