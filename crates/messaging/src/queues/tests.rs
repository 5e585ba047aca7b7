use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::store::MetaStore;
use sagebrush_core::{Clock, task};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::receive::{Receipt, Received, Wish};
use super::{Letter, Queue, QueueError, Queues, checksum};
use crate::attribute::{Attribute, Attributes, Value};
use crate::testing::{PausedClock, account, region, store};

/// Queues over a store and a clock that outlive them.
struct World {
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    queues: Arc<Queues>,
}

impl World {
    async fn new() -> Self {
        let (store, clock) = (store(), PausedClock::start());
        let queues = Queues::open(store.clone(), clock.clone(), account()).await.unwrap();
        Self { store, clock, queues }
    }

    /// As after a crash: what is only in memory is lost.
    async fn restart(self) -> Self {
        let Self { store, clock, queues } = self;
        drop(queues);
        let queues = Queues::open(store.clone(), clock.clone(), account()).await.unwrap();
        Self { store, clock, queues }
    }

    async fn queue(&self, name: &str, attributes: &[(&str, &str)]) -> Arc<Queue> {
        let attributes: BTreeMap<String, String> =
            attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.queues.create(&region(), name, &attributes, BTreeMap::new()).await.unwrap()
    }

    fn find(&self, name: &str) -> Arc<Queue> {
        self.queues.get(&region(), name).unwrap()
    }

    async fn send(&self, queue: &Queue, body: &str) {
        let letter = Letter { body: body.to_owned(), ..Letter::default() };
        self.queues.send(queue, Uuid::new_v4(), letter).await.unwrap();
    }

    async fn receive(&self, queue: &Queue, wait: u64) -> Vec<Received> {
        let wait = Some(Duration::from_secs(wait));
        let wish = Wish { most: 10, visibility_timeout: None, wait };
        self.queues.receive(queue, wish, std::future::pending()).await.unwrap()
    }

