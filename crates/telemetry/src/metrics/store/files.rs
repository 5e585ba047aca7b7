//! The files below the folder of metrics: names, journals, blocks.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, mem};

use sagebrush_core::sketch::Sketch;
use sagebrush_core::varint;

use super::State;
use super::block::{Block, Name, Writer};
use super::frames::{self, Frames};
use super::head::Head;
use super::series::{Series, SeriesId};
use super::tier::{Slot, Tier};

pub(super) struct Files {
    dir: PathBuf,
    names: Frames,
    /// The journal of the head; there is none before there is something to write.
    journal: Option<Frames>,
    /// The journals of the head, by number: the first and the last, which is written to.
    numbers: (u64, u64),
    /// The journals of the head that becomes a block.
    sealing: (u64, u64),
}

impl Files {
    /// Reads what is there: the blocks, and a head from the journals that are in none of them.
    pub(super) fn open(dir: &Path, now: i64) -> io::Result<(Self, State)> {
        fs::create_dir_all(dir)?;
        let found = Found::in_dir(dir)?;
        let blocks = found.open_blocks(dir)?;
        let sealed = blocks.iter().map(|block| block.name.last).max();
        let mut head = Head::default();
        let mut first = None;
        for number in &found.journals {
            let path = dir.join(journal_name(*number));
            if sealed.is_some_and(|sealed| *number <= sealed) {
                fs::remove_file(path)?;
                continue;
            }
            first.get_or_insert(*number);
            frames::read(&path)?.iter().for_each(|frame| replay(frame, &mut head, now));
        }
        let next = found.journals.iter().copied().max().max(sealed).map_or(1, |last| last + 1);
        let (series, names) = open_names(dir, &blocks, &head)?;
        let files = Self {
            dir: dir.to_owned(),
            names,
            journal: None,
            numbers: (first.unwrap_or(next), next),
            sealing: (0, 0),
        };
        let state = State {
            series,
            head,
            sealing: None,
            blocks,
            new_names: Vec::new(),
            new_values: Vec::new(),
        };
        Ok((files, state))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn write_names(&mut self, names: &[u8]) -> io::Result<()> {
        if names.is_empty() { Ok(()) } else { self.names.append(names) }
    }

    pub(super) fn write_values(&mut self, values: &[u8]) -> io::Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        if self.journal.is_none() {
            let (journal, _) = Frames::open(&self.dir.join(journal_name(self.numbers.1)))?;
            self.journal = Some(journal);
        }
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(values))
    }

    /// The head begins anew; what it had is about to become a block.
    pub(super) fn next_journal(&mut self) {
        let next = self.numbers.1 + 1;
        self.sealing = mem::replace(&mut self.numbers, (next, next));
        self.journal = None;
    }

    pub(super) fn seal(&self, head: &Head) -> io::Result<Option<Block>> {
        let mut writer = Writer::create(&self.dir, "sealing.new")?;
        for (id, slots) in &head.slots {
            writer.add(*id, slots)?;
        }
        writer.finish(Name { level: 0, first: self.sealing.0, last: self.sealing.1 })
    }

    pub(super) fn remove_sealed_journals(&self) -> io::Result<()> {
        for number in self.sealing.0..=self.sealing.1 {
            match fs::remove_file(self.dir.join(journal_name(number))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// What the folder holds.
#[derive(Default)]
struct Found {
    blocks: Vec<Name>,
    journals: Vec<u64>,
}

impl Found {
    fn in_dir(dir: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(name) = Name::read(&name) {
                found.blocks.push(name);
            } else if let Some(number) = name.strip_prefix("journal-") {
                found.journals.extend(number.parse::<u64>());
            } else if name.ends_with(".new") {
                fs::remove_file(entry.path())?; // A crash came before it was whole.
            }
        }
        found.journals.sort_unstable();
        Ok(found)
    }

    /// The blocks, but for those that went into others: a crash came before they were removed.
    fn open_blocks(&self, dir: &Path) -> io::Result<Vec<Arc<Block>>> {
        let mut blocks = Vec::new();
        for name in &self.blocks {
            if self.blocks.iter().any(|other| other.holds(*name)) {
                fs::remove_file(dir.join(name.file()))?;
                continue;
            }
            match Block::open(dir, *name) {
                Ok(block) => blocks.push(Arc::new(block)),
                Err(error) => {
                    tracing::error!(%error, block = name.file(), "a block of metrics is lost");
                }
            }
        }
        Ok(blocks)
    }
}

/// The names of those series that have values; the file is written anew if others have gone.
fn open_names(dir: &Path, blocks: &[Arc<Block>], head: &Head) -> io::Result<(Series, Frames)> {
    let path = dir.join("series");
    let mut series = Series::read(&frames::read(&path)?);
    let mut newest = HashMap::<SeriesId, i64>::new();
    let mut note = |id, at| {
        let newest = newest.entry(id).or_insert(at);
        *newest = at.max(*newest);
    };
    for block in blocks {
        for entry in block.entries()? {
            let entry = entry?;
            note(entry.id, entry.newest);
        }
    }
    for (id, slots) in &head.slots {
        slots.keys().next_back().into_iter().for_each(|slot| note(*id, slot.start));
    }
    // The last values before a crash may be there without the names.
    newest.keys().for_each(|id| series.skip(*id));
    let n_series = series.len();
    series.keep_only(&newest);
    if series.len() < n_series {
        frames::replace(&path, &series.write())?;
    }
    Ok((series, Frames::open(&path)?.0))
}

/// Adds the values of a frame of the journal. One that cannot be read ends it.
fn replay(mut frame: &[u8], head: &mut Head, now: i64) {
    while let Some((id, slot, values)) = read_value(&mut frame) {
        if let Some(slot) = slot.aged(now) {
            head.add(id, slot, &values, now);
        }
    }
}

fn read_value(from: &mut &[u8]) -> Option<(SeriesId, Slot, Sketch)> {
    let id = SeriesId::try_from(varint::read(from)?).ok()?;
    let (tier, rest) = from.split_first()?;
    *from = rest;
    let tier = *Tier::ALL.get(usize::from(*tier))?;
    let start = varint::read_signed(from)?;
    Some((id, Slot { start, tier }, Sketch::read_from(from)?))
}

fn journal_name(number: u64) -> String {
    format!("journal-{number}")
}
