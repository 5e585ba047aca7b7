//! The newest slots, in memory until they are a block.

use std::collections::BTreeMap;

use sagebrush_core::sketch::Sketch;

use super::series::SeriesId;
use super::tier::{Slot, Slots};

/// What a slot takes, about: its place in the tree, the sketch, and a node of its bins.
const SLOT_BYTES: usize = 260;
/// What a bin takes, about, in a tree whose nodes are half full.
const BIN_BYTES: usize = 20;

#[derive(Default)]
pub(super) struct Head {
    pub(super) slots: BTreeMap<SeriesId, Slots>,
    /// What it takes in memory, about.
    pub(super) bytes: usize,
    /// When its first value came, in seconds since the epoch.
    pub(super) began: Option<i64>,
}

impl Head {
    pub(super) fn add(&mut self, id: SeriesId, slot: Slot, values: &Sketch, now: i64) {
        self.began.get_or_insert(now);
        let slots = self.slots.entry(id).or_default();
        let n_slots = slots.len();
        let sketch = slots.entry(slot).or_default();
        let n_bins = sketch.n_bins();
        sketch.merge(values);
        self.bytes += (sketch.n_bins() - n_bins) * BIN_BYTES;
        self.bytes += (slots.len() - n_slots) * SLOT_BYTES;
    }
}
