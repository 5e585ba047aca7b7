//! Events, as EventBridge tells them: what happens here, and what clients put, is brought to the
//! targets of the rules that want it.
//!
//! [`Events`] takes events and never waits; a task of its own brings one after the other to its
//! targets ([`Events::deliver`]): topics and queues, where it is durable, and log groups. What
//! happens here also stands in the log group [`LOG_GROUP`], wanted or not. [`pattern`] says what a
//! rule wants, [`transform`] what its targets get.

mod api;
mod error;
mod pattern;
mod rules;
mod transform;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sagebrush_core::events::{Event, EventSink};
use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::messages::{Message, PublishError, Publisher};
use sagebrush_core::metrics::{Counter, Registry};
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Arn, Clock, Region, Timestamp, task};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::queues::{Letter, QueueError, Queues};

pub(crate) use api::operations;

use rules::{Rule, Rules, Target};
use transform::Known;

/// Where each event of the server itself is written down.
const LOG_GROUP: &str = "/aws/events/sagemaker";

/// The source of events of objects. They are not written down unless a rule wants it.
const OBJECTS: &str = "aws.s3";

/// How many events may wait to be delivered; as many of objects may wait besides.
const MAX_WAITING: usize = 4096;

/// How often a store that fails is asked for one target, and the pause after the first time.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// All rules, and the events on their way.
pub(crate) struct Events {
    rules: Rules,
    clock: Arc<dyn Clock>,
    account: AccountId,
    publisher: Arc<dyn Publisher>,
    queues: Arc<Queues>,
    log: Arc<dyn LogSink>,
    waiting: Lanes<Sender<Event>>,
    /// Until the task that delivers begins.
    arriving: Mutex<Option<Lanes<Receiver<Event>>>>,
    meters: Meters,
}

/// Objects may change so often that other events would find no room beside theirs.
struct Lanes<T> {
    main: T,
    objects: T,
}

struct Meters {
    emitted: Arc<Counter>,
    delivered: Arc<Counter>,
    failed: Arc<Counter>,
    dropped: Arc<Counter>,
}

/// What events need of others.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: AccountId,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) log: Arc<dyn LogSink>,
    pub(crate) metrics: Registry,
}

/// An event in its envelope.
pub(crate) struct Enveloped {
    id: Uuid,
    region: Region,
    json: Value,
}