    async fn check(&self, queue: &Queue, wait: u64, expected: &[&str]) -> Vec<Receipt> {
        let received = self.receive(queue, wait).await;
        let bodies: Vec<&str> = received.iter().map(|it| it.message.spec.body.as_str()).collect();
        assert_eq!(bodies, expected);
        received.into_iter().map(|it| it.receipt).collect()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_not_deleted_comes_back() {
    let world = World::new().await;
    let queue = world.queue("q", &[("VisibilityTimeout", "30")]).await;
    world.send(&queue, "a").await;
    world.check(&queue, 0, &["a"]).await;
    sleep(29 * SECOND).await;
    world.check(&queue, 0, &[]).await;
    let [receipt] = world.check(&queue, 20, &["a"]).await[..] else { panic!("one") };
    world.queues.change_visibility(&queue, receipt, 100 * SECOND).await.unwrap();
    sleep(99 * SECOND).await;
    world.check(&queue, 0, &[]).await;
    world.queues.delete_message(&queue, receipt).await.unwrap();
    sleep(2 * SECOND).await;
    world.check(&queue, 0, &[]).await;
    let outcome = world.queues.change_visibility(&queue, receipt, SECOND).await;
    assert!(matches!(outcome, Err(QueueError::InvalidReceipt(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_message_belongs_to_who_received_it_last() {
    let world = World::new().await;
    let queue = world.queue("q", &[("VisibilityTimeout", "1")]).await;
    world.send(&queue, "a").await;
    let first = world.check(&queue, 0, &["a"]).await;
    let second = world.check(&queue, 5, &["a"]).await;
    world.queues.delete_message(&queue, first[0]).await.unwrap();
    let outcome = world.queues.change_visibility(&queue, first[0], SECOND).await;
    assert!(matches!(outcome, Err(QueueError::NotInFlight(_))), "{outcome:?}");
    let third = world.check(&queue, 5, &["a"]).await;
    assert_ne!(second, third);
    world.queues.delete_message(&queue, third[0]).await.unwrap();
    world.check(&queue, 5, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_waits_no_longer_than_it_must() {
    let world = World::new().await;
    let queue = world.queue("q", &[("DelaySeconds", "3")]).await;
    let start = Instant::now();
    world.check(&queue, 20, &[]).await;
    assert_eq!(start.elapsed(), 20 * SECOND);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (queues, queue) = (world.queues.clone(), queue.clone());
            let wish = Wish { most: 1, visibility_timeout: None, wait: Some(20 * SECOND) };
            let work = async move { queues.receive(&queue, wish, std::future::pending()).await };
            task::spawn("receiver", work)
        })
        .collect();
    sleep(SECOND).await;
    let start = Instant::now();
    world.send(&queue, "a").await;
    world.send(&queue, "b").await;
    for receiver in waiting {
        assert_eq!(receiver.await.unwrap().unwrap().len(), 1);
    }
    assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_and_who_stops_waits_no_longer() {
    let world = World::new().await;
    let queue = world.queue("q", &[]).await;
    let wish = Wish { most: 1, visibility_timeout: None, wait: Some(20 * SECOND) };
    let start = Instant::now();
    let left = world.queues.receive(&queue, wish, sleep(SECOND)).await.unwrap();
    assert!(left.is_empty() && start.elapsed() == SECOND);
    world.queues.stop();
    world.check(&queue, 20, &[]).await;
    assert_eq!(start.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_messages_and_who_holds_them() {
    let world = World::new().await;
    let queue = world.queue("q", &[("VisibilityTimeout", "60")]).await;
    world.send(&queue, "held").await;
    let held = world.check(&queue, 0, &["held"]).await;
    world.send(&queue, "free").await;
    let world = world.restart().await;
    let queue = world.find("q");
    world.check(&queue, 0, &["free"]).await;
    world.queues.delete_message(&queue, held[0]).await.unwrap();
    let world = world.restart().await;
    sleep(61 * SECOND).await;
    world.check(&world.find("q"), 0, &["free"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_received_too_often_is_put_aside() {
    let world = World::new().await;
    let dead = world.queue("dead", &[]).await;
    let policy =
        r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead","maxReceiveCount":2}"#;
    let settings = [("VisibilityTimeout", "1"), ("RedrivePolicy", policy)];
    let queue = world.queue("q", &settings).await;
    world.send(&queue, "a").await;
    world.check(&queue, 0, &["a"]).await;
    let world = world.restart().await;
    let queue = world.find("q");
    world.check(&queue, 5, &["a"]).await;
    world.check(&dead, 0, &[]).await;
    world.check(&queue, 5, &[]).await;
    world.check(&world.find("dead"), 0, &["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_made_anew_is_empty() {
    let world = World::new().await;
    let queue = world.queue("q", &[]).await;
    world.send(&queue, "a").await;
    world.queues.delete(&queue).await.unwrap();
    assert!(world.queues.get(&region(), "q").is_err());
    let queue = world.queue("q", &[]).await;
    world.send(&queue, "b").await;
    world.queues.purge(&queue).await.unwrap();
    world.send(&queue, "c").await;
    let world = world.restart().await;
    world.check(&world.find("q"), 0, &["c"]).await;
}

#[tokio::test(start_paused = true)]
async fn old_messages_are_dropped() {
    let world = World::new().await;
    let queue = world.queue("q", &[("MessageRetentionPeriod", "60")]).await;
    world.send(&queue, "old").await;
    sleep(59 * SECOND).await;
    world.send(&queue, "new").await;
    sleep(SECOND).await;
    world.check(&queue, 0, &["new"]).await;
    let sweeper = task::spawn("sweep", world.queues.clone().sweep_for_ever());
    sleep(120 * SECOND).await;
    assert_eq!(queue.shelf().next_visible(), None);
    sweeper.abort();
}

#[tokio::test]
async fn names_are_those_of_sqs() {
    let world = World::new().await;
    for name in ["", "a b", "a.fifo", "é", &"a".repeat(81)] {
        let made = world.queues.create(&region(), name, &BTreeMap::new(), BTreeMap::new()).await;
        assert!(made.is_err(), "{name}");
    }
    world.queue(&"a".repeat(80), &[]).await;
}

/// The sums are those that AWS's own clients compute.
#[test]
fn sums_are_those_of_the_clients() {
    assert_eq!(checksum::of_body("hello"), "5d41402abc4b2a76b9719d911017c592");
    let attribute = |data_type: &str, value| Attribute { data_type: data_type.to_owned(), value };
    let attributes = Attributes::from([
        ("b".to_owned(), attribute("Binary", Value::Binary("AP8=".to_owned()))),
        ("a".to_owned(), attribute("String", Value::Text("x".to_owned()))),
    ]);
    // Over: 1 a 6 String 01 1 x, 1 b 6 Binary 02 2 00 ff.
    assert_eq!(
        checksum::of_attributes(&attributes).as_deref(),
        Some("c4ec7d55335539420ccc7ec70efeb4a1")
    );
    assert_eq!(checksum::of_attributes(&Attributes::new()), None);
}
