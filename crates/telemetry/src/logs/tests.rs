mod changes;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::clock::FakeClock;
use sagebrush_core::{AccountId, Region, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const GROUP: &str = "/aws/sagemaker/Endpoints/e";

struct Rig {
    dir: TempDir,
    clock: Arc<FakeClock>,
    store: Arc<LogStore>,
}

impl Rig {
    fn new(limits: Limits) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(1000)));
        let store = Arc::new(LogStore::open(dir.path(), clock.clone(), limits).unwrap());
        Self { dir, clock, store }
    }

    /// Starts anew on the same files.
    fn restart(self) -> Self {
        let Self { dir, clock, store } = self;
        drop(store);
        let store = LogStore::open(dir.path(), clock.clone(), Limits::default()).unwrap();
        Self { dir, clock, store: Arc::new(store) }
    }

    /// Writes a line, one millisecond after the one before.
    fn write(&self, group: &str, stream: &str, line: &str) {
        self.store.write(&name(group, stream), line);
        self.store.flush();
        self.clock.advance(Duration::from_millis(1));
    }

    async fn call(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let ctx = Context::new(Region::new("eu-west-1"), AccountId("123456789012".into()));
        let body = serde_json::to_vec(&input).unwrap();
        let answer = operations().call(self.store.clone(), ctx, operation, &body).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn get(&self, more: Value) -> Value {
        let mut input = json!({"logGroupName": GROUP, "logStreamName": "v/1"});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("GetLogEvents", input).await.unwrap()
    }

    async fn filter(&self, more: Value) -> Value {
        let mut input = json!({"logGroupName": GROUP});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.call("FilterLogEvents", input).await.unwrap()
    }

    async fn refused(&self, operation: &str, input: Value, code: &str, message: &str) {
        let error = self.call(operation, input).await.unwrap_err();
        assert_eq!((&*error.code, error.status.as_u16()), (code, 400), "{}", error.message);
        assert_eq!(error.message, message);
    }

    /// The files of lines of all streams.
    fn files(&self) -> Vec<PathBuf> {
        let streams = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = streams.flat_map(|dir| fs::read_dir(dir).unwrap());
        let paths = files.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
    }
}

