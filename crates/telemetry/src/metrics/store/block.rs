//! A file of slots that is written once: the slots of each series, then an index by series, then a
//! foot. It is searched where it lies, so that it takes no memory.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sagebrush_core::sketch::Sketch;

use super::frames::checksum;
use super::series::SeriesId;
use super::tier::{self, Slot, Slots, Tier};

const MAGIC: &[u8; 8] = b"SBMETR01";
const ENTRY: usize = 24;
const FOOT: usize = 64;

/// No slot of a tier.
const NONE: i64 = i64::MIN;

/// A block that is open for reading.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) name: Name,
    pub(super) foot: Foot,
    path: PathBuf,
    file: File,
}

/// What a block is made of: the journals from `first` to `last`, merged `level` times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) level: u8,
    pub(super) first: u64,
    pub(super) last: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foot {
    index: u64,
    n_series: u64,
    pub(super) oldest: i64,
    /// The newest start of a slot, by tier.
    newest: [i64; 4],
}

/// Where the slots of a series are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) id: SeriesId,
    length: u32,
    at: u64,
    /// The time of its newest slot.
    pub(super) newest: i64,
}

impl Name {
    pub(super) fn file(self) -> String {
        format!("block-{}-{}-{}", self.level, self.first, self.last)
    }

    pub(super) fn read(file: &str) -> Option<Self> {
        let mut parts = file.strip_prefix("block-")?.split('-');
        let mut part = || parts.next()?.parse::<u64>().ok();
        let (level, first, last) = (u8::try_from(part()?).ok()?, part()?, part()?);
        Some(Self { level, first, last })
    }

    /// Whether all of `other` went into this one.
    pub(super) fn holds(self, other: Self) -> bool {
        self.level > other.level && (self.first..=self.last).contains(&other.first)
    }
}

impl Foot {
    pub(super) fn newest(&self, tier: Tier) -> Option<i64> {
        Some(self.newest[tier.index()]).filter(|at| *at != NONE)
    }

    /// When the last of its slots starts.
    pub(super) fn newest_of_all(&self) -> i64 {
        self.newest.into_iter().max().unwrap_or(NONE)
    }
}

impl Block {
    pub(super) fn open(dir: &Path, name: Name) -> io::Result<Self> {
        let path = dir.join(name.file());
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        let at = length.checked_sub(FOOT as u64).ok_or_else(|| broken("has no foot"))?;
        let mut bytes = [0; FOOT];
        file.read_exact_at(&mut bytes, at)?;
        let foot = read_foot(&bytes).ok_or_else(|| broken("has a foot that is none"))?;
        if foot.index.checked_add(foot.n_series * ENTRY as u64) != Some(at) {
            return Err(broken("has an index of another length"));
        }
        Ok(Self { name, foot, path, file })
    }

    /// The slots of a series.
    pub(super) fn slots(&self, id: SeriesId) -> io::Result<Vec<(Slot, Sketch)>> {
        let (mut low, mut high) = (0, self.foot.n_series);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; ENTRY];
            self.file.read_exact_at(&mut bytes, self.foot.index + middle * ENTRY as u64)?;
            let entry = read_entry(&bytes);
            match entry.id.cmp(&id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.slots_at(entry),
            }
        }
        Ok(Vec::new())
    }

    pub(super) fn slots_at(&self, entry: Entry) -> io::Result<Vec<(Slot, Sketch)>> {
        let length = usize::try_from(entry.length).map_err(io::Error::other)?;
        if entry.at + u64::from(entry.length) > self.foot.index || length < 4 {
            return Err(broken("has an entry that leads nowhere"));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, entry.at)?;
        let slots = bytes.split_last_chunk().and_then(|(slots, sum)| {
            (checksum(slots) == u32::from_le_bytes(*sum)).then(|| tier::read(slots))?
        });
        slots.ok_or_else(|| broken("has slots that are none"))
    }

    /// The series in it, by id.
    pub(super) fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>> + use<>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.foot.index))?;
        let mut index = BufReader::new(file);
        Ok((0..self.foot.n_series).map(move |_| {
            let mut bytes = [0; ENTRY];
            index.read_exact(&mut bytes)?;
            Ok(read_entry(&bytes))
        }))
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// A block that is being written.
pub(super) struct Writer {
    dir: PathBuf,
    new: PathBuf,
    file: BufWriter<File>,
    index: Vec<u8>,
    foot: Foot,
    scratch: Vec<u8>,
}

