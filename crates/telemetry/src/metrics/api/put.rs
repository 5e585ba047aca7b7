//! `PutMetricData`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Timestamp;
use sagebrush_core::cloudwatch::{MetricDatum, MetricId, Metrics as _};
use sagebrush_core::sketch::Sketch;
use sagebrush_wire::Empty;
use sagebrush_wire::cloudwatch as wire;

use super::super::CloudWatch;
use super::Dimension;
use super::error::{invalid, invalid_combination, invalid_value, missing};

/// CloudWatch's own bounds.
const MAX_DATA: usize = 1000;
const MAX_VALUES: usize = 150;
const OLDEST: Duration = Duration::from_hours(14 * 24);
const NEWEST: Duration = Duration::from_hours(2);

pub(super) async fn put_metric_data(
    state: Arc<CloudWatch>,
    ctx: Context,
    input: wire::PutMetricDataInput,
) -> Result<Empty, ApiError> {
    let data = read(input, state.clock.now())?;
    state.store.put(&ctx.region, data);
    Ok(Empty {})
}

/// All data of a call. Which entity they belong to makes no difference to any query.
fn read(input: wire::PutMetricDataInput, now: Timestamp) -> Result<Vec<MetricDatum>, ApiError> {
    let namespace: Arc<str> = input.namespace.into();
    if namespace.trim().is_empty() {
        return Err(missing("Namespace"));
    }
    let entities = input.entity_metric_data.unwrap_or_default();
    if input.metric_data.is_none() && entities.is_empty() {
        return Err(missing("MetricData"));
    }
    let of_entities = entities.into_iter().enumerate().map(|(index, entity)| {
        let path = format!("EntityMetricData.member.{}.MetricData", index + 1);
        (path, entity.metric_data.unwrap_or_default())
    });
    let lists = [("MetricData".to_owned(), input.metric_data.unwrap_or_default())];
    let mut data = Vec::new();
    for (path, list) in lists.into_iter().chain(of_entities) {
        if data.len() + list.len() > MAX_DATA {
            return Err(too_long(&path, MAX_DATA));
        }
        for (index, datum) in list.into_iter().enumerate() {
            let path = format!("{path}.member.{}", index + 1);
            data.push(read_one(&namespace, datum, &path, now)?);
        }
    }
    Ok(data)
}

fn read_one(
    namespace: &Arc<str>,
    datum: wire::MetricDatum,
    path: &str,
    now: Timestamp,
) -> Result<MetricDatum, ApiError> {
    let values = values(&datum, path)?;
    let high_resolution = match datum.storage_resolution {
        None | Some(60) => false,
        Some(1) => true,
        Some(other) => return Err(invalid(other, &format!("{path}.StorageResolution"))),
    };
    let dimensions = dimensions(datum.dimensions.unwrap_or_default(), path)?;
    Ok(MetricDatum {
        metric: MetricId::new(namespace.clone(), datum.metric_name, dimensions),
        unit: datum.unit.unwrap_or(wire::StandardUnit::None).as_str().into(),
        at: datum.timestamp.map_or(Ok(now), |at| time(at, path, now))?,
        values,
        high_resolution,
    })
}

fn dimensions(sent: Vec<wire::Dimension>, path: &str) -> Result<Vec<Dimension>, ApiError> {
    let mut names = BTreeSet::new();
    for (index, wire::Dimension { name, value }) in sent.iter().enumerate() {
        let path = format!("{path}.Dimensions.member.{}", index + 1);
        let is_name = name.is_ascii() && !name.starts_with(':') && !name.trim().is_empty();
        if !is_name || !names.insert(name) {
            return Err(invalid(name, &format!("{path}.Name")));
        }
        if value.trim().is_empty() {
            return Err(invalid(value, &format!("{path}.Value")));
        }
    }
    Ok(sent.into_iter().map(|one| (one.name.into(), one.value.into())).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn time(at: sagebrush_wire::Timestamp, path: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let at = Timestamp((at.0 * 1000.0).round() as i64);
    let must = |what| invalid_value(format!("The parameter {path}.Timestamp must specify {what}"));
    if now.since(at) > OLDEST {
        return Err(must("a time no more than two weeks in the past."));
    }
    if at.since(now) > NEWEST {
        return Err(must("a time no more than two hours in the future."));
    }
    Ok(at)
}

/// The values of a datum, which tells them in one of three ways.
fn values(datum: &wire::MetricDatum, path: &str) -> Result<Sketch, ApiError> {
    let ways = [
        ("Value", datum.value.is_some()),
        ("Values", datum.values.is_some()),
        ("StatisticValues", datum.statistic_values.is_some()),
    ];
    let mut given = ways.iter().filter(|(_, is_given)| *is_given).map(|(way, _)| way);
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(invalid_combination(format!(
            "The parameters {path}.{one} and {path}.{other} are mutually exclusive and you have \
             specified both."
        )));
    }
    if let Some(value) = datum.value {
        return Ok(Sketch::of(checked(value, path, "Value")?));
    }
    if let Some(values) = &datum.values {
        return listed(values, datum.counts.as_deref(), path);
    }
    let Some(set) = &datum.statistic_values else {
        return Err(missing(&format!("{path}.Value")));
    };
    summed(set, &format!("{path}.StatisticValues"))
}

fn listed(values: &[f64], counts: Option<&[f64]>, path: &str) -> Result<Sketch, ApiError> {
    if values.len() > MAX_VALUES {
        return Err(too_long(&format!("{path}.Values"), MAX_VALUES));
    }
    if values.is_empty() {
        return Err(missing(&format!("{path}.Values")));
    }
    if counts.is_some_and(|counts| counts.len() != values.len()) {
        return Err(invalid_value(format!(
            "The parameters {path}.Values and {path}.Counts must be of the same size."
        )));
    }
    let mut sketch = Sketch::default();
    for (index, value) in values.iter().enumerate() {
        let at = |of: &str| format!("{of}.member.{}", index + 1);
        let count = counts.map_or(1.0, |counts| counts[index]);
        if count < 0.0 {
            return Err(invalid(count, &format!("{path}.{}", at("Counts"))));
        }
        sketch.add(checked(*value, path, &at("Values"))?, checked(count, path, &at("Counts"))?);
    }
    Ok(sketch)
}

fn summed(set: &wire::StatisticSet, path: &str) -> Result<Sketch, ApiError> {
    let (count, sum) = (set.sample_count, checked(set.sum, path, "Sum")?);
    let min = checked(set.minimum, path, "Minimum")?;
    let max = checked(set.maximum, path, "Maximum")?;
    if checked(count, path, "SampleCount")? <= 0.0 {
        return Err(invalid(count, &format!("{path}.SampleCount")));
    }
    if min > max {
        return Err(invalid_value(format!(
            "The parameter {path}.Maximum must be greater than {path}.Minimum."
        )));
    }
    let mut sketch = Sketch::default();
    sketch.add_statistics(count, sum, min, max);
    Ok(sketch)
}

/// A number as CloudWatch takes them: from -2^360 to 2^360.
fn checked(value: f64, path: &str, name: &str) -> Result<f64, ApiError> {
    let is_in_range = value.abs() <= 2_f64.powi(360);
    is_in_range.then_some(value).ok_or_else(|| invalid(value, &format!("{path}.{name}")))
}

fn too_long(path: &str, max: usize) -> ApiError {
    invalid_value(format!("The collection {path} must not have a size greater than {max}."))
}
