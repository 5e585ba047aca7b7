//! All topics and subscriptions, in memory and in the store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::resource::{Stored, Table};
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Arn, Clock, Region};
use uuid::Uuid;

use super::error::TopicError;
use super::record::{Protocol, SubscriptionKind, SubscriptionSpec, TopicKind, TopicSpec};

pub(crate) type Topic = Arc<Stored<TopicKind>>;
pub(crate) type Subscription = Arc<Stored<SubscriptionKind>>;

/// What names a subscription: its topic's ARN, and what follows that in its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionId {
    pub(crate) topic_arn: String,
    pub(crate) name: String,
}

impl SubscriptionId {
    pub(crate) fn of_arn(arn: &str) -> Option<Self> {
        let (topic_arn, name) = arn.rsplit_once(':')?;
        Some(Self { topic_arn: topic_arn.to_owned(), name: name.to_owned() })
    }

    pub(crate) fn arn(&self) -> String {
        format!("{}:{}", self.topic_arn, self.name)
    }
}

/// Whether it gets messages.
pub(crate) fn is_confirmed(subscription: &Stored<SubscriptionKind>) -> bool {
    subscription.spec.protocol == Protocol::Sqs || subscription.status.has_agreed
}

pub(crate) struct Directory {
    topics: Table<TopicKind>,
    subscriptions: Table<SubscriptionKind>,
    account: AccountId,
    known: Mutex<Known>,
    /// Held by who changes anything.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// By ARN, as the subscriptions.
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
}