impl Events {
    /// Reads the rules.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn open(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, clock, account, publisher, queues, log, metrics } = parts;
        let rules = Rules::open(store, clock.clone(), account.clone()).await?;
        let (waiting, arriving) = Lanes::new();
        Ok(Arc::new(Self {
            rules,
            clock,
            account,
            publisher,
            queues,
            log,
            waiting,
            arriving: Mutex::new(Some(arriving)),
            meters: Meters::new(&metrics),
        }))
    }

    /// Starts to deliver. Events that came before have waited.
    pub(crate) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner).take();
        let this = self.clone();
        task::spawn("events", async move {
            let Some(mut arriving) = arriving else { return };
            while let Some(event) = arriving.next().await {
                let is_noted = event.source != OBJECTS;
                let event = this.envelope(event);
                if is_noted {
                    this.note(&event);
                }
                if let Err(error) = this.deliver(&event).await {
                    tracing::warn!(%error, id = %event.id, "an event did not reach a target");
                }
            }
        })
    }

    /// The event as others read it.
    fn envelope(&self, event: Event) -> Enveloped {
        let Event { region, source, detail_type, resources, detail, at } = event;
        self.enveloped(region, (source, detail_type), resources, detail, at)
    }

    fn enveloped(
        &self,
        region: Region,
        (source, detail_type): (&str, &str),
        resources: Vec<String>,
        detail: Value,
        at: Timestamp,
    ) -> Enveloped {
        let id = Uuid::new_v4();
        let json = json!({
            "version": "0",
            "id": id.to_string(),
            "detail-type": detail_type,
            "source": source,
            "account": self.account,
            "time": time(at),
            "region": region,
            "resources": resources,
            "detail": detail,
        });
        Enveloped { id, region, json }
    }

    /// Writes an event into the log of them all.
    fn note(&self, event: &Enveloped) {
        let stream = event.json["detail-type"].as_str().unwrap_or_default();
        self.log(&event.region, LOG_GROUP, stream, &event.json.to_string());
    }

    fn log(&self, region: &Region, group: &str, stream: &str, line: &str) {
        let stream = stream.replace([':', '*'], "-"); // No name of a stream has those.
        let (group, stream) = (group.into(), stream.into());
        self.log.write(&LogStream { region: region.0.clone(), group, stream }, line);
    }

    /// Brings an event to all targets of the rules that want it. It is durable there when this
    /// returns `Ok`.
    async fn deliver(&self, event: &Enveloped) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for rule in self.rules.of_region(&event.region) {
            if !rule.wants(&event.json) {
                continue;
            }
            for (id, target) in &rule.stored.spec.targets {
                outcome = outcome.and(self.bring(event, &rule, id, target).await);
            }
        }
        outcome
    }

    /// Brings an event to one target, for as long as the store may recover.
    async fn bring(
        &self,
        event: &Enveloped,
        rule: &Rule,
        id: &str,
        target: &Target,
    ) -> Result<(), StoreError> {
        let rule_name = rule.stored.name.as_str();
        let rule_arn = self.rules.arn(&rule.stored.region, rule_name);
        let body = target.input.of(&event.json, &Known { rule_arn: &rule_arn, rule_name });
        let message = message_id(event.id, &rule_arn, id);
        let mut pause = PAUSE;
        for n in 1.. {
            let failure = match self.send(target, rule_name, message, body.clone()).await {
                Ok(()) => {
                    self.meters.delivered.add(1);
                    return Ok(());
                }
                Err(failure) => failure,
            };
            match failure {
                Failure::Store(_) if n < ATTEMPTS => {}
                Failure::Store(error) => {
                    self.meters.failed.add(1);
                    return Err(error);
                }
                Failure::ForGood(reason) => {
                    self.meters.failed.add(1);
                    let target = &target.arn;
                    tracing::warn!(rule = rule_name, target, reason, "an event was not taken");
                    return Ok(());
                }
            }
            sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn send(
        &self,
        target: &Target,
        rule: &str,
        id: Uuid,
        body: String,
    ) -> Result<(), Failure> {
        let arn: Arn = target.arn.parse().map_err(|_| Failure::ForGood("no ARN".to_owned()))?;
        match arn.service.as_str() {
            "sns" => {
                let message = Message { id: id.to_string(), body, ..Message::default() };
                Ok(self.publisher.publish(&target.arn, message).await?)
            }
            "sqs" => {
                let queue = self.queues.of_arn(&target.arn)?;
                let letter = Letter { body, sender: "events".to_owned(), ..Letter::default() };
                letter.check(&queue)?;
                self.queues.send(&queue, id, letter).await.map_err(Failure::Store)
            }
            _ => {
                let group = log_group(&arn).unwrap_or_default();
                self.log(&Region::new(&arn.region), group, rule, &body);
                Ok(())
            }
        }
    }
}

impl EventSink for Events {
    fn emit(&self, event: Event) {
        self.meters.emitted.add(1);
        let lane = if event.source == OBJECTS { &self.waiting.objects } else { &self.waiting.main };
        if lane.try_send(event).is_err() {
            self.meters.dropped.add(1);
        }
    }

    fn wants(&self, source: &str) -> bool {
        self.rules.may_want(source)
    }
}

impl Lanes<Receiver<Event>> {
    fn new() -> (Lanes<Sender<Event>>, Self) {
        let (main, from_main) = channel(MAX_WAITING);
        let (objects, from_objects) = channel(MAX_WAITING);
        (Lanes { main, objects }, Self { main: from_main, objects: from_objects })
    }

    /// `None` when nobody can send any more.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            Some(event) = self.main.recv() => Some(event),
            Some(event) = self.objects.recv() => Some(event),
            else => None,
        }
    }
}

impl Meters {
    fn new(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, Vec::new());
        Self {
            emitted: counter("sagebrush_events_emitted_total", "Events of the server itself."),
            delivered: counter(
                "sagebrush_events_delivered_total",
                "Events that a target of a rule has taken.",
            ),
            failed: counter(
                "sagebrush_events_failed_total",
                "Events that a target of a rule has not taken.",
            ),
            dropped: counter(
                "sagebrush_events_dropped_total",
                "Events that were lost because too many were waiting.",
            ),
        }
    }
}

/// Why a target did not take an event.
enum Failure {
    /// It may do so later.
    Store(StoreError),
    ForGood(String),
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(error) => Self::Store(error),
            error @ PublishError::NoTopic(_) => Self::ForGood(error.to_string()),
        }
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::ForGood(error.to_string())
    }
}

/// The group of `log-group:/aws/events/x`, with or without `:*`.
fn log_group(arn: &Arn) -> Option<&str> {
    let group = arn.resource.strip_prefix("log-group:")?;
    let group = group.strip_suffix(":*").unwrap_or(group);
    (!group.is_empty() && !group.contains([':', '*'])).then_some(group)
}

/// The same for each attempt, so that nobody takes an event twice.
fn message_id(event: Uuid, rule_arn: &str, target: &str) -> Uuid {
    let hash = Sha256::digest(format!("{event} {rule_arn} {target}"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(hash).for_each(|(byte, of_hash)| *byte = of_hash);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// `2012-05-02T00:54:06Z`
fn time(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
