use sagebrush_aws::Context;
use sagebrush_core::clock::FakeClock;
use sagebrush_core::metrics::Registry;
use sagebrush_core::{AccountId, Region, Timestamp};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};

use super::*;
use crate::metrics::{Limits, MetricStore};

/// Noon of some day.
const NOW: i64 = 1_790_000_000 / 86400 * 86400 + 43200;

struct Served {
    _dir: tempfile::TempDir,
    state: Arc<CloudWatch>,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp(NOW * 1000)));
        let registry = Registry::default();
        let store = MetricStore::open(dir.path(), clock.clone(), Limits::default(), &registry);
        let state = CloudWatch::new(store.unwrap(), Arc::new(MemoryStore::default()), clock);
        Self { _dir: dir, state }
    }

    async fn try_call(&self, operation: &str, input: &Value) -> Result<Value, ApiError> {
        let context = Context::new(Region::new("eu-west-1"), AccountId("123456789012".into()));
        let body = input.to_string().into_bytes();
        let answer = operations().call(self.state.clone(), context, operation, &body).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn call(&self, operation: &str, input: Value) -> Value {
        self.try_call(operation, &input).await.unwrap()
    }

    async fn refuse(&self, operation: &str, input: Value, code: &str, message: &str) {
        let error = self.try_call(operation, &input).await.expect_err(message);
        let told = error.query_code.unwrap_or(&error.code);
        assert_eq!(told, code, "{input}: {}", error.message);
        assert!(error.message.contains(message), "{input}: {}", error.message);
    }

    async fn put(&self, data: Value) {
        self.call("PutMetricData", json!({ "Namespace": "N", "MetricData": data })).await;
    }

    /// Values and times, newest last, of the query with the id `r`.
    async fn data(&self, queries: Value) -> Vec<(i64, f64)> {
        let input = json!({
            "MetricDataQueries": queries, "StartTime": NOW - 600, "EndTime": NOW,
            "ScanBy": "TimestampAscending",
        });
        let answer = self.call("GetMetricData", input).await;
        let results = answer["MetricDataResults"].as_array().unwrap();
        let result = results.iter().find(|result| result["Id"] == "r").unwrap();
        let list = |name: &str| result[name].as_array().unwrap().clone().into_iter();
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
        let times = list("Timestamps").map(|at| at.as_f64().unwrap() as i64 - NOW);
        times.zip(list("Values").map(|value| value.as_f64().unwrap())).collect()
    }
}

fn stat(id: &str, name: &str, stat: &str) -> Value {
    let metric = json!({ "Namespace": "N", "MetricName": name });
    json!({ "Id": id, "MetricStat": { "Metric": metric, "Period": 60, "Stat": stat } })
}