impl Directory {
    pub(crate) async fn open(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        account: AccountId,
    ) -> Result<Self, StoreError> {
        let topics = Table::new(store.clone(), clock.clone());
        let subscriptions = Table::new(store, clock);
        let this = Self {
            topics,
            subscriptions,
            account,
            known: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
        };
        for topic in this.topics.all().await? {
            let arn = this.arn(&topic.region, &topic.name);
            this.known().topics.insert(arn, Arc::new(topic));
        }
        for subscription in this.subscriptions.all().await? {
            this.known().put(subscription);
        }
        Ok(this)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arn(&self, region: &Region, name: &str) -> String {
        let arn = Arn {
            service: "sns".to_owned(),
            region: region.to_string(),
            account: self.account.to_string(),
            resource: name.to_owned(),
        };
        arn.to_string()
    }

    pub(crate) fn topic(&self, arn: &str) -> Result<Topic, TopicError> {
        self.known().topics.get(arn).cloned().ok_or(TopicError::NoTopic)
    }

    pub(crate) fn subscription(&self, id: &SubscriptionId) -> Option<Subscription> {
        self.known().subscriptions.get(id).cloned()
    }

    /// The ARNs of the topics of a region, sorted.
    pub(crate) fn topics_of(&self, region: &Region) -> Vec<String> {
        let known = self.known();
        let topics = known.topics.iter().filter(|(_, topic)| topic.region == *region);
        topics.map(|(arn, _)| arn.clone()).collect()
    }

    /// The subscriptions of a topic.
    pub(crate) fn subscriptions_to(&self, topic_arn: &str) -> Vec<(SubscriptionId, Subscription)> {
        let first = SubscriptionId { topic_arn: topic_arn.to_owned(), name: String::new() };
        let known = self.known();
        let all = known.subscriptions.range((Bound::Included(first), Bound::Unbounded));
        let of_topic = all.take_while(|(id, _)| id.topic_arn == topic_arn);
        of_topic.map(|(id, subscription)| (id.clone(), subscription.clone())).collect()
    }

    /// The subscriptions of a region.
    pub(crate) fn subscriptions_of(&self, region: &Region) -> Vec<(SubscriptionId, Subscription)> {
        let known = self.known();
        let of_region = known.subscriptions.iter().filter(|(_, it)| it.region == *region);
        of_region.map(|(id, subscription)| (id.clone(), subscription.clone())).collect()
    }

    /// Makes a topic, or finds the one that has the name.
    pub(crate) async fn create(
        &self,
        region: &Region,
        name: &str,
        spec: TopicSpec,
        tags: BTreeMap<String, String>,
    ) -> Result<String, TopicError> {
        let _changing = self.changing.lock().await;
        let arn = self.arn(region, name);
        if let Ok(topic) = self.topic(&arn) {
            let is_same = |(key, value)| topic.spec.attributes.get(key) == Some(value);
            if !spec.attributes.iter().all(is_same) {
                return Err(TopicError::OtherAttributes);
            }
            if tags.iter().any(|(key, value)| topic.tags.get(key) != Some(value)) {
                return Err(TopicError::OtherTags);
            }
            return Ok(arn);
        }
        let topic = self.topics.create(region, name, spec, tags).await?;
        self.known().topics.insert(arn.clone(), Arc::new(topic));
        Ok(arn)
    }

    pub(crate) async fn change_topic(
        &self,
        arn: &str,
        change: impl FnOnce(&mut Stored<TopicKind>) + Send,
    ) -> Result<(), TopicError> {
        let _changing = self.changing.lock().await;
        let mut topic = (*self.topic(arn)?).clone();
        change(&mut topic);
        let topic = self.topics.update(topic).await?;
        self.known().topics.insert(arn.to_owned(), Arc::new(topic));
        Ok(())
    }

    /// Removes a topic and its subscriptions; no topic is fine.
    pub(crate) async fn delete(&self, arn: &str) -> Result<(), TopicError> {
        let _changing = self.changing.lock().await;
        let Ok(topic) = self.topic(arn) else { return Ok(()) };
        for (id, subscription) in self.subscriptions_to(arn) {
            self.subscriptions.remove(&subscription).await?;
            self.known().subscriptions.remove(&id);
        }
        self.topics.remove(&topic).await?;
        self.known().topics.remove(arn);
        Ok(())
    }

    /// Makes a subscription, or finds the one that leads to the same endpoint.
    pub(crate) async fn subscribe(
        &self,
        spec: SubscriptionSpec,
    ) -> Result<(SubscriptionId, Subscription), TopicError> {
        let _changing = self.changing.lock().await;
        let topic = self.topic(&spec.topic_arn)?;
        let is_same = |other: &SubscriptionSpec| {
            (other.protocol, &other.endpoint) == (spec.protocol, &spec.endpoint)
        };
        let found = self.subscriptions_to(&spec.topic_arn);
        if let Some((id, found)) = found.into_iter().find(|(_, it)| is_same(&it.spec)) {
            let has = |(key, value)| found.spec.attributes.get(key) == Some(value);
            if spec.attributes.iter().all(has) {
                return Ok((id, found));
            }
            return Err(TopicError::OtherSubscription);
        }
        let name = Uuid::new_v4().to_string();
        let new = self.subscriptions.create(&topic.region, &name, spec, BTreeMap::new()).await?;
        Ok(self.known().put(new))
    }

    pub(crate) async fn change_subscription(
        &self,
        id: &SubscriptionId,
        change: impl FnOnce(&mut Stored<SubscriptionKind>) + Send,
    ) -> Result<(), TopicError> {
        let _changing = self.changing.lock().await;
        let found = self.subscription(id).ok_or(TopicError::NoSubscription)?;
        let mut subscription = (*found).clone();
        change(&mut subscription);
        let subscription = self.subscriptions.update(subscription).await?;
        self.known().put(subscription);
        Ok(())
    }

    /// Removes a subscription; none is fine.
    pub(crate) async fn unsubscribe(&self, id: &SubscriptionId) -> Result<(), TopicError> {
        let _changing = self.changing.lock().await;
        if let Some(subscription) = self.subscription(id) {
            self.subscriptions.remove(&subscription).await?;
            self.known().subscriptions.remove(id);
        }
        Ok(())
    }
}

impl Known {
    fn put(&mut self, stored: Stored<SubscriptionKind>) -> (SubscriptionId, Subscription) {
        let (topic_arn, name) = (stored.spec.topic_arn.clone(), stored.name.clone());
        let (id, subscription) = (SubscriptionId { topic_arn, name }, Arc::new(stored));
        self.subscriptions.insert(id.clone(), subscription.clone());
        (id, subscription)
    }
}
