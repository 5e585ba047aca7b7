//! What became of alarms, for 30 days. It outlives the alarm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::resource::{Resource, Stored, Table};
use sagebrush_core::store::{Cursor, MetaStore, Query, SortBy, StoreError};
use sagebrush_core::{Clock, Region, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words;

/// As `CloudWatch` keeps it.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// How many items are kept at most; beyond them the oldest go.
const MAX_ITEMS: usize = 50_000;
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// How many records are read at once.
const PAGE: usize = 500;
/// Stands behind the name of the alarm in the name of a record; no alarm has it in its name.
const BEHIND_NAME: char = '\u{1f}';
/// CloudWatch API: the bounds of `HistorySummary` and `HistoryData`.
const MAX_SUMMARY: usize = 255;
const MAX_DATA: usize = 4095;

#[derive(Debug, Clone)]
struct HistoryKind;

impl Resource for HistoryKind {
    const KIND: &'static str = "cloudwatch-alarm-history";
    type Spec = Item;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

/// One thing that happened to an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) alarm: String,
    pub(super) is_composite: bool,
    pub(super) kind: ItemKind,
    pub(super) at: Timestamp,
    pub(super) summary: String,
    /// JSON.
    pub(super) data: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ItemKind {
    ConfigurationUpdate,
    StateUpdate,
    Action,
}

/// Which items are wanted.
pub(super) struct Wanted<'a> {
    pub(super) alarm: Option<&'a str>,
    pub(super) kind: Option<ItemKind>,
    /// `None`: of metric alarms and composite ones.
    pub(super) is_composite: Option<bool>,
}

/// The data of an item: `full`, but for as many members of `long`, JSON pointers, as there is no
/// room for.
pub(super) fn data(mut full: Value, long: &[&str]) -> String {
    let mut text = full.to_string();
    for at in long {
        if text.chars().count() <= MAX_DATA {
            break;
        }
        if let Some(member) = full.pointer_mut(at) {
            *member = Value::Null;
        }
        text = full.to_string();
    }
    text
}

pub(super) struct History {
    items: Table<HistoryKind>,
    clock: Arc<dyn Clock>,
}

impl History {
    pub(super) fn new(store: Arc<dyn MetaStore>, clock: Arc<dyn Clock>) -> Self {
        Self { items: Table::new(store, clock.clone()), clock }
    }

    /// Adds an item, unless one of this id is there.
    pub(super) async fn add(
        &self,
        region: &Region,
        id: &str,
        item: Item,
    ) -> Result<(), StoreError> {
        let item = Item {
            summary: words::cut(&item.summary, MAX_SUMMARY),
            data: words::cut(&item.data, MAX_DATA),
            ..item
        };
        let new = Stored {
            region: region.clone(),
            name: format!("{}{BEHIND_NAME}{id}", item.alarm),
            version: 0, // There must be none.
            created_at: item.at,
            modified_at: item.at,
            spec: item,
            status: (),
            tags: BTreeMap::new(),
        };
        match self.items.update(new).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What narrows a list down in the store.
    pub(super) fn query(region: &Region, wanted: &Wanted<'_>, descending: bool) -> Query {
        Query {
            region: Some(region.clone()),
            name_contains: wanted.alarm.map(|alarm| format!("{alarm}{BEHIND_NAME}")),
            sort_by: SortBy::CreationTime,
            descending,
            ..Query::default()
        }
    }

    /// The first `n` items by `query`, and where there is more.
    pub(super) async fn list(
        &self,
        mut query: Query,
        wanted: &Wanted<'_>,
        n: usize,
    ) -> Result<(Vec<Item>, Option<Cursor>), StoreError> {
        let mut found: Vec<Item> = Vec::new();
        let mut last: Option<Cursor> = None;
        query.limit = PAGE;
        loop {
            let (page, next) = self.items.list(&query).await?;
            for stored in page.into_iter().filter(|stored| wanted.takes(&stored.spec)) {
                if found.len() == n {
                    return Ok((found, last));
                }
                last = Some(Cursor {
                    value: stored.created_at.0.to_string(),
                    region: stored.region,
                    key: HistoryKind::key(&stored.name),
                });
                found.push(stored.spec);
            }
            let Some(next) = next else { return Ok((found, None)) };
            query.after = Some(next);
        }
    }

    /// Lets go what is too old, or too much.
    pub(super) async fn sweep_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.sweep(MAX_ITEMS).await {
                tracing::warn!(%error, "the history of alarms could not be swept");
            }
            tokio::time::sleep(SWEEP_EVERY).await;
        }
    }

    async fn sweep(&self, max: usize) -> Result<(), StoreError> {
        let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(self.clock.now().0 - kept);
        let mut query = Query {
            sort_by: SortBy::CreationTime,
            descending: true,
            limit: PAGE,
            ..Query::default()
        };
        let mut n_kept = 0;
        loop {
            let (page, next) = self.items.list(&query).await?;
            for stored in &page {
                if n_kept < max && stored.created_at >= oldest {
                    n_kept += 1;
                } else {
                    self.items.remove(stored).await?;
                }
            }
            let Some(next) = next else { return Ok(()) };
            query.after = Some(next);
        }
    }
}

