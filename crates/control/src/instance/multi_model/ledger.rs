//! Which models are in memory, in use, on their way in or out. Pure: no clock, no IO.
//!
//! ```text
//! claimed --reserved--> loaded --retired--> due once no call uses it --> removed
//! ```
//!
//! Memory counts as taken from the reservation until the removal.

use std::collections::HashMap;
use std::sync::Arc;

/// What all models together may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) models: usize,
}

/// Tells a model from an earlier one of the same key.
pub(super) type Id = u64;

/// The models of one container; `T` is what the caller keeps with each.
pub(super) struct Ledger<T> {
    room: Room,
    keeps_models: bool,
    entries: HashMap<Arc<str>, Entry<T>>,
    n_ids: Id,
    n_uses: u64,
    n_removed: u64,
}

struct Entry<T> {
    id: Id,
    target: Arc<str>,
    model: T,
    stage: Stage,
    /// No new call gets it: it is unloaded as soon as no call uses it.
    retired: bool,
    /// It answers nothing any more: nobody needs to be waited for.
    dead: bool,
    pinned: bool,
    leases: usize,
    last_use: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Takes no memory yet.
    Arriving,
    Reserved(u64),
    Loaded(u64),
}

/// What a call found. With a lease, but for the last two.
pub(super) enum Claim<T> {
    Hit(T),
    Loading(T),
    /// The caller is to load it.
    New(T),
    /// It is on its way out; it can be claimed anew when it is gone.
    Leaving(T),
    /// Too many calls wait for it already.
    Crowded,
}

/// What became of a wish for memory.
pub(super) enum Reserved<T> {
    Taken,
    /// Look again after any change; the models given have been retired for it.
    Wait(Vec<T>),
}

impl<T: Clone> Ledger<T> {
    pub(super) fn new(room: Room, keeps_models: bool) -> Self {
        Self { room, keeps_models, entries: HashMap::new(), n_ids: 0, n_uses: 0, n_removed: 0 }
    }

    /// A lease of the model `key`, which is the newest version of `target`. A new one retires the
    /// older versions, which are told to `retire`.
    pub(super) fn claim(
        &mut self,
        key: &Arc<str>,
        target: &str,
        is_pinned: bool,
        most_waiting: usize,
        new: impl FnOnce(Id) -> T,
    ) -> (Claim<T>, Vec<T>) {
        self.n_uses += 1;
        if let Some(entry) = self.entries.get_mut(key) {
            return (entry.claim(self.n_uses, most_waiting), Vec::new());
        }
        let older = self.retire_where(|entry| *entry.target == *target);
        self.n_ids += 1;
        let model = new(self.n_ids);
        let entry = Entry {
            id: self.n_ids,
            target: target.into(),
            model: model.clone(),
            stage: Stage::Arriving,
            retired: false,
            dead: false,
            pinned: is_pinned,
            leases: 1,
            last_use: self.n_uses,
        };
        self.entries.insert(key.clone(), entry);
        (Claim::New(model), older)
    }

