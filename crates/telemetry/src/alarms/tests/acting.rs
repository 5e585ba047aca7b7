use super::*;

#[tokio::test(start_paused = true)]
async fn an_alarm_tells_of_its_changes() {
    let world = World::new().await;
    world
        .put(
            "errors",
            json!({
                "AlarmDescription": "too many",
                "AlarmActions": [TOPIC], "OKActions": [TOPIC], "TreatMissingData": "notBreaching",
            }),
        )
        .await;
    world.reach("errors", AlarmState::Ok).await;
    let mut changes = world.alarms.changes();
    changes.mark_unchanged();
    world.errors(6.0);
    sleep(2 * SECOND).await;
    world.errors(6.0); // A sum of 12: the minute need not end.
    let seconds = world.reach("errors", AlarmState::Alarm).await;
    assert!(seconds <= 5, "after {seconds} s");
    assert!(changes.has_changed().unwrap());
    world.reach("errors", AlarmState::Ok).await;

    let subjects = ["OK", "ALARM", "OK"].map(|state| alarm_subject("errors", state));
    assert_eq!(world.subjects(), subjects);
    let (_, body) = &world.messages()[1];
    assert_eq!(body["NewStateValue"], "ALARM");
    assert_eq!(body["OldStateValue"], "OK");
    assert_eq!(body["AlarmArn"], "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors");
    assert_eq!(body["AlarmDescription"], "too many");
    assert_eq!(body["Region"], "US East (N. Virginia)");
    assert_eq!(
        body["StateChangeTime"].as_str().unwrap().len(),
        "2027-01-15T08:00:00.000+0000".len()
    );
    let trigger = json!({
        "MetricName": "Errors",
        "Namespace": "AWS/SageMaker",
        "StatisticType": "Statistic",
        "Statistic": "SUM",
        "Unit": null,
        "Dimensions": [{"name": "EndpointName", "value": "digits"}],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "Threshold": 10.0,
        "TreatMissingData": "notBreaching",
        "EvaluateLowSampleCountPercentile": "",
    });
    assert_eq!(body["Trigger"], trigger);
    let event = &world.events.events()[1];
    assert_eq!(
        (event.source, event.detail_type),
        ("aws.cloudwatch", "CloudWatch Alarm State Change")
    );
    assert_eq!(event.detail["state"]["value"], "ALARM");
    assert_eq!(event.detail["previousState"]["value"], "OK");
    let updates = world.history("errors", "StateUpdate").await;
    assert_eq!(updates[1..], ["Alarm updated from OK to ALARM", "Alarm updated from ALARM to OK"]);
    let acted = format!("Successfully executed action {TOPIC}");
    assert_eq!(world.history("errors", "Action").await, [&*acted; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_tells_nobody_again() {
    let world = World::new().await;
    world.put("errors", json!({"AlarmActions": [TOPIC], "TreatMissingData": "ignore"})).await;
    world.errors(11.0);
    world.reach("errors", AlarmState::Alarm).await;
    let world = world.restarted().await;
    assert_eq!(world.state("errors"), AlarmState::Alarm);
    let world = world.running(true);
    sleep(300 * SECOND).await;
    assert_eq!(world.state("errors"), AlarmState::Alarm);
    assert_eq!(world.subjects(), [alarm_subject("errors", "ALARM")]);
    let answer = world.ok("DescribeAlarms", json!({})).await;
    let reason = answer["MetricAlarms"][0]["StateReason"].as_str().unwrap();
    assert!(
        reason.starts_with("Threshold Crossed: 1 out of the last 1 datapoints [11.0"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_written_down_is_done_after_a_crash() {
    let world = World::silent().await;
    world.put("errors", json!({"AlarmActions": [TOPIC], "TreatMissingData": "ignore"})).await;
    let set = json!({"AlarmName": "errors", "StateValue": "ALARM", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await; // And nobody is there to act.
    assert!(world.subjects().is_empty());
    let world = world.restarted().await.running(true);
    sleep(SECOND).await;
    assert_eq!(world.subjects(), [alarm_subject("errors", "ALARM")]);
    let updates = world.history("errors", "StateUpdate").await;
    assert_eq!(updates, ["Alarm updated from INSUFFICIENT_DATA to ALARM"]);
    let world = world.restarted().await.running(true);
    sleep(SECOND).await;
    assert_eq!(world.subjects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scaling_policy_is_carried_out_while_the_state_stays() {
    let world = World::new().await;
    world
        .put(
            "errors",
            json!({
                "AlarmActions": [POLICY], "Period": 10, "TreatMissingData": "ignore",
            }),
        )
        .await;
    world.errors(11.0);
    world.reach("errors", AlarmState::Alarm).await;
    sleep(60 * SECOND).await;
    let scaled = world.told.scaled.lock().unwrap().clone();
    assert!((4..=7).contains(&scaled.len()), "{} times in a minute", scaled.len());
    let first = &scaled[0];
    assert_eq!(
        (first.state, first.value, first.threshold),
        (AlarmState::Alarm, Some(11.0), Some(10.0))
    );
    assert_eq!(world.history("errors", "Action").await.len(), 1); // Not one for each.
}

#[tokio::test(start_paused = true)]
async fn actions_that_fail_are_told_in_the_history() {
    let world = World::silent().await.running(false);
    let gone = "arn:aws:sns:us-east-1:123456789012:gone";
    let actions = json!({"AlarmActions": [gone, POLICY, TOPIC], "TreatMissingData": "ignore"});
    world.put("errors", actions).await;
    world.errors(11.0);
    world.reach("errors", AlarmState::Alarm).await;
    let expected = [
        format!("Failed to execute action {gone}. Received error: \"there is no topic {gone}\""),
        format!(
            "Failed to execute action {POLICY}. Received error: \"this server carries out no \
             scaling policies\""
        ),
        format!("Successfully executed action {TOPIC}"),
    ];
    assert_eq!(world.history("errors", "Action").await, expected);
    assert_eq!(world.subjects().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn disabled_actions_are_not_done() {
    let world = World::new().await;
    let missing = json!({"AlarmActions": [TOPIC, POLICY], "TreatMissingData": "ignore"});
    world.put("errors", missing).await;
    world.ok("DisableAlarmActions", json!({"AlarmNames": ["errors", "none"]})).await;
    world.errors(11.0);
    world.reach("errors", AlarmState::Alarm).await;
    sleep(120 * SECOND).await;
    assert!(world.subjects().is_empty() && world.told.scaled.lock().unwrap().is_empty());
    world.ok("EnableAlarmActions", json!({"AlarmNames": ["errors"]})).await;
    let set = json!({"AlarmName": "errors", "StateValue": "OK", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await;
    world.reach("errors", AlarmState::Alarm).await;
    assert_eq!(world.subjects(), [alarm_subject("errors", "ALARM")]);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_set_stays_until_the_next_look() {
    let world = World::new().await;
    world.put("errors", json!({"TreatMissingData": "notBreaching"})).await;
    world.reach("errors", AlarmState::Ok).await;
    let set = json!({"AlarmName": "errors", "StateValue": "ALARM", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await;
    sleep(30 * SECOND).await;
    assert_eq!(world.state("errors"), AlarmState::Alarm);
    assert!(world.reach("errors", AlarmState::Ok).await <= 40);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_without_data_says_so() {
    let world = World::new().await;
    world.put("errors", json!({"EvaluationPeriods": 2})).await;
    world.errors(11.0);
    world.errors(1.0);
    sleep(SECOND).await;
    world.reach("errors", AlarmState::Alarm).await; // The one that breaches grows old.
    world.reach("errors", AlarmState::InsufficientData).await;
    let answer = world.ok("DescribeAlarms", json!({"AlarmNames": ["errors"]})).await;
    let alarm = &answer["MetricAlarms"][0];
    assert_eq!(alarm["StateReason"], "Insufficient Data: 2 datapoints were unknown.");
    assert_eq!(alarm["StateTransitionedTimestamp"], alarm["StateUpdatedTimestamp"]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_alarms_are_looked_at_when_they_are_due() {
    let world = World::silent().await;
    for n in 0..1000 {
        let more = json!({"Period": 300, "TreatMissingData": "notBreaching"});
        world.put(&format!("alarm-{n}"), more).await;
    }
    let metrics = Arc::new(Counting::default());
    let parts = Parts {
        store: world.store.clone(),
        clock: world.clock.clone(),
        account: AccountId("123456789012".into()),
        metrics: metrics.clone(),
        math: None,
        publisher: world.told.clone(),
        events: world.events.clone(),
    };
    let alarms = Alarms::open(parts).await.unwrap();
    let _tasks = alarms.run(None);
    sleep(300 * SECOND).await;
    let n_reads = *metrics.0.lock().unwrap();
    assert!((10_000..=16_000).contains(&n_reads), "{n_reads} reads in five minutes");
}

/// Metrics without data that count how often they are read.
#[derive(Default)]
struct Counting(Mutex<u32>);

impl Metrics for Counting {
    fn put(&self, _: &Region, _: Vec<MetricDatum>) {}

    fn read(
        &self,
        _: &Region,
        _: &sagebrush_core::cloudwatch::MetricQuery,
    ) -> Vec<sagebrush_core::cloudwatch::Datapoint> {
        *self.0.lock().unwrap() += 1;
        Vec::new()
    }
}