impl Wanted<'_> {
    fn takes(&self, item: &Item) -> bool {
        self.alarm.is_none_or(|alarm| item.alarm == alarm)
            && self.kind.is_none_or(|kind| item.kind == kind)
            && self.is_composite.is_none_or(|is_composite| item.is_composite == is_composite)
    }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::clock::FakeClock;
    use sagebrush_store::MemoryStore;

    use super::*;

    async fn history(n: i64) -> (Arc<FakeClock>, History) {
        let clock = Arc::new(FakeClock::at(Timestamp(n * 1000)));
        let history = History::new(Arc::new(MemoryStore::new()), clock.clone());
        for at in 0..n {
            let item = Item {
                alarm: if at % 2 == 0 { "even" } else { "uneven" }.to_owned(),
                is_composite: false,
                kind: if at % 3 == 0 { ItemKind::Action } else { ItemKind::StateUpdate },
                at: Timestamp(at * 1000),
                summary: at.to_string(),
                data: "{}".to_owned(),
            };
            let region = Region::new("us-east-1");
            history.add(&region, &at.to_string(), item.clone()).await.unwrap();
            history.add(&region, &at.to_string(), item).await.unwrap(); // It is there already.
        }
        (clock, history)
    }

    async fn check(alarm: Option<&str>, kind: Option<ItemKind>, descending: bool, expected: &str) {
        let (_, history) = history(10).await;
        let wanted = Wanted { alarm, kind, is_composite: Some(false) };
        let mut query = History::query(&Region::new("us-east-1"), &wanted, descending);
        let mut found = Vec::new();
        loop {
            let (items, next) = history.list(query.clone(), &wanted, 2).await.unwrap();
            found.extend(items.into_iter().map(|item| item.summary));
            let Some(next) = next else { break };
            query.after = Some(next);
        }
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn long_data_stays_json() {
        let full = serde_json::json!({"kept": 1, "long": {"rule": "x".repeat(MAX_DATA)}});
        assert_eq!(data(full, &["/long/rule"]), r#"{"kept":1,"long":{"rule":null}}"#);
        let short = serde_json::json!({"kept": 1, "long": "short"});
        assert_eq!(data(short.clone(), &["/long"]), short.to_string());
    }

    #[tokio::test]
    async fn items_come_in_pages_and_by_what_is_wanted() {
        check(None, None, false, "0 1 2 3 4 5 6 7 8 9").await;
        check(Some("even"), None, false, "0 2 4 6 8").await;
        check(Some("even"), None, true, "8 6 4 2 0").await;
        check(Some("even"), Some(ItemKind::Action), false, "0 6").await;
        check(Some("ven"), None, false, "").await;
    }

    #[tokio::test]
    async fn old_items_go_and_so_do_too_many() {
        let (clock, history) = history(10).await;
        history.sweep(7).await.unwrap();
        assert_eq!(history.items.all().await.unwrap().len(), 7);
        clock.advance(KEPT - Duration::from_secs(2));
        history.sweep(7).await.unwrap();
        assert_eq!(history.items.all().await.unwrap().len(), 2);
    }
}
