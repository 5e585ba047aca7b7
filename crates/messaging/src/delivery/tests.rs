use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sagebrush_core::Clock;
use sagebrush_core::messages::{Message, PublishError, Publisher as _};
use sagebrush_core::metrics::Registry;
use sagebrush_core::store::MetaStore;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::webhook::{Post, Undelivered, Webhooks};
use super::{Deliveries, Parts, Signer};
use crate::queues::Queues;
use crate::testing::{PausedClock, account, region, store};
use crate::topics::{Directory, Protocol, SubscriptionId, SubscriptionSpec, TopicSpec, Topics};

const SECOND: Duration = Duration::from_secs(1);
const QUICK: &str = r#"{"healthyRetryPolicy":{"numRetries":2,"numNoDelayRetries":1,"minDelayTarget":5,"maxDelayTarget":5}}"#;
const DEAD: &str = "arn:aws:sqs:us-east-1:123456789012:dead";

/// Webhooks that answer by their URL, and note what came when.
#[derive(Default)]
struct Fakes {
    posted: Mutex<Vec<(Duration, Post)>>,
    start: Mutex<Option<Instant>>,
}

#[async_trait]
impl Webhooks for Fakes {
    async fn post(&self, post: Post) -> Result<(), Undelivered> {
        let start = *self.start.lock().unwrap().get_or_insert_with(Instant::now);
        let url = post.url.clone();
        self.posted.lock().unwrap().push((start.elapsed(), post));
        let error = "no".to_owned();
        match url.trim_start_matches("http://") {
            "good/" => Ok(()),
            "gone/" => Err(Undelivered::ForGood(error)),
            "late/" => {
                sleep(15 * SECOND).await;
                Err(Undelivered::ForNow(error))
            }
            _ => Err(Undelivered::ForNow(error)),
        }
    }
}

impl Fakes {
    /// The seconds after the first post at which `url` was asked.
    fn asked(&self, url: &str) -> Vec<u64> {
        let posted = self.posted.lock().unwrap();
        posted.iter().filter(|(_, it)| it.url == url).map(|(at, _)| at.as_secs()).collect()
    }

    fn bodies(&self, url: &str) -> Vec<Value> {
        let posted = self.posted.lock().unwrap();
        let of_url = posted.iter().filter(|(_, it)| it.url == url);
        of_url.map(|(_, it)| serde_json::from_str(&it.body).unwrap()).collect()
    }
}

struct World {
    store: Arc<dyn MetaStore>,
    clock: Arc<dyn Clock>,
    fakes: Arc<Fakes>,
    queues: Arc<Queues>,
    topics: Arc<Topics>,
    metrics: Registry,
}

impl World {
    async fn new() -> Self {
        Self::over(store(), PausedClock::start(), Arc::default()).await
    }

