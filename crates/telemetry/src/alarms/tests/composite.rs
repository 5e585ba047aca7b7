use super::*;

impl World {
    async fn set(&self, name: &str, state: &str) {
        let set = json!({"AlarmName": name, "StateValue": state, "StateReason": "a test"});
        self.ok("SetAlarmState", set).await;
        sleep(SECOND / 10).await;
    }

    async fn composite(&self, name: &str, rule: &str, more: Value) {
        let mut input = json!({"AlarmName": name, "AlarmRule": rule, "AlarmActions": [TOPIC]});
        let Value::Object(more) = more else { panic!("an object") };
        for (member, value) in more {
            input[&member] = value;
        }
        self.ok("PutCompositeAlarm", input).await;
        sleep(SECOND / 10).await;
    }

    /// Alarms whose states stay as they are set.
    async fn with(names: &[&str]) -> Self {
        let world = Self::new().await;
        for name in names {
            world.put(name, json!({"TreatMissingData": "ignore"})).await;
            world.set(name, "OK").await;
        }
        world
    }

    async fn held_by(&self, name: &str) -> Value {
        let input = json!({"AlarmNames": [name], "AlarmTypes": ["CompositeAlarm"]});
        self.ok("DescribeAlarms", input).await["CompositeAlarms"][0]["ActionsSuppressedBy"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_composite_alarm_follows_its_children() {
    let world = World::with(&["a", "b"]).await;
    world.composite("both", "ALARM(a) AND ALARM(\"b\")", json!({"OKActions": [TOPIC]})).await;
    world.composite("top", "ALARM(both) OR INSUFFICIENT_DATA(a)", json!({})).await;
    assert_eq!(world.state("both"), AlarmState::Ok);
    world.set("a", "ALARM").await;
    assert_eq!(world.state("both"), AlarmState::Ok);
    world.set("b", "ALARM").await;
    assert_eq!((world.state("both"), world.state("top")), (AlarmState::Alarm, AlarmState::Alarm));
    let expected = [("both", "OK"), ("both", "ALARM"), ("top", "ALARM")];
    assert_eq!(world.subjects(), expected.map(|(name, state)| alarm_subject(name, state)));
    let (_, body) = &world.messages()[1];
    assert_eq!(body["AlarmRule"], "ALARM(a) AND ALARM(\"b\")");
    let child = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:b";
    assert_eq!(body["TriggeringChildren"][0]["Arn"], child);
    assert_eq!(body["TriggeringChildren"][0]["State"]["Value"], "ALARM");
    let reason = body["NewStateReason"].as_str().unwrap();
    assert!(reason.starts_with(&format!("{child} transitioned to ALARM at ")), "{reason}");
    world.set("a", "OK").await;
    assert_eq!(world.state("top"), AlarmState::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_composite_alarm_catches_up_after_a_crash() {
    let world = World::with(&["a"]).await;
    world.composite("c", "ALARM(a)", json!({})).await;
    let world = world.restarted().await;
    let set = json!({"AlarmName": "a", "StateValue": "ALARM", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await;
    let world = world.restarted().await.running(true);
    sleep(SECOND).await;
    assert_eq!(world.subjects(), [alarm_subject("c", "ALARM")]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_changes_changes_the_state() {
    let world = World::with(&["a"]).await;
    world.composite("c", "ALARM(a)", json!({})).await;
    world.composite("c", "OK(a)", json!({})).await;
    assert_eq!(world.state("c"), AlarmState::Alarm);
    world.composite("c", "FALSE", json!({})).await;
    assert_eq!(world.state("c"), AlarmState::Ok);
}

fn suppressor(wait: u32, extension: u32) -> Value {
    json!({
        "ActionsSuppressor": "s",
        "ActionsSuppressorWaitPeriod": wait,
        "ActionsSuppressorExtensionPeriod": extension,
    })
}

#[tokio::test(start_paused = true)]
async fn a_suppressor_keeps_actions_back() {
    let world = World::with(&["a", "s"]).await;
    world.composite("c", "ALARM(a)", suppressor(20, 60)).await;
    world.set("s", "ALARM").await;
    world.set("a", "ALARM").await;
    assert_eq!(world.held_by("c").await, "Alarm");
    sleep(300 * SECOND).await;
    assert!(world.subjects().is_empty());
    assert_eq!(world.history("c", "StateUpdate").await.len(), 2); // What happened is noted.
    world.set("s", "OK").await;
    assert_eq!(world.held_by("c").await, "ExtensionPeriod");
    sleep(55 * SECOND).await;
    assert!(world.subjects().is_empty());
    sleep(12 * SECOND).await;
    assert_eq!(world.subjects(), [alarm_subject("c", "ALARM")]);
    assert_eq!(world.held_by("c").await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn actions_wait_for_the_suppressor() {
    let world = World::with(&["a", "s"]).await;
    world.composite("c", "ALARM(a)", suppressor(20, 60)).await;
    world.set("a", "ALARM").await;
    assert_eq!(world.held_by("c").await, "WaitPeriod");
    sleep(19 * SECOND).await;
    assert!(world.subjects().is_empty());
    sleep(7 * SECOND).await;
    assert_eq!(world.subjects(), [alarm_subject("c", "ALARM")]);
}

#[tokio::test(start_paused = true)]
async fn what_passed_while_actions_were_kept_back_is_told_to_nobody() {
    let world = World::with(&["a", "s"]).await;
    let mut more = suppressor(20, 60);
    more["OKActions"] = json!([TOPIC]);
    world.composite("c", "ALARM(a)", more).await;
    assert_eq!(world.subjects(), [alarm_subject("c", "OK")]);
    world.set("a", "ALARM").await;
    sleep(5 * SECOND).await;
    let world = world.restarted().await.running(true); // It is remembered, too.
    world.set("a", "OK").await;
    sleep(300 * SECOND).await;
    assert_eq!(world.subjects().len(), 1);
    assert_eq!(world.history("c", "StateUpdate").await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_depends_on_itself_or_on_what_is_not_there() {
    let world = World::with(&["a"]).await;
    world.composite("b", "ALARM(a)", json!({})).await;
    world.composite("c", "ALARM(b)", json!({})).await;
    let put = |name: &str, rule: &str| json!({"AlarmName": name, "AlarmRule": rule});
    let refuse = async |name: &str, rule: &str, text: &str| {
        world.refused("PutCompositeAlarm", put(name, rule), "ValidationError", text).await;
    };
    refuse("b", "ALARM(c)", "would depend on itself").await;
    refuse("b", "NOT ALARM(b)", "would depend on itself").await;
    refuse("d", "ALARM(x) OR OK(y)", "alarms [x, y] in the alarm rule do not exist").await;
    refuse("d", "ALARM(a", "it ends too early").await;
    refuse("a", "TRUE", "is of another type").await;
    let scaling = json!({"AlarmName": "d", "AlarmRule": "TRUE", "AlarmActions": [POLICY]});
    world.refused("PutCompositeAlarm", scaling, "ValidationError", "not served here").await;
    let delete = json!({"AlarmNames": ["a"]});
    world.refused("DeleteAlarms", delete, "ResourceConflict", "b depends on it").await;
    world.ok("DeleteAlarms", json!({"AlarmNames": ["c"]})).await;
    world.ok("DeleteAlarms", json!({"AlarmNames": ["a", "b"]})).await;
    assert_eq!(world.alarms.state(&region(), "b"), None);
}

#[tokio::test(start_paused = true)]
async fn relatives_are_described() {
    let world = World::with(&["a", "b"]).await;
    world.composite("c", "ALARM(a) OR ALARM(b)", json!({})).await;
    world.composite("d", "OK(c)", json!({})).await;
    let names = async |input: Value| {
        let answer = world.ok("DescribeAlarms", input).await;
        let all = ["MetricAlarms", "CompositeAlarms"].map(|kind| answer[kind].clone());
        let all = all.iter().flat_map(|list| list.as_array().unwrap());
        all.map(|alarm| alarm["AlarmName"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(json!({"ChildrenOfAlarmName": "c"})).await, "a b");
    assert_eq!(names(json!({"ChildrenOfAlarmName": "d"})).await, "c");
    assert_eq!(names(json!({"ParentsOfAlarmName": "a"})).await, "c");
    assert_eq!(names(json!({})).await, "a b");
    assert_eq!(names(json!({"AlarmTypes": ["CompositeAlarm"]})).await, "c d");
}
