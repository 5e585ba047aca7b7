//! One attempt to deliver one message to one subscription, and what follows.

use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::store::StoreError;
use sha2::{Digest as _, Sha256};
use tokio::time::sleep;
use uuid::Uuid;

use super::envelope::{self, Signer};
use super::lanes::{Job, Next};
use super::mail::{self, Mailer};
use super::meters::Meters;
use super::record::{Notice, NoticeKind};
use super::schedule::{self, Schedule};
use super::webhook::{Post, Undelivered, Webhooks};
use crate::attribute::{Attribute, Attributes};
use crate::queues::{Letter, Queues};
use crate::topics::{Directory, Protocol, Subscription, SubscriptionId};

/// How long a store that fails is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Who brings messages.
pub(super) struct Courier {
    pub(super) notices: Table<NoticeKind>,
    pub(super) directory: Arc<Directory>,
    pub(super) queues: Arc<Queues>,
    pub(super) webhooks: Arc<dyn Webhooks>,
    pub(super) signer: Signer,
    pub(super) mailer: Option<Mailer>,
    pub(super) meters: Arc<Meters>,
}

impl Courier {
    pub(super) async fn deliver(&self, id: &SubscriptionId, job: Job) -> Next {
        let notice = match self.notices.get(&job.region, &job.key).await {
            Ok(Some(notice)) if notice.status.names.contains(&id.name) => notice,
            Ok(_) => return self.gone(),
            Err(error) => return later(job, &error),
        };
        let Some(subscription) = self.directory.subscription(id) else {
            return self.settle(id, notice).await; // It has ended meanwhile.
        };
        self.meters.retried.add(u64::from(job.n_tried > 0));
        let outcome = self.attempt(id, &subscription, &notice).await;
        let job = Job { n_tried: job.n_tried + 1, ..job };
        let (error, delay) = match outcome {
            Ok(()) => {
                self.meters.delivered.add(1);
                return self.settle(id, notice).await;
            }
            Err(Undelivered::ForGood(error)) => (error, None),
            Err(Undelivered::ForNow(error)) => {
                (error, self.schedule(id, &subscription).delay_after(job.n_tried))
            }
        };
        self.meters.failed.add(1);
        let (subscription_arn, n_tried) = (id.arn(), job.n_tried);
        if let Some(after) = delay {
            tracing::debug!(subscription_arn, n_tried, error, "a message will be sent again");
            return Next::Again { job, after };
        }
        match self.give_up(id, &subscription, &notice, &error).await {
            Ok(()) => self.settle(id, notice).await,
            Err(error) => later(job, &error),
        }
    }

    async fn attempt(
        &self,
        id: &SubscriptionId,
        subscription: &Subscription,
        notice: &Stored<NoticeKind>,
    ) -> Result<(), Undelivered> {
        let body = self.body(id, subscription, notice);
        match subscription.spec.protocol {
            Protocol::Http | Protocol::Https => {
                let spec = &subscription.spec;
                let headers = envelope::headers(&self.signer, &notice.spec, id, spec, &body);
                self.webhooks.post(Post { url: spec.endpoint.clone(), headers, body }).await
            }
            Protocol::Sqs => {
                let is_raw = subscription.spec.is_raw();
                let letter = letter(&notice.spec, body, is_raw);
                self.send(&subscription.spec.endpoint, id, notice, letter).await
            }
            Protocol::Email => self.mail(id, subscription, notice, None).await,
            Protocol::EmailJson => self.mail(id, subscription, notice, Some(body)).await,
        }
    }

    /// Sends a mail, with the text of the message or with `json`.
    async fn mail(
        &self,
        id: &SubscriptionId,
        subscription: &Subscription,
        notice: &Stored<NoticeKind>,
        json: Option<String>,
    ) -> Result<(), Undelivered> {
        let spec = &subscription.spec;
        let none = || Undelivered::ForNow("this server has no mail server".to_owned());
        let mailer = self.mailer.as_ref().ok_or_else(none)?;
        let unsubscribe = envelope::unsubscribe_url(&spec.base_url, id);
        let text = (spec.endpoint.as_str(), notice.spec.text(spec.protocol));
        let mail = mail::of_notice(&notice.spec, notice.created_at, text, json, &unsubscribe);
        mailer.send(&mail).await
    }

    fn body(
        &self,
        id: &SubscriptionId,
        subscription: &Subscription,
        notice: &Stored<NoticeKind>,
    ) -> String {
        let (spec, notice, at) = (&subscription.spec, &notice.spec, notice.created_at);
        if spec.is_raw() && notice.confirms.is_none() {
            return notice.text(spec.protocol).to_owned();
        }
        envelope::json(&self.signer, notice, at, id, spec)
    }