#[tokio::test]
async fn statistics_of_a_period() {
    let served = Served::new();
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    served
        .put(json!([
            { "MetricName": "m", "Timestamp": NOW - 90, "Values": values, "Unit": "Count" },
            { "MetricName": "m", "Timestamp": NOW - 90, "Value": 7, "Unit": "Seconds" },
            {
                "MetricName": "m", "Timestamp": NOW - 30, "Unit": "Count",
                "StatisticValues": { "SampleCount": 2, "Sum": 5, "Minimum": 1, "Maximum": 4 },
            },
        ]))
        .await;
    let ask = |more: Value| {
        let mut input = json!({
            "Namespace": "N", "MetricName": "m", "StartTime": NOW - 600, "EndTime": NOW,
            "Period": 60, "Unit": "Count",
        });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let all = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
    let answer = served.call("GetMetricStatistics", ask(json!({ "Statistics": all }))).await;
    let expected = json!([
        {
            "Timestamp": (NOW - 120) as f64, "SampleCount": 100.0, "Average": 50.5, "Sum": 5050.0,
            "Minimum": 1.0, "Maximum": 100.0, "Unit": "Count",
        },
        {
            "Timestamp": (NOW - 60) as f64, "SampleCount": 2.0, "Average": 2.5, "Sum": 5.0,
            "Minimum": 1.0, "Maximum": 4.0, "Unit": "Count",
        },
    ]);
    assert_eq!(answer, json!({ "Label": "m", "Datapoints": expected }));
    let percentiles = ask(json!({ "ExtendedStatistics": ["p99", "tm90", "IQM"] }));
    let answer = served.call("GetMetricStatistics", percentiles).await;
    for (name, expected) in [("p99", 99.0), ("tm90", 45.5), ("IQM", 50.5)] {
        let value = answer["Datapoints"][0]["ExtendedStatistics"][name].as_f64().unwrap();
        assert!((value - expected).abs() <= 0.01 * expected, "{name}: {value}");
    }
    assert_eq!(answer["Datapoints"][1]["ExtendedStatistics"], Value::Null);
    let (code, both) = (
        "InvalidParameterCombination",
        json!({ "Statistics": ["Sum"], "ExtendedStatistics": ["p1"] }),
    );
    let refuse = |input, code, message| served.refuse("GetMetricStatistics", input, code, message);
    refuse(ask(json!({})), code, "Must specify either").await;
    refuse(ask(both), code, "Must specify either").await;
    let long = json!({ "Statistics": ["Sum"], "StartTime": NOW - 86401 });
    refuse(ask(long), code, "up to 1441 datapoints").await;
    let code = "InvalidParameterValue";
    refuse(ask(json!({ "ExtendedStatistics": ["p101"] })), code, "p101").await;
    refuse(ask(json!({ "Statistics": ["Sum"], "Period": 61 })), code, "Period").await;
    refuse(ask(json!({ "Statistics": ["Sum"], "EndTime": 1 })), code, "must be less").await;
}

#[tokio::test]
async fn metric_math() {
    let served = Served::new();
    let datum = |name: &str, ago: i64, value: f64| json!({ "MetricName": name, "Timestamp": NOW - ago, "Value": value });
    served.put(json!([datum("a", 120, 10.0), datum("a", 60, 30.0), datum("b", 120, 4.0)])).await;
    let math = |expression: &str| {
        let result = json!({ "Id": "r", "Expression": expression, "Period": 60 });
        let hidden = |query: Value| {
            let mut query = query;
            query["ReturnData"] = false.into();
            query
        };
        let half = hidden(json!({ "Id": "half", "Expression": "a / 2" }));
        json!([hidden(stat("a", "a", "Sum")), hidden(stat("b", "b", "Maximum")), half, result])
    };
    let check = async |expression: &str, expected: &[(i64, f64)]| {
        assert_eq!(served.data(math(expression)).await, expected, "{expression}");
    };
    assert_eq!(served.data(json!([stat("r", "a", "Sum")])).await, [(-120, 10.0), (-60, 30.0)]);
    check("100 * b / a", &[(-120, 40.0)]).await;
    check("half - 1", &[(-120, 4.0), (-60, 14.0)]).await;
    check("SUM(METRICS())", &[(-120, 14.0), (-60, 30.0)]).await;
    check("0 * half + SUM(METRICS())", &[(-120, 14.0), (-60, 30.0)]).await;
    check("a - FILL(b, REPEAT)", &[(-120, 6.0), (-60, 26.0)]).await;
    let filled = served.data(math("FILL(b, 0)")).await;
    assert_eq!((filled.len(), filled[0], filled[8]), (10, (-600, 0.0), (-120, 4.0)));
    let refuse = async |queries: Value, message: &str| {
        let input = json!({ "MetricDataQueries": queries, "StartTime": NOW - 600, "EndTime": NOW });
        served.refuse("GetMetricData", input, "ValidationException", message).await;
    };
    refuse(math("SEARCH('{N} a', 'Sum')"), "Error in expression 'r': The function SEARCH").await;
    refuse(math("r + 1"), "refers to itself").await;
    refuse(math("c"), "with the id c").await;
    refuse(math("1 +"), "Unexpected end").await;
    refuse(math("AVG(a)"), "not a time series").await;
    refuse(json!([stat("A", "a", "Sum")]), "pattern").await;
    refuse(json!([stat("a", "a", "Sum"), stat("a", "a", "Sum")]), "several queries").await;
    refuse(json!([stat("a", "a", "p101")]), "MetricStat.Stat is invalid").await;
    refuse(json!([{ "Id": "a" }]), "either MetricStat or Expression").await;
    let mut labelled = stat("a", "a", "Sum");
    labelled["Label"] = "${MAX}".into();
    refuse(json!([labelled]), "dynamic labels").await;
}

#[tokio::test]
async fn pages_of_data_and_of_names() {
    let served = Served::new();
    let datum =
        |minute: i64| json!({ "MetricName": "m", "Timestamp": NOW - minute * 60, "Value": minute });
    served.put((1..=5).map(datum).collect()).await;
    let mut input = json!({
        "MetricDataQueries": [stat("a", "m", "Sum")], "StartTime": NOW - 600, "EndTime": NOW,
        "MaxDatapoints": 2,
    });
    let mut seen = Vec::new();
    loop {
        let answer = served.call("GetMetricData", input.clone()).await;
        seen.extend(answer["MetricDataResults"][0]["Values"].as_array().unwrap().clone());
        let Some(token) = answer.get("NextToken") else { break };
        input["NextToken"] = token.clone();
    }
    assert_eq!(json!(seen), json!([1.0, 2.0, 3.0, 4.0, 5.0]), "the newest first");
    input["EndTime"] = (NOW - 60).into();
    served.refuse("GetMetricData", input, "InvalidNextToken", "invalid").await;

    let with_dimensions = |i: i32| {
        let dimensions = json!([
            { "Name": "Endpoint", "Value": format!("e{i:04}") }, { "Name": "V", "Value": "x" },
        ]);
        json!({ "MetricName": "many", "Value": 1, "Dimensions": dimensions })
    };
    served.put((0..700).map(with_dimensions).collect()).await;
    let list = async |input: Value| {
        let answer = served.call("ListMetrics", input).await;
        let n_metrics = answer["Metrics"].as_array().unwrap().len();
        (n_metrics, answer)
    };
    let (n_first, first) = list(json!({ "Namespace": "N", "MetricName": "many" })).await;
    let next = json!({ "Namespace": "N", "MetricName": "many", "NextToken": first["NextToken"] });
    let (n_second, second) = list(next).await;
    assert_eq!((n_first, n_second, &second["NextToken"]), (500, 200, &Value::Null));
    assert_eq!(second["Metrics"][0]["Dimensions"][0]["Value"], "e0500");
    let filter =
        |name: &str, value: &str| json!({ "Dimensions": [{ "Name": name, "Value": value }] });
    assert_eq!(list(filter("Endpoint", "e0007")).await.0, 1);
    assert_eq!(list(filter("Endpoint", "x")).await.0, 0);
    assert_eq!(list(json!({ "Dimensions": [{ "Name": "V" }], "Namespace": "M" })).await.0, 0);
    assert_eq!(list(json!({ "MetricName": "m", "RecentlyActive": "PT3H" })).await.0, 1);
    let code = "InvalidParameterValue";
    served.refuse("ListMetrics", json!({ "NextToken": "x" }), code, "NextToken").await;
}

#[tokio::test]
async fn what_is_put_is_checked() {
    let served = Served::new();
    let put = |datum: Value| json!({ "Namespace": "N", "MetricData": [datum] });
    let [value, combination] = ["InvalidParameterValue", "InvalidParameterCombination"];
    let dimension = |name: &str| json!({ "Name": name, "Value": "v" });
    let statistics = |count: f64, min: f64| json!({ "SampleCount": count, "Sum": 1, "Minimum": min, "Maximum": 2 });
    for (mut datum, code, message) in [
        (json!({}), "MissingParameter", "MetricData.member.1.Value is required"),
        (json!({ "Values": [] }), "MissingParameter", "member.1.Values"),
        (json!({ "Value": 1, "Values": [1] }), combination, "mutually exclusive"),
        (json!({ "Values": [1], "Counts": [1, 2] }), value, "of the same size"),
        (
            json!({ "Values": [1], "Counts": [-1] }),
            value,
            "The value -1 for parameter MetricData.member.1.Counts.member.1",
        ),
        (json!({ "Values": vec![1; 151] }), value, "not have a size greater than 150"),
        (json!({ "Value": 1e300 }), value, "MetricData.member.1.Value is invalid"),
        (json!({ "StatisticValues": statistics(0.0, 1.0) }), value, "SampleCount is invalid"),
        (json!({ "StatisticValues": statistics(1.0, 3.0) }), value, "Maximum must be greater"),
        (json!({ "Value": 1, "StorageResolution": 30 }), value, "StorageResolution"),
        (
            json!({ "Value": 1, "Timestamp": NOW - 15 * 86400 }),
            value,
            "no more than two weeks in the past",
        ),
        (
            json!({ "Value": 1, "Timestamp": NOW + 3 * 3600 }),
            value,
            "no more than two hours in the future",
        ),
        (
            json!({ "Value": 1, "Dimensions": [dimension("a"), dimension("a")] }),
            value,
            "Dimensions.member.2.Name",
        ),
        (json!({ "Value": 1, "Dimensions": [dimension(":a")] }), value, "Dimensions.member.1.Name"),
    ] {
        datum["MetricName"] = "m".into();
        served.refuse("PutMetricData", put(datum), code, message).await;
    }
    let none = json!({ "Namespace": "N" });
    served.refuse("PutMetricData", none, "MissingParameter", "MetricData is required").await;
    let datum = json!({ "MetricName": "m", "Value": 1 });
    let many = json!({ "Namespace": "N", "MetricData": vec![datum.clone(); 1001] });
    served.refuse("PutMetricData", many, value, "not have a size greater than 1000").await;
    let entity = json!({ "MetricData": [datum], "Entity": { "Attributes": {} } });
    let of_entity =
        json!({ "Namespace": "N", "EntityMetricData": [entity], "StrictEntityValidation": true });
    served.call("PutMetricData", of_entity).await;
    assert_eq!(served.data(json!([stat("r", "m", "Sum")])).await, [] as [(i64, f64); 0]);
    let listed = served.call("ListMetrics", json!({})).await;
    assert_eq!(listed["Metrics"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn dashboards_are_kept_as_they_are() {
    let served = Served::new();
    let put = |name: &str, body: &str| json!({ "DashboardName": name, "DashboardBody": body });
    let body = r#"{ "widgets": [] , "x": 1}"#;
    served.call("PutDashboard", put("vision-1", r#"{"widgets":[]}"#)).await;
    served.call("PutDashboard", put("vision-1", body)).await;
    served.call("PutDashboard", put("other", body)).await;
    let found = served.call("GetDashboard", json!({ "DashboardName": "vision-1" })).await;
    assert_eq!(found["DashboardBody"], body);
    assert_eq!(found["DashboardArn"], "arn:aws:cloudwatch::123456789012:dashboard/vision-1");
    let listed = served.call("ListDashboards", json!({ "DashboardNamePrefix": "vis" })).await;
    let entries = &listed["DashboardEntries"];
    assert_eq!(
        (&entries[0]["DashboardName"], &entries[0]["Size"]),
        (&json!("vision-1"), &json!(25))
    );
    assert_eq!(entries.as_array().unwrap().len(), 1);
    let gone = json!({ "DashboardNames": ["vision-1", "nobody"] });
    served.refuse("DeleteDashboards", gone, "ResourceNotFound", "nobody does not exist").await;
    served.call("DeleteDashboards", json!({ "DashboardNames": ["vision-1", "other"] })).await;
    let name = json!({ "DashboardName": "vision-1" });
    served.refuse("GetDashboard", name, "ResourceNotFound", "vision-1 does not exist").await;
    for (name, body, message) in [
        ("a", "{", "valid JSON object"),
        ("a", "[]", "valid JSON object"),
        ("a", "{}", "widgets"),
        ("a b", body, "DashboardName"),
    ] {
        served.refuse("PutDashboard", put(name, body), "InvalidParameterInput", message).await;
    }
}
