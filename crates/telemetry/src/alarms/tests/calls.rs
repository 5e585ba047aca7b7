use super::*;

#[tokio::test(start_paused = true)]
async fn an_alarm_is_described_as_it_was_put() {
    let world = World::silent().await;
    let more = json!({
        "AlarmDescription": "d",
        "ActionsEnabled": false,
        "OKActions": [TOPIC],
        "AlarmActions": [TOPIC, POLICY],
        "InsufficientDataActions": [],
        "Unit": "Count",
        "DatapointsToAlarm": 1,
        "EvaluationPeriods": 3,
        "TreatMissingData": "breaching",
    });
    let put = metric_alarm("one", more);
    world.ok("PutMetricAlarm", put.clone()).await;
    let answer = world.ok("DescribeAlarms", json!({"AlarmNames": ["one"]})).await;
    let alarm = &answer["MetricAlarms"][0];
    for (member, value) in put.as_object().unwrap() {
        assert_eq!(alarm[member], *value, "{member}");
    }
    assert_eq!(alarm["AlarmArn"], "arn:aws:cloudwatch:us-east-1:123456789012:alarm:one");
    assert_eq!(alarm["StateValue"], "INSUFFICIENT_DATA");
    assert_eq!(alarm["StateReason"], "Unchecked: Initial alarm creation");
}