impl Writer {
    /// Writes to the file `new` until it is whole.
    pub(super) fn create(dir: &Path, new: &str) -> io::Result<Self> {
        let new = dir.join(new);
        let file = BufWriter::new(File::create(&new)?);
        let foot = Foot { index: 0, n_series: 0, oldest: i64::MAX, newest: [NONE; 4] };
        Ok(Self { dir: dir.to_owned(), new, file, index: Vec::new(), foot, scratch: Vec::new() })
    }

    /// Adds a series. Their ids must come in order.
    pub(super) fn add(&mut self, id: SeriesId, slots: &Slots) -> io::Result<()> {
        let Some((last, _)) = slots.last_key_value() else { return Ok(()) };
        for slot in slots.keys() {
            self.foot.oldest = self.foot.oldest.min(slot.start);
            let newest = &mut self.foot.newest[slot.tier.index()];
            *newest = slot.start.max(*newest);
        }
        self.scratch.clear();
        tier::write(slots, &mut self.scratch);
        let sum = checksum(&self.scratch);
        self.scratch.extend(sum.to_le_bytes());
        self.file.write_all(&self.scratch)?;
        let length = u32::try_from(self.scratch.len()).map_err(io::Error::other)?;
        self.index.extend(id.to_le_bytes());
        self.index.extend(length.to_le_bytes());
        self.index.extend(self.foot.index.to_le_bytes());
        self.index.extend(last.start.to_le_bytes());
        self.foot.index += u64::from(length);
        self.foot.n_series += 1;
        Ok(())
    }

    /// Puts the block in its place, whole; `None` if there is nothing in it.
    pub(super) fn finish(mut self, name: Name) -> io::Result<Option<Block>> {
        if self.foot.n_series == 0 {
            fs::remove_file(&self.new)?;
            return Ok(None);
        }
        self.file.write_all(&self.index)?;
        self.file.write_all(&foot_bytes(&self.foot))?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.new, self.dir.join(name.file()))?;
        File::open(&self.dir)?.sync_all()?;
        Block::open(&self.dir, name).map(Some)
    }
}

fn foot_bytes(foot: &Foot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FOOT);
    bytes.extend(foot.index.to_le_bytes());
    bytes.extend(u32::try_from(foot.n_series).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(foot.oldest.to_le_bytes());
    foot.newest.iter().for_each(|newest| bytes.extend(newest.to_le_bytes()));
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes.extend(MAGIC);
    bytes
}

fn read_foot(bytes: &[u8; FOOT]) -> Option<Foot> {
    let (bytes, magic) = bytes.split_last_chunk()?;
    let (told, sum) = bytes.split_last_chunk()?;
    if magic != MAGIC || checksum(told) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut left = told;
    let index = u64::from_le_bytes(take(&mut left)?);
    let n_series = u64::from(u32::from_le_bytes(take(&mut left)?));
    let mut time = || take(&mut left).map(i64::from_le_bytes);
    let (oldest, newest) = (time()?, [time()?, time()?, time()?, time()?]);
    Some(Foot { index, n_series, oldest, newest })
}

fn read_entry(bytes: &[u8; ENTRY]) -> Entry {
    let mut left = bytes.as_slice();
    // There are as many bytes as the parts take.
    Entry {
        id: SeriesId::from_le_bytes(take(&mut left).unwrap_or_default()),
        length: u32::from_le_bytes(take(&mut left).unwrap_or_default()),
        at: u64::from_le_bytes(take(&mut left).unwrap_or_default()),
        newest: i64::from_le_bytes(take(&mut left).unwrap_or_default()),
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*bytes)
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a block of metrics {what}"))
}
