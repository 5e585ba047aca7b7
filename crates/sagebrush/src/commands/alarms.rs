//! `sagebrush alarms`: the five alarms that an endpoint in production should have.

use serde_json::{Value, json};

use super::output;
use crate::cli::AlarmsArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

const SAGEMAKER: &str = "AWS/SageMaker";
const ENDPOINTS: &str = "/aws/sagemaker/Endpoints";

pub(crate) async fn run(config: &Config, args: &AlarmsArgs) -> Result<(), Failure> {
    let client = Client::new(config);
    let request = json!({"EndpointName": args.name});
    let endpoint = client.sagemaker("DescribeEndpoint", &request).await?;
    let mut alarms = Vec::new();
    for variant in endpoint["ProductionVariants"].as_array().into_iter().flatten() {
        alarms.extend(of_variant(args, variant["VariantName"].as_str().unwrap_or_default()));
    }
    for alarm in &alarms {
        client.cloudwatch("PutMetricAlarm", alarm).await?;
    }
    if args.json.on {
        return output::json(&alarms.into());
    }
    let row = |alarm: &Value| {
        let text = |name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
        vec![text("AlarmName"), text("AlarmDescription")]
    };
    output::table(&["ALARM", "RAISED WHEN"], alarms.iter().map(row).collect())
}

/// The alarms of one variant, as `PutMetricAlarm` takes them.
fn of_variant(args: &AlarmsArgs, variant: &str) -> [Value; 5] {
    let AlarmsArgs { max_latency_ms, max_duration_ms, max_error_rate, max_cpu, .. } = args;
    let dimensions = || {
        json!([
            {"Name": "EndpointName", "Value": args.name},
            {"Name": "VariantName", "Value": variant},
        ])
    };
    let alarm = |(name, why): (&str, String), metric: Value, periods: Value| {
        let mut alarm = json!({
            "AlarmName": format!("{}/{variant}/{name}", args.name),
            "AlarmDescription": why,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        });
        if let Some(topic) = &args.topic {
            alarm["AlarmActions"] = json!([topic]);
            alarm["OKActions"] = json!([topic]);
        }
        for more in [metric, periods] {
            let more = more.as_object().cloned().unwrap_or_default();
            more.into_iter().for_each(|(member, value)| alarm[&member] = value);
        }
        alarm
    };
    let three_of_five = || json!({"Period": 60, "EvaluationPeriods": 5, "DatapointsToAlarm": 3});
    let why = format!("1 % of calls take the model more than {max_latency_ms} ms");
    let p99 = json!({
        "Namespace": SAGEMAKER, "MetricName": "ModelLatency", "Dimensions": dimensions(),
        "ExtendedStatistic": "p99", "Threshold": max_latency_ms * 1000.0, // Microseconds.
    });
    let p99 = alarm(("model-latency-p99", why), p99, three_of_five());
    let why = format!("5 % of calls take more than {max_duration_ms} ms, model and overhead");
    let p95 = json!({
        "Metrics": [
            {"Id": "duration", "Expression": "model + overhead", "ReturnData": true},
            part("model", "ModelLatency", dimensions()),
            part("overhead", "OverheadLatency", dimensions()),
        ],
        "Threshold": max_duration_ms * 1000.0,
    });
    let of_minutes = json!({"EvaluationPeriods": 5, "DatapointsToAlarm": 3});
    let p95 = alarm(("duration-p95", why), p95, of_minutes);
    let why = format!("more than {} % of calls fail with 5xx", max_error_rate * 100.0);
    let errors = json!({
        "Namespace": SAGEMAKER, "MetricName": "Invocation5XXErrors", "Dimensions": dimensions(),
        "Statistic": "Average", "Threshold": max_error_rate,
    });
    let errors = alarm(("errors-5xx", why), errors, three_of_five());
    let why = format!("instances use more than {max_cpu} % of a core");
    let cpu = json!({
        "Namespace": ENDPOINTS, "MetricName": "CPUUtilization", "Dimensions": dimensions(),
        "Statistic": "Average", "Threshold": max_cpu,
    });
    let cpu = alarm(("cpu", why), cpu, three_of_five());
    let calls = json!({
        "Namespace": SAGEMAKER, "MetricName": "Invocations", "Dimensions": dimensions(),
        "Statistic": "Sum",
        "Threshold": 1.0, "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
    });
    let why = "nobody has called for 15 minutes".to_owned();
    let calls = alarm(("invocations", why), calls, json!({"Period": 300, "EvaluationPeriods": 3}));
    [p99, p95, errors, cpu, calls]
}

/// The 95th percentile of a time, by minute, for an expression.
fn part(id: &str, metric: &str, dimensions: Value) -> Value {
    let metric = json!({
        "Namespace": SAGEMAKER, "MetricName": metric, "Dimensions": dimensions,
    });
    json!({
        "Id": id, "ReturnData": false,
        "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p95"},
    })
}
