//! Reads streams: a page of one, or a page of many merged by time.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;

use super::pattern::Pattern;
use super::stream::{Placed, Shared, Stream};

/// The most bytes of events in one answer, as CloudWatch counts them.
const MAX_PAGE_BYTES: usize = 1 << 20;
/// What CloudWatch counts for an event besides its message.
const EVENT_BYTES: usize = 26;

const MAX_AHEAD: i64 = 2 * 3600 * 1000;

/// Where a page of one stream lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// From this position on.
    Forward(u64),
    /// The last events before this position.
    Backward(u64),
}

/// Events of one stream and the positions where they start and end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) events: Vec<Placed>,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Reads up to `limit` events of `times`. Where there are none, the page starts and ends where it
/// was asked for, so that the next one does too.
pub(super) fn page(
    stream: &Stream,
    at: At,
    times: &RangeInclusive<i64>,
    limit: usize,
) -> io::Result<Page> {
    let (events, place) = match at {
        At::Forward(from) => (forward(stream, from, times, limit)?, from),
        At::Backward(before) => (backward(stream, before, times, limit)?, before),
    };
    let start = events.first().map_or(place, |placed| placed.start);
    let end = events.last().map_or(place, |placed| placed.end);
    Ok(Page { events, start, end })
}

fn forward(
    stream: &Stream,
    from: u64,
    times: &RangeInclusive<i64>,
    limit: usize,
) -> io::Result<Vec<Placed>> {
    let mut events = Vec::new();
    let mut bytes = 0;
    for placed in stream.read(from)? {
        let placed = placed?;
        if !times.contains(&placed.event.time) {
            continue;
        }
        bytes += size(&placed);
        let is_full = events.len() == limit || (bytes > MAX_PAGE_BYTES && !events.is_empty());
        if is_full {
            break;
        }
        events.push(placed);
    }
    Ok(events)
}

fn backward(
    stream: &Stream,
    before: u64,
    times: &RangeInclusive<i64>,
    limit: usize,
) -> io::Result<Vec<Placed>> {
    let mut events = VecDeque::new();
    let mut bytes = 0;
    for placed in stream.read(0)? {
        let placed = placed?;
        if placed.start >= before {
            break;
        }
        if !times.contains(&placed.event.time) {
            continue;
        }
        bytes += size(&placed);
        events.push_back(placed);
        while events.len() > limit || (bytes > MAX_PAGE_BYTES && events.len() > 1) {
            bytes -= events.pop_front().map_or(0, |gone| size(&gone));
        }
    }
    Ok(events.into())
}

fn size(placed: &Placed) -> usize {
    placed.event.message.len() + EVENT_BYTES
}

/// The place of an event among those of many streams: its time, its stream, its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) stream: u64,
    pub(super) start: u64,
}

/// An event found.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) stream: Shared,
    pub(super) placed: Placed,
}

/// What a merged page holds.
pub(super) struct Search<'a> {
    pub(super) streams: &'a [Shared],
    pub(super) times: RangeInclusive<i64>,
    pub(super) pattern: &'a Pattern,
    /// Only what comes behind this place.
    pub(super) after: Option<Place>,
    pub(super) limit: usize,
}

impl Search<'_> {
    /// The first events by place, and whether there are more. Holds one page in memory.
    pub(super) fn run(&self) -> io::Result<(Vec<Found>, bool)> {
        let mut first: BTreeMap<Place, Found> = BTreeMap::new();
        let mut bytes = 0;
        // The first event that has no room on the page; what comes behind it has none either.
        let mut beyond: Option<Place> = None;
        for stream in self.streams {
            // Events come roughly by time, but not strictly: only a whole stream can be passed. None
            // lies more than two hours ahead of when it came.
            let newest = stream.summary().last_ingestion.map(|at| at.saturating_add(MAX_AHEAD));
            if newest.is_none_or(|newest| newest < *self.times.start()) {
                continue;
            }
            for placed in stream.read(0)? {
                let Some(found) = self.found(stream, placed?) else { continue };
                if beyond.is_some_and(|beyond| found.place > beyond) {
                    continue;
                }
                bytes += size(&found.placed);
                first.insert(found.place, found);
                let is_over =
                    first.len() > self.limit || (bytes > MAX_PAGE_BYTES && first.len() > 1);
                if is_over && let Some((place, gone)) = first.pop_last() {
                    bytes -= size(&gone.placed);
                    beyond = Some(place);
                }
            }
        }
        Ok((first.into_values().collect(), beyond.is_some()))
    }

    fn found(&self, stream: &Shared, placed: Placed) -> Option<Found> {
        let place = Place { time: placed.event.time, stream: stream.id, start: placed.start };
        let is_wanted = self.times.contains(&place.time)
            && self.after.is_none_or(|after| place > after)
            && self.pattern.matches(&placed.event.message);
        is_wanted.then(|| Found { place, stream: stream.clone(), placed })
    }
}
