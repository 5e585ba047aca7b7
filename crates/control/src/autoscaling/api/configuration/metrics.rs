//! `CustomizedMetricSpecification.Metrics`: metrics, and expressions over them.

use std::collections::BTreeSet;

use sagebrush_core::cloudwatch::{Asked, DataQuery, MetricMath, Series, Statistic};
use sagebrush_wire::application_autoscaling as wire;

use super::{Refusal, invalid};

/// AWS: metrics and expressions of one policy.
const MAX_QUERIES: usize = 10;

/// Policies have a point a minute.
const PERIOD_S: u32 = 60;

/// Reads all queries, of which one is returned.
pub(super) fn read(
    queries: &[wire::TargetTrackingMetricDataQuery],
    math: &dyn MetricMath,
) -> Result<Vec<DataQuery>, Refusal> {
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        return Err(Refusal::Invalid(format!(
            "Metrics of CustomizedMetricSpecification must have 1 to {MAX_QUERIES} members."
        )));
    }
    let queries = queries.iter().map(query).collect::<Result<Vec<_>, _>>()?;
    let mut ids = BTreeSet::new();
    if let Some(again) = queries.iter().find(|query| !ids.insert(&query.id)) {
        return Err(Refusal::Invalid(format!(
            "The Id {} is used by several members of Metrics.",
            again.id
        )));
    }
    if queries.iter().filter(|query| query.is_returned()).count() != 1 {
        return Err(invalid("Exactly one element of Metrics must have ReturnData set to true."));
    }
    math.check(&queries).map_err(Refusal::Invalid)?;
    Ok(queries)
}

fn query(query: &wire::TargetTrackingMetricDataQuery) -> Result<DataQuery, Refusal> {
    let id = &query.id;
    if !is_id(id) {
        return Err(Refusal::Invalid(format!(
            "The Id {id} of a member of Metrics must begin with a lowercase letter, and have \
             letters, digits and underscores only."
        )));
    }
    let asks = match (&query.metric_stat, &query.expression) {
        (Some(stat), None) => Asked::Stat(series(id, stat)?),
        (None, Some(text)) => Asked::Expression { text: text.clone(), period: None },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::Invalid(format!(
                "The member {id} of Metrics must have either a MetricStat or an Expression, and \
                 not both."
            )));
        }
    };
    let (label, returns_data) = (query.label.clone(), query.return_data);
    Ok(DataQuery { id: id.clone(), label, returns_data, asks })
}

fn series(id: &str, stat: &wire::TargetTrackingMetricStat) -> Result<Series, Refusal> {
    let metric = &stat.metric;
    let (Some(namespace), Some(name)) = (&metric.namespace, &metric.metric_name) else {
        return Err(Refusal::Invalid(format!(
            "Namespace and MetricName of the member {id} of Metrics must be specified."
        )));
    };
    let _known: Statistic = stat.stat.parse().map_err(Refusal::invalid)?;
    let dimensions = metric.dimensions.as_deref().unwrap_or_default().iter();
    Ok(Series {
        namespace: namespace.clone(),
        name: name.clone(),
        dimensions: dimensions.map(|pair| (pair.name.clone(), pair.value.clone())).collect(),
        unit: stat.unit.clone(),
        period: PERIOD_S,
        statistic: stat.stat.clone(),
    })
}

fn is_id(id: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    id.starts_with(|it: char| it.is_ascii_lowercase()) && id.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use sagebrush_core::cloudwatch::Datapoint;
    use sagebrush_core::{Region, Timestamp};
    use serde_json::{Value, json};

    use super::*;

    /// Knows no division.
    struct NoDivision;

    impl MetricMath for NoDivision {
        fn check(&self, queries: &[DataQuery]) -> Result<(), String> {
            let divides = |query: &DataQuery| match &query.asks {
                Asked::Stat(_) => false,
                Asked::Expression { text, .. } => text.contains('/'),
            };
            if queries.iter().any(divides) { Err("no division".to_owned()) } else { Ok(()) }
        }

        fn read(&self, _: &Region, _: &[DataQuery], _: Range<Timestamp>) -> Vec<Datapoint> {
            Vec::new()
        }
    }

    fn read_json(queries: &Value) -> Result<Vec<DataQuery>, String> {
        let queries: Vec<_> = serde_json::from_value(queries.clone()).unwrap();
        read(&queries, &NoDivision).map_err(|refusal| refusal.to_string())
    }

    fn stat(id: &str, returns: Option<bool>) -> Value {
        let metric = json!({"Namespace": "N", "MetricName": "m",
            "Dimensions": [{"Name": "D", "Value": "d"}]});
        let mut query = json!({"Id": id, "MetricStat": {"Metric": metric, "Stat": "p99"}});
        if let Some(returns) = returns {
            query["ReturnData"] = returns.into();
        }
        query
    }

    fn expression(id: &str, text: &str) -> Value {
        json!({"Id": id, "Expression": text})
    }

    #[test]
    fn metrics_and_expressions_over_them() {
        let read = read_json(&json!([stat("m1", Some(false)), expression("e1", "m1 * 2")]));
        let read = read.unwrap();
        let series = read[0].series().unwrap();
        assert_eq!((series.statistic.as_str(), series.period), ("p99", 60));
        assert_eq!(series.dimensions, [("D".to_owned(), "d".to_owned())]);
        let text = "m1 * 2".to_owned();
        assert_eq!(read[1].asks, Asked::Expression { text, period: None });
        assert_eq!(read_json(&json!([stat("alone", None)])).unwrap().len(), 1);
    }

    #[test]
    fn what_is_refused() {
        let hidden = || stat("m1", Some(false));
        let mut without_name = hidden();
        without_name["MetricStat"]["Metric"] = json!({"Namespace": "N"});
        let mut bad_statistic = stat("m1", None);
        bad_statistic["MetricStat"]["Stat"] = "Middle".into();
        let mut both = stat("m1", None);
        both["Expression"] = "1".into();
        let many: Vec<_> = (0..11).map(|n| stat(&format!("m{n}"), Some(n == 0))).collect();
        for (queries, words) in [
            (json!([]), "1 to 10"),
            (json!(many), "1 to 10"),
            (json!([stat("M1", None)]), "lowercase"),
            (json!([stat("m-1", None)]), "lowercase"),
            (json!([hidden(), hidden(), expression("e", "m1")]), "several"),
            (json!([hidden()]), "Exactly one"),
            (json!([stat("m1", None), expression("e", "m1")]), "Exactly one"),
            (json!([both]), "not both"),
            (json!([{"Id": "m1"}]), "not both"),
            (json!([without_name, expression("e", "m1")]), "MetricName"),
            (json!([bad_statistic]), "Middle"),
            (json!([hidden(), expression("e", "m1 / 2")]), "no division"),
        ] {
            let error = read_json(&queries).unwrap_err();
            assert!(error.contains(words), "{queries}: {error}");
        }
    }
}
