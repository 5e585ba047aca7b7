//! Blocks become fewer as they age, and their slots wider, until they go.

use std::io;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;

use super::block::{Block, Entry, Foot, Name, Writer};
use super::series::SeriesId;
use super::tier::{self, Slot, Slots, Tier};

/// Ten minutes become two hours, and two hours a day.
pub(super) const FAN: usize = 12;
const LAST_LEVEL: u8 = 2;

/// What is to be done to some blocks, told by their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Make one of several.
    Merge(Vec<usize>),
    /// Make its slots wider.
    Widen(usize),
    /// Nothing of it is kept any more.
    Remove(usize),
}

/// What should be done next at `now`. Pure.
pub(super) fn next_job(blocks: &[(Name, Foot)], now: i64) -> Option<Job> {
    let tiers = |foot: &Foot| {
        Tier::ALL
            .into_iter()
            .filter_map(|tier| Some(Slot { start: foot.newest(tier)?, tier }))
            .collect::<Vec<_>>()
    };
    for (at, (_, foot)) in blocks.iter().enumerate() {
        let slots = tiers(foot);
        if slots.iter().all(|slot| slot.aged(now).is_none()) {
            return Some(Job::Remove(at));
        }
        if slots.iter().any(|slot| slot.aged(now) != Some(*slot)) {
            return Some(Job::Widen(at));
        }
    }
    (0..LAST_LEVEL).find_map(|level| {
        let mut of_level: Vec<usize> =
            (0..blocks.len()).filter(|at| blocks[*at].0.level == level).collect();
        of_level.sort_by_key(|at| blocks[*at].0.first);
        of_level.truncate(FAN);
        (of_level.len() == FAN).then_some(Job::Merge(of_level))
    })
}

/// The name of what `blocks` become.
pub(super) fn merged_name(blocks: &[Arc<Block>]) -> Option<Name> {
    Some(Name {
        level: blocks.iter().map(|block| block.name.level).max()? + u8::from(blocks.len() > 1),
        first: blocks.iter().map(|block| block.name.first).min()?,
        last: blocks.iter().map(|block| block.name.last).max()?,
    })
}

/// Writes one block of several, one series after the other, with slots as wide as they are at
/// `now`. A series that cannot be read is left out.
pub(super) fn merge(dir: &Path, blocks: &[Arc<Block>], now: i64) -> io::Result<Option<Block>> {
    let Some(name) = merged_name(blocks) else { return Ok(None) };
    let mut sources = Vec::new();
    for block in blocks {
        sources.push(Source { block, entries: block.entries()?.peekable() });
    }
    let mut writer = Writer::create(dir, "merging.new")?;
    while let Some(id) = next_id(&mut sources)? {
        let mut slots = Slots::new();
        for source in &mut sources {
            source.take(id, now, &mut slots)?;
        }
        writer.add(id, &slots)?;
    }
    writer.finish(name)
}

struct Source<'a, I: Iterator> {
    block: &'a Block,
    entries: Peekable<I>,
}

fn next_id<I>(sources: &mut [Source<'_, I>]) -> io::Result<Option<SeriesId>>
where
    I: Iterator<Item = io::Result<Entry>>,
{
    let mut next = None;
    for source in sources {
        match source.entries.peek() {
            Some(Ok(entry)) => next = Some(next.map_or(entry.id, |id: SeriesId| id.min(entry.id))),
            Some(Err(error)) => return Err(io::Error::new(error.kind(), error.to_string())),
            None => {}
        }
    }
    Ok(next)
}

impl<I: Iterator<Item = io::Result<Entry>>> Source<'_, I> {
    /// Adds what this source has of the series.
    fn take(&mut self, id: SeriesId, now: i64, to: &mut Slots) -> io::Result<()> {
        let is_next = |entry: &io::Result<Entry>| entry.as_ref().is_ok_and(|entry| entry.id == id);
        let Some(entry) = self.entries.next_if(is_next) else { return Ok(()) };
        match self.block.slots_at(entry?) {
            Ok(slots) => {
                for (slot, values) in slots {
                    if let Some(slot) = slot.aged(now) {
                        tier::add(to, slot, &values);
                    }
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(%error, block = self.block.name.file(), id, "lost a series' values");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