    async fn over(store: Arc<dyn MetaStore>, clock: Arc<dyn Clock>, fakes: Arc<Fakes>) -> Self {
        let metrics = Registry::default();
        let queues = Queues::open(store.clone(), clock.clone(), account()).await.unwrap();
        let directory = Directory::open(store.clone(), clock.clone(), account()).await.unwrap();
        let (directory, signer) = (Arc::new(directory), Signer([7; 32]));
        let parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            directory: directory.clone(),
            queues: queues.clone(),
            signer: signer.clone(),
            metrics: metrics.clone(),
            smtp: None,
        };
        let deliveries = Arc::new(Deliveries::with(parts, fakes.clone()));
        deliveries.resume().await.unwrap();
        let topics = Arc::new(Topics { directory, deliveries, signer, has_mail: false });
        Self { store, clock, fakes, queues, topics, metrics }
    }

    async fn restart(self) -> Self {
        Self::over(self.store, self.clock, self.fakes).await
    }

    async fn topic(&self) -> String {
        let directory = &self.topics.directory;
        directory.create(&region(), "t", TopicSpec::default(), BTreeMap::new()).await.unwrap()
    }

    async fn subscribe(&self, url: &str, attributes: &[(&str, &str)]) -> SubscriptionId {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let spec = SubscriptionSpec {
            topic_arn: self.topic().await,
            protocol: Protocol::Http,
            endpoint: url.to_owned(),
            attributes,
            base_url: "http://here".to_owned(),
            token: "t".to_owned(),
        };
        let (id, _) = self.topics.directory.subscribe(spec).await.unwrap();
        let directory = &self.topics.directory;
        directory.change_subscription(&id, |it| it.status.has_agreed = true).await.unwrap();
        id
    }

    async fn publish(&self, id: &str) {
        let message = Message {
            id: id.to_owned(),
            subject: Some("S".to_owned()),
            body: format!("body of {id}"),
            attributes: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        };
        self.topics.publish(&self.topic().await, message).await.unwrap();
    }

    fn n_dead(&self) -> usize {
        self.queues.of_arn(DEAD).unwrap().n_messages()
    }

    fn check_metric(&self, line: &str) {
        let text = self.metrics.render();
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_is_tried_by_its_schedule_and_then_put_aside() {
    let world = World::new().await;
    let none = BTreeMap::new();
    world.queues.create(&region(), "dead", &none, BTreeMap::new()).await.unwrap();
    let redrive = format!("{{\"deadLetterTargetArn\":\"{DEAD}\"}}");
    let attributes = [("DeliveryPolicy", QUICK), ("RedrivePolicy", &redrive)];
    world.subscribe("http://bad/", &attributes).await;
    world.subscribe("http://gone/", &attributes).await;
    world.subscribe("http://good/", &[]).await;
    world.publish("1").await;
    sleep(100 * SECOND).await;
    assert_eq!(world.fakes.asked("http://bad/"), [0, 0, 5]);
    assert_eq!(world.fakes.asked("http://gone/"), [0]);
    assert_eq!(world.fakes.asked("http://good/"), [0]);
    assert_eq!(world.n_dead(), 2);
    world.check_metric("sagebrush_messages_waiting 0");
    world.check_metric("sagebrush_messages_published_total 1");
    world.check_metric("sagebrush_messages_delivered_total 1");
    world.check_metric("sagebrush_messages_retried_total 2");
    world.check_metric("sagebrush_messages_failed_attempts_total 4");
    world.check_metric("sagebrush_messages_dead_lettered_total 2");
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_a_message_is_tried_for_an_hour_and_dropped() {
    let world = World::new().await;
    world.subscribe("http://bad/", &[]).await;
    world.publish("1").await;
    sleep(Duration::from_hours(2)).await;
    let asked = world.fakes.asked("http://bad/");
    assert_eq!(asked[..6], [0, 0, 1, 2, 3, 6]);
    assert_eq!(asked.len(), 21);
    assert!((3000..4500).contains(asked.last().unwrap()), "{asked:?}");
    world.check_metric("sagebrush_messages_dropped_total 1");
    world.check_metric("sagebrush_messages_waiting 0");
}

#[tokio::test(start_paused = true)]
async fn a_slow_webhook_holds_nobody_up() {
    let world = World::new().await;
    world.subscribe("http://late/", &[]).await;
    world.subscribe("http://good/", &[]).await;
    for n in 0..100 {
        world.publish(&n.to_string()).await;
    }
    sleep(SECOND).await;
    assert_eq!(world.fakes.asked("http://good/").len(), 100);
    assert!(world.fakes.asked("http://late/").len() <= 32);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_what_was_left() {
    let world = World::new().await;
    world.subscribe("http://bad/", &[("DeliveryPolicy", QUICK)]).await;
    world.subscribe("http://good/", &[]).await;
    world.publish("1").await;
    sleep(SECOND).await;
    assert_eq!(world.fakes.asked("http://bad/").len(), 2);
    let world = world.restart().await;
    sleep(SECOND).await;
    // The old server's lane is cut off in a crash; here it lives on, and tries once more later.
    assert_eq!(world.fakes.asked("http://bad/").len(), 4);
    assert_eq!(world.fakes.asked("http://good/"), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_id_is_taken_once_within_a_day() {
    let world = World::new().await;
    world.subscribe("http://good/", &[]).await;
    world.publish("1").await;
    sleep(SECOND).await;
    world.publish("1").await;
    let world = world.restart().await;
    world.publish("1").await;
    sleep(Duration::from_hours(24)).await;
    world.topics.deliveries.forget_old().await.unwrap();
    world.publish("1").await;
    sleep(SECOND).await;
    assert_eq!(world.fakes.asked("http://good/").len(), 1);
    sleep(Duration::from_hours(2)).await;
    world.topics.deliveries.forget_old().await.unwrap();
    world.publish("1").await;
    sleep(SECOND).await;
    assert_eq!(world.fakes.asked("http://good/").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_posted_is_what_sns_posts() {
    let world = World::new().await;
    let id = world.subscribe("http://good/", &[]).await;
    world.publish("1").await;
    sleep(SECOND).await;
    let [body] = &world.fakes.bodies("http://good/")[..] else { panic!("one") };
    let topic = "arn:aws:sns:us-east-1:123456789012:t";
    for (name, expected) in [
        ("Type", "Notification"),
        ("MessageId", "1"),
        ("TopicArn", topic),
        ("Subject", "S"),
        ("Message", "body of 1"),
        ("Timestamp", "2001-09-09T01:46:40.000Z"),
        ("SignatureVersion", "HMAC-SHA256"),
    ] {
        assert_eq!(body[name], expected, "{name}");
    }
    let link = format!("http://here/?Action=Unsubscribe&SubscriptionArn={}", id.arn());
    assert_eq!(body["UnsubscribeURL"], link);
    assert_eq!(body["MessageAttributes"]["k"]["Type"], "String");
    assert_eq!(body["MessageAttributes"]["k"]["Value"], "v");
    let posted = world.fakes.posted.lock().unwrap()[0].1.clone();
    let headers: BTreeMap<&str, String> = posted.headers.into_iter().collect();
    assert_eq!(headers["x-amz-sns-message-type"], "Notification");
    assert_eq!(headers["x-amz-sns-message-id"], "1");
    assert_eq!(headers["x-amz-sns-topic-arn"], topic);
    assert_eq!(headers["x-amz-sns-subscription-arn"], id.arn());
    let signer = Signer([7; 32]);
    assert_eq!(headers["x-sagebrush-signature"], signer.header(topic, posted.body.as_bytes()));
    assert_ne!(signer.secret_of(topic), signer.secret_of("arn:aws:sns:us-east-1:123456789012:u"));
}

#[tokio::test]
async fn a_topic_that_is_not_there_takes_nothing() {
    let world = World::new().await;
    let arn = "arn:aws:sns:us-east-1:123456789012:none";
    let outcome = world.topics.publish(arn, Message::default()).await;
    assert!(matches!(outcome, Err(PublishError::NoTopic(_))), "{outcome:?}");
}
