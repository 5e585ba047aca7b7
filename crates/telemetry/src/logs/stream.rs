//! One log stream on disk: a folder with `stream.json` and at most two files of lines.
//!
//! A file is named after the position of its first byte in the stream, so that positions stay
//! what they are when the file before it goes.

mod expire;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::logs::LogStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The full file and the one being written.
const MAX_FILES: usize = 2;
/// What a file takes on disk at least, so that empty streams count.
const MIN_ROOM: u64 = 4096;

/// Where the last line is looked for: in ever more bytes, up to more than the longest line takes
/// with everything in it escaped.
const TAIL_BYTES: [u64; 3] = [64 << 10, 1 << 20, 8 << 20];

/// A line of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "t")]
    pub(super) time: i64,
    #[serde(rename = "i")]
    pub(super) ingested: i64,
    #[serde(rename = "m")]
    pub(super) message: String,
}

/// An event and the positions where its line starts and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) event: Event,
    pub(super) start: u64,
    pub(super) end: u64,
}

pub(super) struct Stream {
    pub(super) name: LogStream,
    pub(super) created: i64,
    /// Tells streams apart, and orders them.
    pub(super) id: u64,
    dir: PathBuf,
    state: Mutex<State>,
}

/// What `stream.json` says.
#[derive(Serialize, Deserialize)]
struct Label {
    region: String,
    group: String,
    stream: String,
    created: i64,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    files: Vec<Part>,
    summary: Summary,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    start: u64,
    len: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Summary {
    pub(super) first_event: Option<i64>,
    pub(super) last_event: Option<i64>,
    pub(super) last_ingestion: Option<i64>,
}

impl Stream {
    pub(super) fn create(logs: &Path, name: &LogStream, created: i64) -> io::Result<Self> {
        let hash = hash(name);
        let dir = logs.join(hex::encode(hash));
        fs::create_dir_all(&dir)?;
        let label = Label {
            region: name.region.to_string(),
            group: name.group.to_string(),
            stream: name.stream.to_string(),
            created,
        };
        let unnamed = dir.join("stream.json.new");
        fs::write(&unnamed, serde_json::to_vec(&label)?)?;
        fs::rename(unnamed, dir.join("stream.json"))?;
        Ok(Self { name: name.clone(), created, id: id(hash), dir, state: Mutex::default() })
    }

    /// Takes over what an earlier run wrote. Half a line at the end is cut off.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let label: Label = serde_json::from_slice(&fs::read(dir.join("stream.json"))?)?;
        let name = LogStream {
            region: label.region.into(),
            group: label.group.into(),
            stream: label.stream.into(),
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let start = file_name.to_str().and_then(|name| name.strip_suffix(".log"));
            if let Some(start) = start.and_then(|start| start.parse().ok()) {
                files.push(Part { start, len: entry.metadata()?.len() });
            }
        }
        files.sort_by_key(|part| part.start);
        drop_leftovers(dir, &mut files)?;
        let (id, dir) = (id(hash(&name)), dir.to_owned());
        let state = Mutex::new(State { files, summary: Summary::default() });
        let stream = Self { name, created: label.created, id, dir, state };
        stream.recover()?;
        Ok(stream)
    }

    fn recover(&self) -> io::Result<()> {
        let mut state = self.state();
        if let Some(last) = state.files.last_mut() {
            last.len = cut_half_line(&self.path(last.start), last.len)?;
        }
        drop(state);
        let first = self.read(0)?.next().transpose()?;
        let mut last = None;
        for tail in TAIL_BYTES {
            last = self.read(self.end().saturating_sub(tail))?.last().transpose()?;
            if last.is_some() {
                break;
            }
        }
        let mut state = self.state();
        state.summary.first_event = first.map(|placed| placed.event.time);
        state.summary.last_event = last.as_ref().map(|placed| placed.event.time);
        state.summary.last_ingestion = last.map(|placed| placed.event.ingested);
        Ok(())
    }

    /// Appends events and tells if that began a new file.
    pub(super) fn append(&self, events: &[Event], max_bytes: u64) -> io::Result<bool> {
        let mut rotated = false;
        let mut lines = Vec::new();
        let mut rest = events;
        while !rest.is_empty() {
            let room = max_bytes.saturating_sub(self.last_part(max_bytes, &mut rotated)?.len);
            let mut count = 0;
            for event in rest {
                let before = lines.len();
                serde_json::to_writer(&mut lines, event)?;
                lines.push(b'\n');
                let fits = count == 0 || lines.len() as u64 <= room;
                if !fits {
                    lines.truncate(before);
                    break;
                }
                count += 1;
            }
            let (now, later) = rest.split_at(count);
            self.write(&lines, now)?;
            lines.clear();
            rest = later;
        }
        Ok(rotated)
    }