fn name(group: &str, stream: &str) -> LogStream {
    LogStream { region: "eu-west-1".into(), group: group.into(), stream: stream.into() }
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_follower_sees_each_line_once_and_then_the_same_token() {
    let rig = Rig::new(Limits::default());
    for line in ["a", "b", "c"] {
        rig.write(GROUP, "v/1", line);
    }
    let first = rig.get(json!({"startFromHead": true, "limit": 2})).await;
    assert_eq!(messages(&first), ["a", "b"]);
    assert_eq!(
        first["events"][0],
        json!({"timestamp": 1000, "message": "a", "ingestionTime": 1000})
    );
    let second = rig.get(json!({"nextToken": first["nextForwardToken"]})).await;
    assert_eq!(messages(&second), ["c"]);
    let third = rig.get(json!({"nextToken": second["nextForwardToken"]})).await;
    assert_eq!(messages(&third), [""; 0]);
    assert_eq!(third["nextForwardToken"], second["nextForwardToken"]);
    rig.write(GROUP, "v/1", "d");
    let fourth = rig.get(json!({"nextToken": third["nextForwardToken"]})).await;
    assert_eq!(messages(&fourth), ["d"]);
    let back = rig.get(json!({"nextToken": fourth["nextBackwardToken"], "limit": 2})).await;
    assert_eq!(messages(&back), ["b", "c"]);
    let start = rig.get(json!({"nextToken": first["nextBackwardToken"]})).await;
    assert_eq!(messages(&start), [""; 0]);
    assert_eq!(start["nextBackwardToken"], first["nextBackwardToken"]);
}

#[tokio::test]
async fn the_newest_lines_come_by_default_and_times_bound_them() {
    let rig = Rig::new(Limits::default());
    for line in ["a", "b", "c", "d"] {
        rig.write(GROUP, "v/1", line);
    }
    assert_eq!(messages(&rig.get(json!({"limit": 2})).await), ["c", "d"]);
    let bounds = json!({"startTime": 1001, "endTime": 1003});
    assert_eq!(messages(&rig.get(bounds.clone()).await), ["b", "c"]); // The end is not in.
    assert_eq!(messages(&rig.filter(bounds).await), ["b", "c", "d"]); // Here it is.
}

#[tokio::test]
async fn an_answer_is_no_larger_than_a_mebibyte() {
    let rig = Rig::new(Limits::default());
    for line in ["a", "b", "c"] {
        rig.write(GROUP, "v/1", &line.repeat(1 << 20)); // Cut to 256 KiB.
        rig.write(GROUP, "v/2", &line.repeat(1 << 20));
    }
    let page = rig.filter(json!({})).await;
    let lengths: Vec<usize> = messages(&page).iter().map(|message| message.len()).collect();
    assert_eq!(lengths, [256 << 10; 3]);
    let rest = rig.filter(json!({"nextToken": page["nextToken"]})).await;
    assert_eq!((messages(&rest).len(), &rest["nextToken"]), (3, &Value::Null));
}

#[tokio::test]
async fn a_small_line_does_not_overtake_one_that_had_no_room() {
    let rig = Rig::new(Limits::default());
    for line in ["a", "b", "c", "d"] {
        rig.write(GROUP, "v/1", &line.repeat(256 << 10));
    }
    rig.write(GROUP, "v/2", "small");
    let page = rig.filter(json!({})).await;
    assert_eq!(messages(&page).len(), 3);
    let rest = rig.filter(json!({"nextToken": page["nextToken"]})).await;
    assert_eq!((messages(&rest).len(), messages(&rest)[1]), (2, "small"));
}

#[tokio::test]
async fn filter_merges_streams_by_time_and_pages() {
    let rig = Rig::new(Limits::default());
    for index in 0..10 {
        rig.write(GROUP, ["v/1", "v/2", "w/1"][index % 3], &format!("line {index}"));
    }
    rig.write("/other", "v/1", "other");
    let mut all = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    let mut input = json!({"limit": 3});
    loop {
        let page = rig.filter(input.clone()).await;
        all.extend(messages(&page).iter().map(|message| (*message).to_owned()));
        for event in page["events"].as_array().unwrap() {
            ids.insert(event["eventId"].as_str().unwrap().to_owned());
        }
        match page["nextToken"].as_str() {
            Some(token) => input["nextToken"] = token.into(),
            None => break,
        }
    }
    let expected: Vec<String> = (0..10).map(|index| format!("line {index}")).collect();
    assert_eq!((all, ids.len()), (expected, 10));
    let check = async |more: Value, expected: &[&str]| {
        assert_eq!(messages(&rig.filter(more).await), expected);
    };
    check(json!({"logStreamNames": ["w/1"], "limit": 2}), &["line 2", "line 5"]).await;
    check(json!({"logStreamNamePrefix": "w"}), &["line 2", "line 5", "line 8"]).await;
    check(json!({"filterPattern": "?7 ?9"}), &["line 7", "line 9"]).await;
    check(json!({"filterPattern": "line", "startTime": 1009}), &["line 9"]).await;
    check(json!({"startTime": 5000}), &[]).await;
}

#[tokio::test]
async fn groups_and_streams_are_listed() {
    let rig = Rig::new(Limits::default());
    for (group, stream) in [(GROUP, "v/2"), (GROUP, "v/1"), ("/b", "x"), (GROUP, "w/1")] {
        rig.write(group, stream, "line");
    }
    let groups = rig.call("DescribeLogGroups", json!({"limit": 1})).await.unwrap();
    assert_eq!(groups["logGroups"][0]["logGroupName"], GROUP);
    assert_eq!(
        groups["logGroups"][0]["arn"],
        format!("arn:aws:logs:eu-west-1:123456789012:log-group:{GROUP}:*")
    );
    let next = json!({"nextToken": groups["nextToken"]});
    let rest = rig.call("DescribeLogGroups", next).await.unwrap();
    assert_eq!(rest["logGroups"][0]["logGroupName"], "/b");
    assert_eq!(rest["nextToken"], Value::Null);

    let list = async |more: Value| {
        let mut input = json!({"logGroupName": GROUP});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = rig.call("DescribeLogStreams", input).await.unwrap();
        let streams = answer["logStreams"].as_array().unwrap().iter();
        let names = streams.map(|stream| stream["logStreamName"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), answer["nextToken"].clone())
    };
    assert_eq!(list(json!({})).await.0, ["v/1", "v/2", "w/1"]);
    assert_eq!(list(json!({"logStreamNamePrefix": "v/"})).await.0, ["v/1", "v/2"]);
    let newest = json!({"orderBy": "LastEventTime", "descending": true, "limit": 2});
    let (names, token) = list(newest.clone()).await;
    assert_eq!(names, ["w/1", "v/1"]);
    let mut newest = newest;
    newest["nextToken"] = token;
    assert_eq!(list(newest).await, (vec!["v/2".to_owned()], Value::Null));
}

#[tokio::test]
async fn what_is_not_there_or_not_understood() {
    let rig = Rig::new(Limits::default());
    rig.write(GROUP, "v/1", "line");
    let no_group = "The specified log group does not exist.";
    let no_stream = "The specified log stream does not exist.";
    let (missing, bad) = ("ResourceNotFoundException", "InvalidParameterException");
    let get = |group: &str, stream: &str| json!({"logGroupName": group, "logStreamName": stream});
    rig.refused("GetLogEvents", get("/none", "v/1"), missing, no_group).await;
    rig.refused("GetLogEvents", get(GROUP, "none"), missing, no_stream).await;
    rig.refused("FilterLogEvents", json!({"logGroupName": "/none"}), missing, no_group).await;
    rig.refused("DescribeLogStreams", json!({"logGroupName": "/none"}), missing, no_group).await;
    let input = json!({"logGroupName": GROUP, "filterPattern": "[a, b]"});
    rig.refused("FilterLogEvents", input, bad, "Invalid filter pattern").await;
    let mut input = get(GROUP, "v/1");
    input["nextToken"] = "f/x".into();
    rig.refused("GetLogEvents", input, bad, "The specified nextToken is invalid.").await;
}

#[tokio::test]
async fn lines_and_tokens_survive_a_restart_and_half_a_line_does_not() {
    let rig = Rig::new(Limits::default());
    rig.write(GROUP, "v/1", "a\nb \u{1F600}");
    rig.write(GROUP, "v/1", "c");
    let token = rig.get(json!({"startFromHead": true})).await["nextForwardToken"].clone();
    let file = rig.files().pop().unwrap();
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(b"{\"t\":1,\"i\":1,\"m\":\"hal").unwrap();
    let rig = rig.restart();
    assert_eq!(messages(&rig.get(json!({})).await), ["a\nb \u{1F600}", "c"]);
    rig.write(GROUP, "v/1", "d");
    assert_eq!(messages(&rig.get(json!({"nextToken": token})).await), ["d"]);
    let input = json!({"logGroupName": GROUP});
    let streams = rig.call("DescribeLogStreams", input).await.unwrap();
    let stream = &streams["logStreams"][0];
    assert_eq!(
        (&stream["firstEventTimestamp"], &stream["lastEventTimestamp"]),
        (&json!(1000), &json!(1002))
    );
}

#[tokio::test]
async fn a_stream_is_bounded_and_positions_go_on() {
    let rig = Rig::new(Limits { file_bytes: 200, ..Limits::default() });
    let head = async || rig.get(json!({"startFromHead": true, "limit": 1})).await;
    rig.write(GROUP, "v/1", "line 000");
    let token = head().await["nextForwardToken"].clone();
    for index in 1..100 {
        rig.write(GROUP, "v/1", &format!("line {index:03}"));
    }
    assert_eq!(rig.files().len(), 2);
    let bytes: u64 = rig.files().iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 400, "{bytes}");
    let oldest = head().await;
    let kept = rig.get(json!({"nextToken": token})).await; // What it named is gone.
    assert_eq!(messages(&kept).first(), messages(&oldest).first());
    assert_eq!(messages(&kept).last(), Some(&"line 099"));
    let input = json!({"logGroupName": GROUP});
    let streams = rig.call("DescribeLogStreams", input).await.unwrap();
    let first = &streams["logStreams"][0]["firstEventTimestamp"];
    assert_eq!(first, &oldest["events"][0]["timestamp"]);
}

