//! Records in a map.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use sagebrush_core::Timestamp;
use sagebrush_core::store::{Cursor, Page, Query, Record, RecordId, SortBy, StoreError};

use crate::rules::{conflict, cursor_time};

#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<RecordId, Record>);

/// What lists sort by: text or a time, then the region and the key.
type Place = (String, i64, String, String);

impl Records {
    pub(super) fn get(&self, id: &RecordId) -> Option<Record> {
        self.0.get(id).cloned()
    }

    pub(super) fn put(&mut self, record: Record, expected: u64) -> Result<(), StoreError> {
        self.check(&record.id, expected)?;
        self.0.insert(record.id.clone(), Record { version: expected + 1, ..record });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        self.check(id, expected)?;
        self.0.remove(id);
        Ok(())
    }

    pub(super) fn list(&self, kind: &str, query: &Query) -> Result<Page, StoreError> {
        let after = query.after.as_ref().map(|cursor| place_of(cursor, query.sort_by));
        let after = after.transpose()?;
        let mut records: Vec<&Record> = self
            .0
            .values()
            .filter(|record| record.id.kind == kind && fits(record, query))
            .collect();
        let order = |a: &Place, b: &Place| match query.descending {
            false => a.cmp(b),
            true => b.cmp(a),
        };
        records.sort_by(|a, b| order(&place(a, query.sort_by), &place(b, query.sort_by)));
        if let Some(after) = after {
            records
                .retain(|record| order(&place(record, query.sort_by), &after) == Ordering::Greater);
        }
        let limit = if query.limit == 0 { records.len() } else { query.limit };
        let more = records.len() > limit;
        let records: Vec<Record> = records.into_iter().take(limit).cloned().collect();
        let next = records.last().filter(|_| more).map(|last| Cursor::at(last, query.sort_by));
        Ok(Page { records, next })
    }

    fn check(&self, id: &RecordId, expected: u64) -> Result<(), StoreError> {
        let stored = self.0.get(id).map_or(0, |record| record.version);
        if stored == expected {
            return Ok(());
        }
        Err(conflict(&id.kind, &id.key, expected, stored))
    }
}

fn fits(record: &Record, query: &Query) -> bool {
    let contains =
        |part: &String| record.name.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let within = |at: Timestamp, after: Option<Timestamp>, before: Option<Timestamp>| {
        after.is_none_or(|after| at > after) && before.is_none_or(|before| at < before)
    };
    query.region.as_ref().is_none_or(|region| *region == record.id.region)
        && query.name_contains.as_ref().is_none_or(contains)
        && query.status.as_ref().is_none_or(|status| *status == record.status)
        && within(record.created_at, query.created_after, query.created_before)
        && within(record.modified_at, query.modified_after, query.modified_before)
}

fn place(record: &Record, sort_by: SortBy) -> Place {
    let (text, time) = match sort_by {
        SortBy::Name => (record.name.clone(), 0),
        SortBy::CreationTime => (String::new(), record.created_at.0),
        SortBy::LastModifiedTime => (String::new(), record.modified_at.0),
        SortBy::Status => (record.status.clone(), 0),
    };
    (text, time, record.id.region.to_string(), record.id.key.clone())
}

fn place_of(cursor: &Cursor, sort_by: SortBy) -> Result<Place, StoreError> {
    let (text, time) = match sort_by {
        SortBy::Name | SortBy::Status => (cursor.value.clone(), 0),
        SortBy::CreationTime | SortBy::LastModifiedTime => (String::new(), cursor_time(cursor)?),
    };
    Ok((text, time, cursor.region.to_string(), cursor.key.clone()))
}