    /// The file to write to; a new one if the newest is full.
    fn last_part(&self, max_bytes: u64, rotated: &mut bool) -> io::Result<Part> {
        let mut state = self.state();
        let start = match state.files.last() {
            Some(last) if last.len < max_bytes => return Ok(*last),
            Some(last) => last.start + last.len,
            None => 0,
        };
        *rotated = true;
        let part = Part { start, len: 0 };
        File::create(self.path(start))?;
        state.files.push(part);
        let surplus = state.files.len().saturating_sub(MAX_FILES);
        let gone: Vec<Part> = state.files.drain(..surplus).collect();
        drop(state);
        for old in &gone {
            fs::remove_file(self.path(old.start))?;
        }
        if !gone.is_empty() {
            let first = self.read(0)?.next().transpose()?;
            self.state().summary.first_event = first.map(|placed| placed.event.time);
        }
        Ok(part)
    }

    fn write(&self, lines: &[u8], events: &[Event]) -> io::Result<()> {
        let mut state = self.state();
        let Some(last) = state.files.last_mut() else { return Ok(()) };
        let mut file = OpenOptions::new().append(true).open(self.path(last.start))?;
        if let Err(error) = file.write_all(lines) {
            file.set_len(last.len)?; // Not half a line in the middle.
            return Err(error);
        }
        last.len += lines.len() as u64;
        let summary = &mut state.summary;
        for event in events {
            summary.first_event.get_or_insert(event.time);
            summary.last_event = summary.last_event.max(Some(event.time));
            summary.last_ingestion = Some(event.ingested);
        }
        Ok(())
    }

    /// Reads events from the position `from` on, up to what is there now.
    pub(super) fn read(&self, from: u64) -> io::Result<Reader> {
        let files = self.state().files.clone();
        let mut readers = Vec::new();
        for part in files.iter().filter(|part| part.start + part.len > from) {
            let skip = from.saturating_sub(part.start);
            match open_at(&self.path(part.start), skip) {
                Ok(file) => {
                    let lines = BufReader::new(file.take(part.len - skip));
                    readers.push((part.start + skip, lines));
                }
                // Rotated away meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        readers.reverse();
        Ok(Reader { readers })
    }

    /// The position behind the last event.
    pub(super) fn end(&self) -> u64 {
        self.state().files.last().map_or(0, |part| part.start + part.len)
    }

    pub(super) fn summary(&self) -> Summary {
        self.state().summary
    }

    /// The bytes of all lines.
    pub(super) fn bytes(&self) -> u64 {
        self.state().files.iter().map(|part| part.len).sum()
    }

    /// What the stream takes on disk.
    pub(super) fn room(&self) -> u64 {
        self.bytes().max(MIN_ROOM)
    }

    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "log stream is not removable");
        }
    }

    fn path(&self, start: u64) -> PathBuf {
        path(&self.dir, start)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(dir: &Path, start: u64) -> PathBuf {
    dir.join(format!("{start:020}.log"))
}

/// Removes files of which the rest was copied into the next one before a crash.
fn drop_leftovers(dir: &Path, files: &mut Vec<Part>) -> io::Result<()> {
    let starts: Vec<u64> = files.iter().skip(1).map(|part| part.start).collect();
    let leftovers: Vec<u64> = (files.iter().zip(starts))
        .filter(|(part, next)| part.start + part.len > *next)
        .map(|(part, _)| part.start)
        .collect();
    files.retain(|part| !leftovers.contains(&part.start));
    leftovers.iter().try_for_each(|start| fs::remove_file(path(dir, *start)))
}

fn hash(name: &LogStream) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [&name.region, &name.group, &name.stream] {
        hash.update(part.len().to_le_bytes()); // So that no two names run together.
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn id(hash: [u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |id, byte| (id << 8) | u64::from(*byte))
}

fn open_at(path: &Path, skip: u64) -> io::Result<File> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(skip))?;
    Ok(file)
}

/// Cuts what follows the last newline and returns the new length.
fn cut_half_line(path: &Path, len: u64) -> io::Result<u64> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut end = len;
    let mut chunk = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let size = usize::try_from(end - start).unwrap_or(chunk.len());
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut chunk[..size])?;
        if let Some(at) = chunk[..size].iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len {
        file.set_len(end)?;
    }
    Ok(end)
}

/// The events of a stream. Lines that are none are passed over.
pub(super) struct Reader {
    /// Newest first, each with the position it is at.
    readers: Vec<(u64, BufReader<io::Take<File>>)>,
}

impl Iterator for Reader {
    type Item = io::Result<Placed>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        loop {
            let (at, lines) = self.readers.last_mut()?;
            line.clear();
            let count = match lines.read_until(b'\n', &mut line) {
                Ok(0) => {
                    self.readers.pop();
                    continue;
                }
                Ok(count) => count as u64,
                Err(error) => return Some(Err(error)),
            };
            let start = *at;
            *at += count;
            if let Ok(event) = serde_json::from_slice(&line) {
                return Some(Ok(Placed { event, start, end: start + count }));
            }
        }
    }
}

/// A stream that is shared between the writer and readers.
pub(super) type Shared = Arc<Stream>;
