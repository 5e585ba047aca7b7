use super::*;

const DAY: Duration = Duration::from_hours(24);
/// Days before or after the clock's start, in milliseconds.
const MINUTE: i64 = 60_000;

fn group() -> Value {
    json!({"logGroupName": GROUP})
}

fn stream() -> Value {
    json!({"logGroupName": GROUP, "logStreamName": "v/1"})
}

impl Rig {
    /// A rig in the middle of time, with a group and a stream.
    async fn with_stream() -> Self {
        let rig = Self::new(Limits::default());
        rig.clock.advance(1000 * DAY);
        rig.call("CreateLogGroup", group()).await.unwrap();
        rig.call("CreateLogStream", stream()).await.unwrap();
        rig
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    async fn put(&self, events: &[(i64, &str)]) -> Result<Value, ApiError> {
        let events = events.iter().map(|(time, text)| json!({"timestamp": time, "message": text}));
        let mut input = stream();
        input["logEvents"] = events.collect();
        self.call("PutLogEvents", input).await
    }
}

#[tokio::test]
async fn what_is_put_is_read_and_stays() {
    let rig = Rig::with_stream().await;
    let now = rig.now();
    let answer = rig.put(&[(now - MINUTE, "old"), (now, "new")]).await.unwrap();
    assert!(answer["nextSequenceToken"].is_string());
    assert_eq!(answer.get("rejectedLogEventsInfo"), None);
    rig.put(&[(now - 2 * MINUTE, "late")]).await.unwrap();
    let rig = rig.restart();
    assert_eq!(messages(&rig.get(json!({"startFromHead": true})).await), ["old", "new", "late"]);
    let by_time = rig.filter(json!({"startTime": now - 90_000})).await;
    assert_eq!(messages(&by_time), ["old", "new"]);
    assert_eq!(messages(&rig.filter(json!({})).await), ["late", "old", "new"]);
}

#[tokio::test]
async fn events_out_of_their_time_are_told() {
    let rig = Rig::with_stream().await;
    let now = rig.now();
    let hour = 60 * MINUTE;
    let answer = rig.put(&[(now, "kept"), (now + 3 * hour, "new")]).await.unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"tooNewLogEventStartIndex": 1}));
    let answer = rig.put(&[(now - 15 * 24 * hour, "old")]).await.unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"tooOldLogEventEndIndex": 1}));
    let mut week = group();
    week["retentionInDays"] = json!(7);
    rig.call("PutRetentionPolicy", week).await.unwrap();
    let answer = rig.put(&[(now - 8 * 24 * hour, "expired")]).await.unwrap();
    assert_eq!(answer["rejectedLogEventsInfo"], json!({"expiredLogEventEndIndex": 1}));
    assert_eq!(messages(&rig.filter(json!({})).await), ["kept"]);
    let error = rig.put(&[(now, "b"), (now - 1, "a")]).await.unwrap_err();
    assert_eq!(error.code, "InvalidParameterException");
}

#[tokio::test]
async fn groups_and_streams_are_made_once_and_deleted() {
    let rig = Rig::with_stream().await;
    let (no_group, no_stream) =
        ("The specified log group does not exist.", "The specified log stream does not exist.");
    let exists = "ResourceAlreadyExistsException";
    let not_found = "ResourceNotFoundException";
    rig.refused("CreateLogGroup", group(), exists, "The specified log group already exists").await;
    let message = "The specified log stream already exists";
    rig.refused("CreateLogStream", stream(), exists, message).await;
    let answer = rig.call("DescribeLogGroups", json!({})).await.unwrap();
    assert_eq!(answer["logGroups"][0]["creationTime"], rig.now());
    rig.call("DeleteLogStream", stream()).await.unwrap();
    rig.refused("DeleteLogStream", stream(), not_found, no_stream).await;
    let mut put = stream();
    put["logEvents"] = json!([{"timestamp": rig.now(), "message": "a"}]);
    rig.refused("PutLogEvents", put.clone(), not_found, no_stream).await;
    assert_eq!(messages(&rig.filter(json!({})).await), [""; 0]);
    let rig = rig.restart();
    rig.call("CreateLogStream", stream()).await.unwrap();
    rig.call("DeleteLogGroup", group()).await.unwrap();
    for operation in ["DeleteLogGroup", "DescribeLogStreams"] {
        rig.refused(operation, group(), not_found, no_group).await;
    }
    rig.refused("CreateLogStream", stream(), not_found, no_group).await;
    rig.refused("PutLogEvents", put, not_found, no_group).await;
    let rig = rig.restart();
    let answer = rig.call("DescribeLogGroups", json!({})).await.unwrap();
    assert_eq!(answer["logGroups"], json!([]));
    // What runs here writes on, and the group comes back.
    rig.write(GROUP, "v/1", "again");
    assert_eq!(messages(&rig.filter(json!({})).await), ["again"]);
}