#[tokio::test]
async fn all_streams_together_are_bounded() {
    let rig = Rig::new(Limits { total_bytes: 3 * 4096, ..Limits::default() });
    for index in 0..10 {
        rig.write(GROUP, &format!("v/{index}"), "line");
    }
    assert_eq!(rig.files().len(), 3);
    assert_eq!(rig.filter(json!({})).await["events"][0]["logStreamName"], "v/7");
}

#[test]
fn a_writer_that_is_behind_drops_and_counts() {
    let rig = Rig::new(Limits { queued_bytes: 10, ..Limits::default() });
    rig.store.write(&name(GROUP, "v/1"), "too long to wait");
    assert_eq!(rig.store.dropped(), 1);
    rig.store.write(&name(GROUP, "v/1"), "fits");
    rig.store.flush();
    rig.store.write(&name(GROUP, "v/1"), "fits again");
    rig.store.flush();
    assert_eq!(rig.store.dropped(), 1);
}

#[test]
fn names_are_no_paths() {
    let rig = Rig::new(Limits::default());
    rig.write("../../up", "../../../etc/x", "line");
    rig.write("/", &"n".repeat(512), "line");
    let listed = |dir: PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = listed(rig.dir.path().to_owned()).chain(listed(rig.dir.path().join("groups")));
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    let is_hash = |name: &str| name.len() == 64 && !name.contains('.');
    let is_known = |name: &String| name == "groups" || is_hash(name.trim_end_matches(".json"));
    assert!(names.len() == 5 && names.iter().all(is_known), "{names:?}");
}
