//! What clients change: done by the thread that writes, one after the other.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sagebrush_core::logs::LogStream;
use tokio::sync::oneshot;

use super::batch::{self, Sorted};
use super::error::LogError;
use super::groups::Group;
use super::stream::{Event, Stream};
use super::writer::{Order, Writer};
use super::{LogStore, MAX_GROUPS, MAX_STREAMS};

/// How many tags a group may have.
const MAX_TAGS: usize = 50;

impl LogStore {
    /// Has the writer do `work`, after what it has to write already, and waits for it.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Writer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (told, outcome) = oneshot::channel();
        let order = Order::Do(Box::new(move |writer| drop(told.send(work(writer)))));
        self.orders.try_send(order).map_err(|_| LogError::Busy)?;
        outcome.await.map_err(|_| LogError::Busy)?
    }

    /// As [`Self::change`], for work that holds so many bytes of lines.
    pub(super) async fn change_with<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Writer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let queued = self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = queued.saturating_add(bytes) <= self.max_queued_bytes;
        let outcome = if has_room { self.change(work).await } else { Err(LogError::Busy) };
        self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
        outcome
    }
}

impl Writer {
    pub(super) fn create_group(
        &self,
        region: &Arc<str>,
        name: &Arc<str>,
        tags: BTreeMap<String, String>,
    ) -> Result<(), LogError> {
        if self.groups.get(region, name).is_some() {
            return Err(LogError::GroupExists);
        }
        self.make_room_for_group()?;
        let group = Group { tags, ..Group::new(region, name, self.clock.now().0) };
        Ok(self.groups.put(group)?)
    }

    /// Forgets the oldest group that has nothing in it, if there are too many.
    pub(super) fn make_room_for_group(&self) -> Result<(), LogError> {
        if self.groups.len() < MAX_GROUPS {
            return Ok(());
        }
        let is_empty = |group: &Group| self.streams.of_group(group).is_empty();
        let oldest = self.groups.all().into_iter().filter(is_empty).min_by_key(|one| one.created);
        let oldest = oldest.ok_or(LogError::TooManyGroups(MAX_GROUPS))?;
        Ok(self.groups.remove(&oldest)?)
    }

    pub(super) fn delete_group(&self, region: &str, name: &str) -> Result<(), LogError> {
        let group = self.group(region, name)?;
        for stream in self.streams.of_group(&group) {
            self.streams.lock().remove(&stream.name);
            stream.remove();
        }
        Ok(self.groups.remove(&group)?)
    }

    pub(super) fn create_stream(&self, at: &LogStream) -> Result<(), LogError> {
        self.group(&at.region, &at.group)?;
        let streams = self.streams.lock();
        let (is_there, n_streams) = (streams.contains_key(at), streams.len());
        drop(streams);
        if is_there {
            return Err(LogError::StreamExists);
        }
        if n_streams >= MAX_STREAMS {
            return Err(LogError::TooManyStreams(MAX_STREAMS));
        }
        self.stream(at)?;
        Ok(())
    }

    pub(super) fn delete_stream(&self, at: &LogStream) -> Result<(), LogError> {
        self.group(&at.region, &at.group)?;
        let gone = self.streams.lock().remove(at).ok_or(LogError::NoStream)?;
        gone.remove();
        Ok(())
    }

    /// Writes the events of a batch that the rules let in. They survive the end of this process
    /// when this returns.
    pub(super) fn put(
        &self,
        at: &LogStream,
        events: Vec<(i64, String)>,
    ) -> Result<Sorted, LogError> {
        let group = self.group(&at.region, &at.group)?;
        let stream = self.streams.lock().get(at).cloned().ok_or(LogError::NoStream)?;
        let now = self.clock.now();
        let sizes: Vec<_> = events.iter().map(|(time, text)| (*time, text.len())).collect();
        let sorted = batch::sort(&sizes, now, group.expired_before(now))?;
        let kept = events.into_iter().skip(sorted.kept.start).take(sorted.kept.len());
        let kept = kept.map(|(time, message)| Event { time, ingested: now.0, message });
        self.write(&stream, &kept.collect::<Vec<_>>())?;
        Ok(sorted)
    }

    pub(super) fn set_retention(
        &self,
        region: &str,
        name: &str,
        retention_days: Option<u32>,
    ) -> Result<(), LogError> {
        let group = self.group(region, name)?;
        Ok(self.groups.put(Group { retention_days, ..group })?)
    }

    pub(super) fn tag(
        &self,
        region: &str,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), LogError> {
        let mut group = self.group(region, name)?;
        group.tags.extend(tags);
        if group.tags.len() > MAX_TAGS {
            return Err(LogError::TooManyTags);
        }
        Ok(self.groups.put(group)?)
    }

    pub(super) fn untag(&self, region: &str, name: &str, keys: &[String]) -> Result<(), LogError> {
        let mut group = self.group(region, name)?;
        group.tags.retain(|key, _| !keys.contains(key));
        Ok(self.groups.put(group)?)
    }

    /// Drops what has expired of a stream.
    pub(super) fn expire(&self, stream: &Stream, before: i64) -> io::Result<()> {
        let is_there = self.streams.lock().contains_key(&stream.name);
        if is_there { stream.expire(before) } else { Ok(()) }
    }

    fn group(&self, region: &str, name: &str) -> Result<Group, LogError> {
        self.groups.get(region, name).ok_or(LogError::NoGroup)
    }
}
