//! How finely values are kept, and for how long: CloudWatch's own steps.

use std::collections::BTreeMap;

use sagebrush_core::sketch::Sketch;
use sagebrush_core::{Timestamp, varint};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The width of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Second,
    Minute,
    FiveMinutes,
    Hour,
}

/// The values of one time, from `start` on, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) start: i64,
    pub(super) tier: Tier,
}

/// What a series has.
pub(super) type Slots = BTreeMap<Slot, Sketch>;

impl Tier {
    pub(super) const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::FiveMinutes, Self::Hour];

    pub(super) fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => MINUTE,
            Self::FiveMinutes => 5 * MINUTE,
            Self::Hour => HOUR,
        }
    }

    /// After so many seconds the slots become those of the next tier.
    pub(super) fn kept(self) -> i64 {
        match self {
            Self::Second => 3 * HOUR,
            Self::Minute => 15 * DAY,
            Self::FiveMinutes => 63 * DAY,
            Self::Hour => 455 * DAY,
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    fn coarser(self) -> Option<Self> {
        match self {
            Self::Second => Some(Self::Minute),
            Self::Minute => Some(Self::FiveMinutes),
            Self::FiveMinutes => Some(Self::Hour),
            Self::Hour => None,
        }
    }
}

impl Slot {
    pub(super) fn of(at: Timestamp, high_resolution: bool) -> Self {
        let tier = if high_resolution { Tier::Second } else { Tier::Minute };
        Self::at(at.0.div_euclid(1000), tier)
    }

    fn at(seconds: i64, tier: Tier) -> Self {
        Self { start: seconds - seconds.rem_euclid(tier.seconds()), tier }
    }

    /// The slot that its values belong to at `now`; `None` if they are not kept any more.
    pub(super) fn aged(self, now: i64) -> Option<Self> {
        let mut slot = self;
        while slot.start.saturating_add(slot.tier.kept()) <= now {
            slot = Self::at(slot.start, slot.tier.coarser()?);
        }
        Some(slot)
    }
}

/// Adds `values` to what is there.
pub(super) fn add(slots: &mut Slots, slot: Slot, values: &Sketch) {
    slots.entry(slot).or_default().merge(values);
}

/// Appends slots; each start is told by how far it is from the one before.
pub(super) fn write<'a>(slots: impl IntoIterator<Item = (&'a Slot, &'a Sketch)>, to: &mut Vec<u8>) {
    let mut last = 0;
    for (slot, values) in slots {
        to.push(slot.tier as u8);
        varint::write_signed(slot.start.wrapping_sub(last), to);
        values.write_to(to);
        last = slot.start;
    }
}

/// Reads slots up to the end; `None` if these bytes are none.
pub(super) fn read(mut from: &[u8]) -> Option<Vec<(Slot, Sketch)>> {
    let mut slots = Vec::new();
    let mut last = 0_i64;
    while let Some((tier, rest)) = from.split_first() {
        from = rest;
        let tier = *Tier::ALL.get(usize::from(*tier))?;
        last = last.wrapping_add(varint::read_signed(&mut from)?);
        slots.push((Slot { start: last, tier }, Sketch::read_from(&mut from)?));
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::{DAY, HOUR, MINUTE, Sketch, Slot, Slots, Tier, Timestamp, read, write};

    /// 12:34:56 of some day.
    const AT: i64 = 20_000 * DAY + 12 * HOUR + 34 * MINUTE + 56;

    fn check(high_resolution: bool, age: i64, expected: Option<(Tier, i64)>) {
        let slot = Slot::of(Timestamp(AT * 1000 + 999), high_resolution);
        let expected = expected.map(|(tier, before)| Slot { tier, start: AT - before });
        assert_eq!(slot.aged(AT + age), expected, "{high_resolution} {age}");
    }

    #[test]
    fn values_are_kept_as_cloudwatch_keeps_them() {
        let [second, minute] = [(Tier::Second, 0), (Tier::Minute, 56)];
        let [five, hour] = [(Tier::FiveMinutes, 4 * MINUTE + 56), (Tier::Hour, 34 * MINUTE + 56)];
        check(true, -HOUR, Some(second));
        check(true, 3 * HOUR - 1, Some(second));
        check(true, 3 * HOUR, Some(minute));
        check(false, 0, Some(minute));
        check(false, 15 * DAY - 57, Some(minute));
        check(false, 15 * DAY - 56, Some(five));
        check(true, 63 * DAY - HOUR, Some(five));
        check(true, 63 * DAY, Some(hour));
        check(false, 455 * DAY - HOUR, Some(hour));
        check(false, 455 * DAY, None);
        check(true, i64::MAX - AT, None);
    }

    #[test]
    fn what_is_written_is_read() {
        let tiers = Tier::ALL.map(|tier| Slot::at(AT, tier));
        let slots: Slots = tiers.into_iter().zip([1.0, -2.0, 0.0, 3.5].map(Sketch::of)).collect();
        let mut bytes = Vec::new();
        write(&slots, &mut bytes);
        assert_eq!(read(&bytes), Some(slots.into_iter().collect()));
        assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        assert_eq!(read(&[9]), None);
    }
}