#[tokio::test]
async fn what_has_expired_is_hidden_and_then_swept_away() {
    let rig = Rig::with_stream().await;
    rig.write(GROUP, "v/1", "first");
    rig.clock.advance(2 * DAY);
    rig.write(GROUP, "v/1", "second");
    let head = json!({"startFromHead": true});
    let token = rig.get(head.clone()).await["nextForwardToken"].clone();
    let mut days = group();
    days["retentionInDays"] = json!(1);
    rig.call("PutRetentionPolicy", days.clone()).await.unwrap();
    assert_eq!(messages(&rig.get(head.clone()).await), ["second"]);
    assert_eq!(messages(&rig.filter(json!({})).await), ["second"]);
    let on_disk = |rig: &Rig| -> String {
        rig.files().iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    };
    assert!(on_disk(&rig).contains("first"));
    rig.store.sweep().await.unwrap();
    assert!(!on_disk(&rig).contains("first") && on_disk(&rig).contains("second"));
    let rig = rig.restart();
    let answer = rig.call("DescribeLogGroups", json!({})).await.unwrap();
    assert_eq!(answer["logGroups"][0]["retentionInDays"], 1);
    rig.clock.advance(2 * DAY);
    rig.store.sweep().await.unwrap();
    assert_eq!(on_disk(&rig), "");
    // A follower goes on where it was.
    rig.write(GROUP, "v/1", "third");
    let rig = rig.restart();
    assert_eq!(messages(&rig.get(json!({"nextToken": token})).await), ["third"]);
    rig.call("DeleteRetentionPolicy", group()).await.unwrap();
    rig.clock.advance(10 * DAY);
    rig.store.sweep().await.unwrap();
    assert_eq!(messages(&rig.get(head).await), ["third"]);
    days["retentionInDays"] = json!(2);
    let error = rig.call("PutRetentionPolicy", days).await.unwrap_err();
    assert!(error.message.contains("'retentionInDays' failed"), "{}", error.message);
}

#[tokio::test]
async fn a_cut_that_a_crash_interrupted_is_finished() {
    let rig = Rig::with_stream().await;
    rig.write(GROUP, "v/1", "first");
    let [whole] = rig.files().try_into().unwrap();
    let before = fs::read(&whole).unwrap();
    rig.clock.advance(2 * DAY);
    rig.write(GROUP, "v/1", "second");
    let both = fs::read(&whole).unwrap();
    fs::write(whole.with_file_name(format!("{:020}.log", before.len())), &both[before.len()..])
        .unwrap();
    let rig = rig.restart();
    assert_eq!(messages(&rig.get(json!({"startFromHead": true})).await), ["second"]);
    assert_eq!(rig.files().len(), 1);
}

#[tokio::test]
async fn groups_have_tags() {
    let rig = Rig::with_stream().await;
    let arn = format!("arn:aws:logs:eu-west-1:123456789012:log-group:{GROUP}");
    let input = json!({"resourceArn": arn, "tags": {"a": "1", "b": "2"}});
    rig.call("TagResource", input).await.unwrap();
    let input = json!({"resourceArn": arn, "tagKeys": ["a"]});
    rig.call("UntagResource", input).await.unwrap();
    let rig = rig.restart();
    let answer = rig.call("ListTagsForResource", json!({"resourceArn": arn})).await.unwrap();
    assert_eq!(answer["tags"], json!({"b": "2"}));
    let mut many = group();
    many["tags"] = (0..50).map(|n| (format!("k{n}"), json!(""))).collect();
    let error = rig.call("TagLogGroup", many).await.unwrap_err();
    assert_eq!(error.code, "TooManyTagsException");
    assert_eq!(rig.call("ListTagsLogGroup", group()).await.unwrap()["tags"], json!({"b": "2"}));
}

#[tokio::test]
async fn what_is_not_served_is_named() {
    let rig = Rig::new(Limits::default());
    for (member, value) in [
        ("kmsKeyId", json!("k")),
        ("logGroupClass", json!("INFREQUENT_ACCESS")),
        ("deletionProtectionEnabled", json!(true)),
    ] {
        let mut input = group();
        input[member] = value;
        let error = rig.call("CreateLogGroup", input).await.unwrap_err();
        assert!(error.message.contains(member), "{}", error.message);
    }
}
