//! Topics and queues, as SNS and SQS serve them.
//!
//! - `queues` keeps messages until who received them deletes them;
//! - `topics` knows who subscribed to what, and takes messages for all of them;
//! - `delivery` brings each message to each subscription, until it arrives or is given up.

mod attribute;
mod delivery;
mod queues;
#[cfg(test)]
mod testing;
mod topics;

use std::sync::Arc;

use sagebrush_aws::Api;
use sagebrush_core::messages::Publisher;
use sagebrush_core::metrics::Registry;
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Clock, task};
use tokio::task::JoinHandle;

pub use delivery::{SmtpSettings, SmtpTls};

use queues::Queues;
use topics::Topics;

/// What messages are made of.
pub struct Parts {
    pub store: Arc<dyn MetaStore>,
    pub clock: Arc<dyn Clock>,
    pub account: AccountId,
    /// What the topics' secrets are made from.
    pub secret: [u8; 32],
    pub metrics: Registry,
    /// The server for mails; without one, e-mail subscriptions are refused.
    pub smtp: Option<SmtpSettings>,
}

/// All topics and queues of a server.
pub struct Messaging {
    topics: Arc<Topics>,
    queues: Arc<Queues>,
}

impl Messaging {
    /// Reads what there is, and sets out with the messages that were left.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(parts: Parts) -> Result<Self, StoreError> {
        let Parts { store, clock, account, secret, metrics, smtp } = parts;
        let queues = Queues::open(store.clone(), clock.clone(), account.clone()).await?;
        let rest = (secret, metrics, smtp);
        let topics = Topics::open(store, clock, account, queues.clone(), rest).await?;
        Ok(Self { topics, queues })
    }

    /// Where others of this server publish.
    #[must_use]
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        self.topics.clone()
    }

    /// The operations of SNS and SQS that are served.
    #[must_use]
    pub fn api(&self) -> Api {
        let topics = topics::operations().serve(self.topics.clone());
        topics.and(queues::operations().serve(self.queues.clone()))
    }

    /// From now on nobody waits for a message.
    pub fn stop(&self) {
        self.queues.stop();
    }

    /// Starts what goes on in the background.
    #[must_use]
    pub fn start(&self) -> [JoinHandle<()>; 2] {
        let sweep = task::spawn("queue-sweep", self.queues.clone().sweep_for_ever());
        [self.topics.start(), sweep]
    }
}
