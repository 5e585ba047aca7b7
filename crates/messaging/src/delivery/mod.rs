//! Delivery: each message to each subscription, at least once.
//!
//! A message is one record of the store, with the names of the subscriptions that it has not come
//! to yet. It is written before its publisher has an answer; who is served is struck off; it goes
//! when nobody is left. After a crash, what is left is delivered anew. The message of a
//! [`sagebrush_core::messages::Publisher`] stays for a while without its text, so that its id is
//! known.

mod courier;
mod envelope;
mod lanes;
mod mail;
mod meters;
mod record;
mod schedule;
#[cfg(test)]
mod tests;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::metrics::Registry;
use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::store::{MetaStore, Query, SortBy, StoreError};
use sagebrush_core::{Arn, Clock, Region, Timestamp};

use crate::queues::Queues;
use crate::topics::{Directory, SubscriptionId};

use courier::Courier;
pub(crate) use envelope::{Signer, subscribe_url};
use lanes::{Job, Lanes};
use mail::Mailer;
pub(crate) use mail::is_address;
pub use mail::{SmtpSettings, SmtpTls};
use meters::Meters;
pub(crate) use record::{Confirmation, Notice};
use record::{Left, NoticeKind};
pub(crate) use schedule::{of_subscription, of_topic};
use webhook::{HttpWebhooks, Webhooks};

/// How long the id of a message is remembered, at least.
const REMEMBERED: Duration = Duration::from_hours(25);
/// How often ids are forgotten.
const FORGET_EVERY: Duration = Duration::from_mins(10);
/// How many records are read at once.
const PAGE: usize = 500;

/// What is on its way to subscribers.
pub(crate) struct Deliveries {
    notices: Table<NoticeKind>,
    clock: Arc<dyn Clock>,
    meters: Arc<Meters>,
    lanes: Lanes,
}

/// What deliveries need of others.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) signer: Signer,
    pub(crate) metrics: Registry,
    /// `None`: no mail is sent.
    pub(crate) smtp: Option<SmtpSettings>,
}

impl Deliveries {
    pub(crate) fn new(parts: Parts) -> Self {
        Self::with(parts, Arc::new(HttpWebhooks::new()))
    }

    fn with(parts: Parts, webhooks: Arc<dyn Webhooks>) -> Self {
        let notices = Table::new(parts.store, parts.clock.clone());
        let meters = Arc::new(Meters::new(&parts.metrics));
        let courier = Courier {
            notices: notices.clone(),
            directory: parts.directory,
            queues: parts.queues,
            webhooks,
            signer: parts.signer,
            mailer: parts.smtp.map(Mailer::new),
            meters: meters.clone(),
        };
        Self { notices, clock: parts.clock, meters, lanes: Lanes::new(courier) }
    }

    /// Sets out again with what was left when the server ended.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let status = Some(record::WAITING.to_owned());
        let mut query = Query { status, limit: PAGE, ..Query::default() };
        loop {
            let (left, next) = self.notices.list(&query).await?;
            for stored in left {
                self.set_out(&stored.region, &stored.name, &stored.spec.topic_arn, stored.status);
            }
            let Some(next) = next else { return Ok(()) };
            query.after = Some(next);
        }
    }

    /// Takes a message for `subscriptions`. It is durable when this returns; one whose id is known
    /// is not taken again.
    pub(crate) async fn take(
        &self,
        notice: Notice,
        subscriptions: Vec<SubscriptionId>,
    ) -> Result<(), StoreError> {
        let left = Left { names: subscriptions.into_iter().map(|id| id.name).collect() };
        let is_published = notice.confirms.is_none();
        if left.names.is_empty() && !notice.is_remembered {
            self.meters.published.add(1);
            return Ok(());
        }
        let region = region_of(&notice.topic_arn);
        let topic_arn = notice.topic_arn.clone();
        let key = format!("{topic_arn}/{}", notice.message_id);
        let now = self.clock.now();
        let new = Stored {
            region: region.clone(),
            name: key.clone(),
            version: 0, // There must be none.
            created_at: now,
            modified_at: now,
            spec: notice,
            status: left.clone(),
            tags: BTreeMap::new(),
        };
        match self.notices.update(new).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Ok(()), // Taken before.
            Err(error) => return Err(error),
        }
        self.meters.published.add(u64::from(is_published));
        self.set_out(&region, &key, &topic_arn, left);
        Ok(())
    }

    fn set_out(&self, region: &Region, key: &str, topic_arn: &str, left: Left) {
        for name in left.names {
            self.meters.waiting.add(1);
            let id = SubscriptionId { topic_arn: topic_arn.to_owned(), name };
            let job = Job { region: region.clone(), key: key.to_owned(), n_tried: 0 };
            self.lanes.put(&id, job);
        }
    }

    /// Forgets the ids of old messages.
    pub(crate) async fn forget_for_ever(self: Arc<Self>) {
        loop {
            if let Err(error) = self.forget_old().await {
                tracing::warn!(%error, "the ids of old messages could not be removed");
            }
            tokio::time::sleep(FORGET_EVERY).await;
        }
    }

    async fn forget_old(&self) -> Result<(), StoreError> {
        let age = i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX);
        let mut query = Query {
            created_before: Some(Timestamp(self.clock.now().0 - age)),
            sort_by: SortBy::CreationTime,
            limit: PAGE,
            ..Query::default()
        };
        loop {
            let (old, next) = self.notices.list(&query).await?;
            for stored in old.iter().filter(|stored| stored.status.names.is_empty()) {
                self.notices.remove(stored).await?;
            }
            let Some(next) = next else { return Ok(()) };
            query.after = Some(next);
        }
    }
}

fn region_of(topic_arn: &str) -> Region {
    let arn: Option<Arn> = topic_arn.parse().ok();
    Region::new(&arn.map(|arn| arn.region).unwrap_or_default())
}