#[tokio::test(start_paused = true)]
async fn another_configuration_leaves_the_state() {
    let world = World::silent().await;
    world.put("one", json!({"Tags": [{"Key": "k", "Value": "v"}]})).await;
    let set = json!({"AlarmName": "one", "StateValue": "ALARM", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await;
    world.put("one", json!({"Threshold": 5.0, "Tags": [{"Key": "other", "Value": "v"}]})).await;
    let alarm = world.ok("DescribeAlarms", json!({})).await["MetricAlarms"][0].clone();
    assert_eq!((&alarm["StateValue"], &alarm["Threshold"]), (&json!("ALARM"), &json!(5.0)));
    let history = world.history("one", "ConfigurationUpdate").await;
    assert_eq!(history, ["Alarm \"one\" created", "Alarm \"one\" updated"]);
    let arn = json!({"ResourceARN": alarm["AlarmArn"]});
    let tags = world.ok("ListTagsForResource", arn).await;
    assert_eq!(tags["Tags"], json!([{"Key": "k", "Value": "v"}]));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_is_refused_by_name() {
    let world = World::silent().await;
    let refuse = async |more: Value, text: &str| {
        let input = metric_alarm("one", more);
        world.refused("PutMetricAlarm", input, "ValidationError", text).await;
    };
    let lambda = "arn:aws:lambda:us-east-1:123456789012:function:f";
    refuse(json!({"AlarmActions": [lambda]}), lambda).await;
    refuse(json!({"OKActions": ["arn:aws:automate:us-east-1:ec2:stop"]}), "ec2:stop").await;
    refuse(json!({"ComparisonOperator": "GreaterThanUpperThreshold"}), "anomaly").await;
    refuse(json!({"Period": 15}), "multiple of 60").await;
    refuse(json!({"Period": 3600, "EvaluationPeriods": 200}), "604800").await;
    refuse(json!({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}), "DatapointsToAlarm").await;
    refuse(json!({"ExtendedStatistic": "p99"}), "ExtendedStatistic").await;
    refuse(json!({"Statistic": null, "ExtendedStatistic": "x90"}), "x90").await;
    refuse(json!({"TreatMissingData": "ok"}), "TreatMissingData").await;
    refuse(json!({"EvaluateLowSampleCountPercentile": "ignore"}), "ignore").await;
    refuse(json!({"EvaluationInterval": 10}), "EvaluationInterval").await;
    refuse(json!({"Threshold": null}), "Threshold is missing").await;
    refuse(json!({"AlarmName": "a\u{1f}b"}), "control character").await;
}

fn stat(id: &str, returns: bool) -> Value {
    let metric = json!({"Namespace": "AWS/SageMaker", "MetricName": "Errors", "Dimensions": [
        {"Name": "EndpointName", "Value": "digits"},
    ]});
    let stat = json!({"Metric": metric, "Period": 60, "Stat": "Maximum"});
    json!({"Id": id, "MetricStat": stat, "ReturnData": returns})
}

fn of_metrics(queries: Value) -> Value {
    json!({
        "AlarmName": "one",
        "Metrics": queries,
        "EvaluationPeriods": 1,
        "Threshold": 10.0,
        "ComparisonOperator": "GreaterThanThreshold",
    })
}

#[tokio::test(start_paused = true)]
async fn metrics_of_one_statistic_are_looked_at() {
    let world = World::new().await;
    let refuse = async |queries: Value, text: &str| {
        world.refused("PutMetricAlarm", of_metrics(queries), "ValidationError", text).await;
    };
    let sum = json!({"Id": "s", "Expression": "SUM(METRICS())", "ReturnData": true});
    refuse(json!([stat("m", false), sum]), "Expression").await;
    refuse(json!([stat("m", true), stat("n", true)]), "Exactly one").await;
    refuse(json!([stat("m", true), stat("m", false)]), "must differ").await;
    world.ok("PutMetricAlarm", of_metrics(json!([stat("m", true)]))).await;
    let alarm = world.ok("DescribeAlarms", json!({})).await["MetricAlarms"][0].clone();
    assert_eq!(alarm["Metrics"], json!([stat("m", true)]));
    world.errors(11.0);
    world.reach("one", AlarmState::Alarm).await;
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_come_in_pages() {
    let world = World::silent().await;
    for name in ["ab", "aa", "b", "c"] {
        let actions = if name == "b" { json!([TOPIC]) } else { json!([]) };
        world.put(name, json!({"OKActions": actions})).await;
    }
    let set = json!({"AlarmName": "c", "StateValue": "OK", "StateReason": "a test"});
    world.ok("SetAlarmState", set).await;
    let names = async |mut input: Value| {
        let mut names = Vec::new();
        input["MaxRecords"] = json!(2);
        loop {
            let answer = world.ok("DescribeAlarms", input.clone()).await;
            let alarms = answer["MetricAlarms"].as_array().unwrap();
            names.extend(alarms.iter().map(|it| it["AlarmName"].as_str().unwrap().to_owned()));
            let Some(token) = answer["NextToken"].as_str() else { return names.join(" ") };
            input["NextToken"] = json!(token);
        }
    };
    assert_eq!(names(json!({})).await, "aa ab b c");
    assert_eq!(names(json!({"AlarmNamePrefix": "a"})).await, "aa ab");
    assert_eq!(names(json!({"AlarmNames": ["c", "aa", "x"]})).await, "aa c");
    assert_eq!(names(json!({"StateValue": "OK"})).await, "c");
    assert_eq!(names(json!({"ActionPrefix": "arn:aws:sns"})).await, "b");
    let token = json!({"NextToken": "x"});
    world.refused("DescribeAlarms", token, "InvalidNextToken", "").await;
    let token = json!({"NextToken": "x"});
    world.refused("DescribeAlarmHistory", token, "InvalidNextToken", "").await;
}

#[tokio::test(start_paused = true)]
async fn alarms_are_found_by_their_metric() {
    let world = World::silent().await;
    world.put("one", json!({})).await;
    let find = async |more: Value| {
        let mut input = json!({"Namespace": "AWS/SageMaker", "MetricName": "Errors"});
        for (member, value) in more.as_object().unwrap() {
            input[member] = value.clone();
        }
        let answer = world.ok("DescribeAlarmsForMetric", input).await;
        answer["MetricAlarms"].as_array().unwrap().len()
    };
    let dimensions = json!([{"Name": "EndpointName", "Value": "digits"}]);
    assert_eq!(find(json!({})).await, 0);
    assert_eq!(find(json!({"Dimensions": dimensions})).await, 1);
    assert_eq!(find(json!({"Dimensions": dimensions, "Statistic": "Average"})).await, 0);
    assert_eq!(find(json!({"Dimensions": dimensions, "Period": 60})).await, 1);
}

#[tokio::test(start_paused = true)]
async fn history_comes_in_pages_and_outlives_the_alarm() {
    let world = World::new().await;
    world.put("one", json!({})).await;
    world.put("other", json!({})).await;
    for state in ["OK", "ALARM", "OK"] {
        let set = json!({"AlarmName": "one", "StateValue": state, "StateReason": "a test"});
        world.ok("SetAlarmState", set).await;
        sleep(SECOND).await;
    }
    world.ok("DeleteAlarms", json!({"AlarmNames": ["one"]})).await;
    let mut input = json!({"AlarmName": "one", "MaxRecords": 2});
    let mut seen = Vec::new();
    loop {
        let answer = world.ok("DescribeAlarmHistory", input.clone()).await;
        let items = answer["AlarmHistoryItems"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|it| it["HistorySummary"].as_str().unwrap().to_owned()));
        let Some(token) = answer["NextToken"].as_str() else { break };
        input["NextToken"] = json!(token);
    }
    let expected = [
        "Alarm \"one\" deleted",
        "Alarm updated from ALARM to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from INSUFFICIENT_DATA to OK",
        "Alarm \"one\" created",
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn alarms_have_tags() {
    let world = World::silent().await;
    world.put("one", json!({})).await;
    let arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:one";
    let tags = json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]);
    world.ok("TagResource", json!({"ResourceARN": arn, "Tags": tags})).await;
    world.ok("UntagResource", json!({"ResourceARN": arn, "TagKeys": ["a"]})).await;
    let answer = world.ok("ListTagsForResource", json!({"ResourceARN": arn})).await;
    assert_eq!(answer["Tags"], json!([{"Key": "b", "Value": "2"}]));
    let none = json!({"ResourceARN": format!("{arn}x")});
    world.refused("ListTagsForResource", none, "ResourceNotFoundException", "onex").await;
    let other = json!({"ResourceARN": "arn:aws:cloudwatch::1:dashboard/d"});
    world.refused("ListTagsForResource", other, "InvalidParameterValue", "dashboard").await;
}

#[tokio::test(start_paused = true)]
async fn states_are_set_with_json_only_and_of_alarms_that_exist() {
    let world = World::silent().await;
    world.put("one", json!({})).await;
    let set = |name: &str, data: &str| json!({"AlarmName": name, "StateValue": "OK", "StateReason": "r", "StateReasonData": data});
    world.refused("SetAlarmState", set("one", "{"), "InvalidFormat", "JSON").await;
    world.refused("SetAlarmState", set("two", "{}"), "ResourceNotFound", "two").await;
    world.ok("SetAlarmState", set("one", "{}")).await;
    world.ok("DeleteAlarms", json!({"AlarmNames": ["one", "two"]})).await;
    assert_eq!(world.alarms.state(&region(), "one"), None);
}