    /// Takes `bytes` for a model that is to be loaded, or retires idle models until it would fit.
    /// A model that is alone always gets its memory.
    pub(super) fn reserve(&mut self, key: &str, bytes: u64) -> Reserved<T> {
        let room = self.room;
        let fits = |taken: u64, models: usize| {
            taken.saturating_add(bytes) <= room.bytes && models < room.models
        };
        let (taken, models) = self.total(|(other, _)| **other != *key);
        if fits(taken, models) || models == 0 {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.stage = Stage::Reserved(bytes);
            }
            return Reserved::Taken;
        }
        let mut retired = Vec::new();
        loop {
            let (staying, models) =
                self.total(|(other, entry)| **other != *key && !entry.is_going());
            if fits(staying, models) {
                break;
            }
            let Some(victim) = self.retire_least_used() else { break };
            retired.push(victim);
        }
        Reserved::Wait(retired)
    }

    /// Retires the idle model that was used longest ago, unless one is on its way out anyway.
    /// `None` if memory of other models can never become free.
    pub(super) fn free_some(&mut self, key: &str) -> Option<Vec<T>> {
        let (_, others) = self.total(|(other, _)| **other != *key);
        if others == 0 {
            return None;
        }
        if self.entries.values().any(|entry| entry.is_going() && entry.is_in_memory()) {
            return Some(Vec::new());
        }
        Some(self.retire_least_used().into_iter().collect())
    }

    /// Notes that a model is in memory and how much it takes. Returns what was retired because it
    /// takes more than was reserved.
    pub(super) fn loaded(&mut self, key: &str, id: Id, bytes: u64) -> Vec<T> {
        if let Some(entry) = self.find(key, id) {
            entry.stage = Stage::Loaded(bytes);
        }
        let mut retired = Vec::new();
        while self.total(|(_, entry)| !entry.is_going()).0 > self.room.bytes {
            let Some(victim) = self.retire_least_used() else { break };
            retired.push(victim);
        }
        retired
    }

    /// Notes anew how much memory loaded models take: they may have grown.
    pub(super) fn measure(&mut self, bytes_of: impl Fn(&T) -> Option<u64>) {
        for entry in self.entries.values_mut() {
            if let (Stage::Loaded(bytes), Some(now)) = (&mut entry.stage, bytes_of(&entry.model)) {
                *bytes = now;
            }
        }
    }

    /// Gives a lease back. True if the model is idle now.
    pub(super) fn release(&mut self, key: &str, id: Id) -> bool {
        let keeps_models = self.keeps_models;
        let Some(entry) = self.find(key, id) else { return false };
        entry.leases = entry.leases.saturating_sub(1);
        let is_idle = entry.leases == 0;
        let is_kept = keeps_models || entry.pinned || !entry.is_loaded();
        entry.retired |= is_idle && !is_kept;
        is_idle
    }

    /// Lets no new call have a model that answers nothing any more.
    pub(super) fn bury(&mut self, key: &str, id: Id) {
        if let Some(entry) = self.find(key, id) {
            entry.retired = true;
            entry.dead = true;
        }
    }

    /// Whether a loaded model is to be unloaded now.
    pub(super) fn is_due(&mut self, key: &str, id: Id) -> bool {
        self.find(key, id).is_none_or(|entry| entry.is_going())
    }

    /// Forgets a model whose memory is free again.
    pub(super) fn remove(&mut self, key: &str, id: Id) {
        if self.find(key, id).is_some() {
            self.entries.remove(key);
            self.n_removed += 1;
        }
    }

    /// How many models have gone so far.
    pub(super) fn n_removed(&self) -> u64 {
        self.n_removed
    }

    pub(super) fn models(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| &entry.model)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that are taken or reserved.
    pub(super) fn bytes(&self) -> u64 {
        self.total(|_| true).0
    }

    /// The bytes and the number of models in memory, of those that count.
    fn total(&self, counts: impl Fn((&Arc<str>, &Entry<T>)) -> bool) -> (u64, usize) {
        let counted = self.entries.iter().filter(|(key, entry)| counts((key, entry)));
        counted.fold((0, 0), |(bytes, models), (_, entry)| match entry.stage {
            Stage::Arriving => (bytes, models),
            Stage::Reserved(more) | Stage::Loaded(more) => (bytes.saturating_add(more), models + 1),
        })
    }

    fn retire_least_used(&mut self) -> Option<T> {
        let idle = self.entries.values_mut().filter(|entry| entry.is_idle());
        let victim = idle.min_by_key(|entry| entry.last_use)?;
        victim.retired = true;
        Some(victim.model.clone())
    }

    fn retire_where(&mut self, which: impl Fn(&Entry<T>) -> bool) -> Vec<T> {
        let retired = self.entries.values_mut().filter(|entry| !entry.retired && which(entry));
        let retire = |entry: &mut Entry<T>| {
            entry.retired = true;
            entry.model.clone()
        };
        retired.map(retire).collect()
    }

    fn find(&mut self, key: &str, id: Id) -> Option<&mut Entry<T>> {
        self.entries.get_mut(key).filter(|entry| entry.id == id)
    }
}

impl<T: Clone> Entry<T> {
    fn claim(&mut self, now: u64, most_waiting: usize) -> Claim<T> {
        let model = self.model.clone();
        if self.retired {
            return Claim::Leaving(model);
        }
        if !self.is_loaded() && self.leases >= most_waiting {
            return Claim::Crowded;
        }
        self.last_use = now;
        self.leases += 1;
        if self.is_loaded() { Claim::Hit(model) } else { Claim::Loading(model) }
    }

    fn is_loaded(&self) -> bool {
        matches!(self.stage, Stage::Loaded(_))
    }

    fn is_in_memory(&self) -> bool {
        !matches!(self.stage, Stage::Arriving)
    }

    /// Whether it is retired and nobody needs to be waited for.
    fn is_going(&self) -> bool {
        self.retired && (self.leases == 0 || self.dead)
    }

    /// Whether it may go when room is needed.
    fn is_idle(&self) -> bool {
        self.is_loaded() && self.leases == 0 && !self.retired && !self.pinned
    }
}
