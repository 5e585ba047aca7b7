//! Topics: who subscribed to what, and messages for all who did.

mod api;
mod attributes;
mod directory;
mod error;
mod record;

use std::sync::Arc;

use async_trait::async_trait;
use sagebrush_core::messages::{Message, PublishError, Publisher};
use sagebrush_core::metrics::Registry;
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Clock, task};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::attribute::Attribute;
use crate::delivery::{
    Confirmation, Deliveries, Notice, Parts, Signer, SmtpSettings, subscribe_url,
};
use crate::queues::Queues;

pub(crate) use api::operations;
pub(crate) use directory::{Directory, Subscription, SubscriptionId};
#[cfg(test)]
pub(crate) use record::TopicSpec;
pub(crate) use record::{Protocol, SubscriptionSpec};

use directory::is_confirmed;
use error::TopicError;

/// All topics.
pub(crate) struct Topics {
    pub(crate) directory: Arc<Directory>,
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) signer: Signer,
    /// Whether there is a server for mails.
    pub(crate) has_mail: bool,
}

impl Topics {
    /// Reads all topics and subscriptions, and sets out with the messages that were left.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn open(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        account: AccountId,
        queues: Arc<Queues>,
        (secret, metrics, smtp): ([u8; 32], Registry, Option<SmtpSettings>),
    ) -> Result<Arc<Self>, StoreError> {
        let directory = Directory::open(store.clone(), clock.clone(), account).await?;
        let (directory, signer) = (Arc::new(directory), Signer(secret));
        let has_mail = smtp.is_some();
        let parts = Parts {
            store,
            clock,
            directory: directory.clone(),
            queues,
            signer: signer.clone(),
            metrics,
            smtp,
        };
        let deliveries = Arc::new(Deliveries::new(parts));
        deliveries.resume().await?;
        Ok(Arc::new(Self { directory, deliveries, signer, has_mail }))
    }

    /// Starts what goes on in the background.
    pub(crate) fn start(&self) -> JoinHandle<()> {
        task::spawn("message-ids", self.deliveries.clone().forget_for_ever())
    }

    /// Takes a message for all confirmed subscriptions of its topic.
    async fn take(&self, notice: Notice) -> Result<(), TopicError> {
        self.directory.topic(&notice.topic_arn)?;
        Ok(self.send_out(notice).await?)
    }

    async fn send_out(&self, notice: Notice) -> Result<(), StoreError> {
        let all = self.directory.subscriptions_to(&notice.topic_arn);
        let confirmed = all.into_iter().filter(|(_, it)| is_confirmed(it)).map(|(id, _)| id);
        self.deliveries.take(notice, confirmed.collect()).await
    }

    /// Asks an endpoint whether it wants to get messages.
    async fn ask(
        &self,
        id: &SubscriptionId,
        subscription: &Subscription,
    ) -> Result<(), TopicError> {
        let (topic_arn, token) = (&id.topic_arn, subscription.spec.token.clone());
        let subscribe_url = subscribe_url(&subscription.spec.base_url, topic_arn, &token);
        let body = format!(
            "You have chosen to subscribe to the topic {topic_arn}.\nTo confirm the subscription, \
             visit the SubscribeURL included in this message."
        );
        let notice = Notice {
            topic_arn: topic_arn.clone(),
            message_id: Uuid::new_v4().to_string(),
            body,
            confirms: Some(Confirmation { token, subscribe_url }),
            ..Notice::default()
        };
        Ok(self.deliveries.take(notice, vec![id.clone()]).await?)
    }
}

#[async_trait]
impl Publisher for Topics {
    async fn publish(&self, topic_arn: &str, message: Message) -> Result<(), PublishError> {
        let no_topic = |_| PublishError::NoTopic(topic_arn.to_owned());
        self.directory.topic(topic_arn).map_err(no_topic)?;
        let attributes = message.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| (name, Attribute::text(value)));
        let notice = Notice {
            topic_arn: topic_arn.to_owned(),
            message_id: message.id,
            subject: message.subject,
            body: message.body,
            attributes: attributes.collect(),
            is_remembered: true,
            ..Notice::default()
        };
        Ok(self.send_out(notice).await?)
    }
}
