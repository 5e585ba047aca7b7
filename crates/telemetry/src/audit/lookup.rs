//! Searches the journals, newest first. Holds one file of each in memory.

use std::io;
use std::ops::Range;
use std::str::FromStr;

use sagebrush_core::Timestamp;

use super::Journals;
use super::journal::{Journal, Part};
use super::record::Record;

/// How many records are looked at for one page, found or not.
const MAX_LOOKED_AT: usize = 50_000;

/// What a record is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Anything,
    Id(String),
    Name(String),
    ReadOnly(bool),
    User(String),
    ResourceType(String),
    ResourceName(String),
    Source(String),
    AccessKey(String),
}

impl Wanted {
    fn fits(&self, record: &Record) -> bool {
        match self {
            Self::Anything => true,
            Self::Id(id) => record.id == *id,
            Self::Name(name) => record.name == *name,
            Self::ReadOnly(read_only) => record.read_only == *read_only,
            Self::User(user) => record.user == *user,
            Self::ResourceType(wanted) => record.resources.iter().any(|(kind, _)| kind == wanted),
            Self::ResourceName(wanted) => record.resources.iter().any(|(_, name)| name == wanted),
            Self::Source(source) => record.source == *source,
            Self::AccessKey(key) => record.access_key == *key,
        }
    }
}

/// What to find.
pub(super) struct Search {
    pub(super) region: String,
    pub(super) wanted: Wanted,
    pub(super) times: Range<i64>,
    pub(super) limit: usize,
    pub(super) after: Option<Place>,
}

/// Where a page ended, in both journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    writes: Mark,
    reads: Mark,
}

/// What is left of a journal: the first lines of a file, and the files before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    number: u64,
    n_left: usize,
}

impl Search {
    /// The records found, and where the next page goes on if there may be more.
    pub(super) fn run(
        &self,
        journals: &Journals,
        now: Timestamp,
    ) -> io::Result<(Vec<Record>, Option<Place>)> {
        let mark = |of: fn(&Place) -> Mark| self.after.as_ref().map(of);
        let mut writes = Backward::new(&journals.writes, mark(|place| place.writes), now);
        let mut reads = Backward::new(&journals.reads, mark(|place| place.reads), now);
        let mut found = Vec::new();
        for _ in 0..MAX_LOOKED_AT {
            if found.len() == self.limit {
                break;
            }
            let (written, read) = (writes.newest()?, reads.newest()?);
            let next = if written >= read { &mut writes } else { &mut reads };
            let Some(record) = next.take()? else { return Ok((found, None)) };
            if record.at.0 < self.times.start {
                return Ok((found, None));
            }
            let is_wanted = record.at.0 < self.times.end
                && record.region == self.region
                && self.wanted.fits(&record);
            if is_wanted {
                found.push(record);
            }
        }
        let has_more = writes.newest()?.is_some() || reads.newest()?.is_some();
        let place = Place { writes: writes.mark(), reads: reads.mark() };
        Ok((found, Some(place).filter(|_| has_more)))
    }
}

/// The records of a journal, newest first.
struct Backward<'a> {
    journal: &'a Journal,
    kept_from: i64,
    /// Oldest first.
    older: Vec<Part>,
    number: u64,
    /// Of the file at hand.
    bytes: Vec<u8>,
    /// Where its lines are, as far as they are left.
    lines: Vec<Range<usize>>,
    next: Option<Record>,
    is_over: bool,
}

impl<'a> Backward<'a> {
    fn new(journal: &'a Journal, from: Option<Mark>, now: Timestamp) -> Self {
        let mut older = journal.parts();
        older.reverse();
        let mut this = Self {
            journal,
            kept_from: journal.kept_from(now),
            older,
            number: 0,
            bytes: Vec::new(),
            lines: Vec::new(),
            next: None,
            is_over: false,
        };
        if let Some(mark) = from {
            this.older.retain(|part| part.number <= mark.number);
            this.number = mark.number;
            if let Some(part) = this.older.pop_if(|part| part.number == mark.number) {
                // A file that cannot be read is passed over, as one that is gone.
                this.open(&part).ok();
                this.lines.truncate(mark.n_left);
            }
        }
        this
    }

    fn open(&mut self, part: &Part) -> io::Result<()> {
        self.bytes = self.journal.read(part)?;
        self.number = part.number;
        let mut start = 0;
        let ends = self.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        self.lines = ends.map(|(end, _)| std::mem::replace(&mut start, end + 1)..end).collect();
        Ok(())
    }

    /// The time of the next record.
    fn newest(&mut self) -> io::Result<Option<Timestamp>> {
        while self.next.is_none() && !self.is_over {
            let Some(line) = self.lines.last() else {
                match self.older.pop() {
                    Some(part) => self.open(&part)?,
                    None => self.is_over = true,
                }
                continue;
            };
            // What is no record is passed over.
            let line = self.bytes.get(line.clone()).unwrap_or_default();
            let record = serde_json::from_slice::<Record>(line).ok();
            self.is_over = record.as_ref().is_some_and(|record| record.at.0 < self.kept_from);
            self.next = record.filter(|_| !self.is_over);
            if self.next.is_none() {
                self.lines.pop();
            }
        }
        Ok(self.next.as_ref().map(|record| record.at))
    }

    fn take(&mut self) -> io::Result<Option<Record>> {
        self.newest()?;
        let taken = self.next.take();
        if taken.is_some() {
            self.lines.pop();
        }
        Ok(taken)
    }

    fn mark(&self) -> Mark {
        Mark { number: self.number, n_left: self.lines.len() }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { writes, reads } = self;
        write!(f, "{}.{}.{}.{}", writes.number, writes.n_left, reads.number, reads.n_left)
    }
}

/// A token that we did not write.
#[derive(Debug, thiserror::Error)]
#[error("Invalid token")]
pub(super) struct InvalidToken;

impl FromStr for Place {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
        let Ok([writes, writes_left, reads, reads_left]) =
            <[u64; 4]>::try_from(numbers.map_err(|_| InvalidToken)?)
        else {
            return Err(InvalidToken);
        };
        let mark = |number, n_left| {
            let n_left = usize::try_from(n_left).map_err(|_| InvalidToken)?;
            Ok(Mark { number, n_left })
        };
        Ok(Self { writes: mark(writes, writes_left)?, reads: mark(reads, reads_left)? })
    }
}