    /// Sends to a queue. After a crash it may be sent again, under the same id.
    async fn send(
        &self,
        queue_arn: &str,
        id: &SubscriptionId,
        notice: &Stored<NoticeKind>,
        letter: Letter,
    ) -> Result<(), Undelivered> {
        let message = id_in_queue(id, &notice.name);
        let queue = self.queues.of_arn(queue_arn);
        let queue = queue.map_err(|error| Undelivered::ForGood(error.to_string()))?;
        let sent = self.queues.send(&queue, message, letter).await;
        sent.map_err(|error| Undelivered::ForNow(error.to_string()))
    }

    /// Puts what cannot be delivered aside, or lets it go.
    async fn give_up(
        &self,
        id: &SubscriptionId,
        subscription: &Subscription,
        notice: &Stored<NoticeKind>,
        error: &str,
    ) -> Result<(), Undelivered> {
        let subscription_arn = id.arn();
        let message_id = &notice.spec.message_id;
        let target = subscription.spec.dead_letter_target();
        if let Some(target) = target.filter(|_| notice.spec.confirms.is_none()) {
            let body = self.body(id, subscription, notice);
            let mut letter = letter(&notice.spec, body, subscription.spec.is_raw());
            let reason = Attribute::text(error.to_owned());
            letter.attributes.insert("ERROR_MESSAGE".to_owned(), reason);
            match self.send(&target, id, notice, letter).await {
                Ok(()) => {
                    self.meters.dead_lettered.add(1);
                    tracing::warn!(subscription_arn, message_id, error, "a message was put aside");
                    return Ok(());
                }
                Err(Undelivered::ForNow(error)) => return Err(Undelivered::ForNow(error)),
                Err(Undelivered::ForGood(error)) => {
                    tracing::warn!(subscription_arn, target, error, "there is no putting aside");
                }
            }
        }
        self.meters.dropped.add(1);
        tracing::warn!(subscription_arn, message_id, error, "a message was dropped");
        Ok(())
    }

    fn schedule(&self, id: &SubscriptionId, subscription: &Subscription) -> Schedule {
        let own = subscription.spec.attributes.get("DeliveryPolicy");
        let own = own.and_then(|policy| schedule::of_subscription(policy).ok().flatten());
        own.or_else(|| {
            let topic = self.directory.topic(&id.topic_arn).ok()?;
            schedule::of_topic(topic.spec.attributes.get("DeliveryPolicy")?).ok().flatten()
        })
        .unwrap_or(schedule::USUAL)
    }

    /// Strikes the subscription off, for as long as it takes: else it would be served twice.
    async fn settle(&self, id: &SubscriptionId, notice: Stored<NoticeKind>) -> Next {
        let (region, key) = (notice.region.clone(), notice.name.clone());
        let mut found = Some(notice);
        loop {
            let Some(notice) = found else { return self.gone() };
            match self.strike_off(id, notice).await {
                Ok(()) => return self.gone(),
                Err(StoreError::Conflict { .. }) => {} // Another subscription was.
                Err(error) => {
                    tracing::warn!(%error, "a delivery could not be noted");
                    sleep(STORE_PAUSE).await;
                }
            }
            found = loop {
                match self.notices.get(&region, &key).await {
                    Ok(found) => break found,
                    Err(_) => sleep(STORE_PAUSE).await,
                }
            };
        }
    }

    async fn strike_off(
        &self,
        id: &SubscriptionId,
        mut notice: Stored<NoticeKind>,
    ) -> Result<(), StoreError> {
        if !notice.status.names.remove(&id.name) {
            return Ok(());
        }
        if !notice.status.names.is_empty() {
            return self.notices.update(notice).await.map(drop);
        }
        if !notice.spec.is_remembered {
            return self.notices.remove(&notice).await;
        }
        notice.spec = Notice { is_remembered: true, ..Notice::default() };
        self.notices.update(notice).await.map(drop)
    }

    fn gone(&self) -> Next {
        self.meters.waiting.add(-1);
        Next::Done
    }
}

fn letter(notice: &Notice, body: String, is_raw: bool) -> Letter {
    let attributes = if is_raw { notice.attributes.clone() } else { Attributes::new() };
    Letter { body, attributes, sender: "sns".to_owned(), ..Letter::default() }
}

/// The same for each attempt.
fn id_in_queue(id: &SubscriptionId, key: &str) -> Uuid {
    let hash = Sha256::digest(format!("{} {key}", id.name));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, of_hash)| *byte = of_hash);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn later(job: Job, error: &dyn std::fmt::Display) -> Next {
    tracing::warn!(%error, "a message has to wait for the store");
    Next::Again { job, after: STORE_PAUSE }
}
