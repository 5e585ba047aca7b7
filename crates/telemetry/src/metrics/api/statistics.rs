//! `GetMetricStatistics`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::Region;
use sagebrush_core::cloudwatch::{MetricId, Statistic};
use sagebrush_core::sketch::Sketch;
use sagebrush_wire::cloudwatch as wire;

use super::super::CloudWatch;
use super::super::store::Selection;
use super::error::{invalid, invalid_combination};
use super::{blocking, metric_id, times, wire_time};

/// CloudWatch's own bound.
const MAX_POINTS: i64 = 1440;

pub(super) async fn get_metric_statistics(
    state: Arc<CloudWatch>,
    ctx: Context,
    input: wire::GetMetricStatisticsInput,
) -> Result<wire::GetMetricStatisticsOutput, ApiError> {
    let now = state.clock.now().0.div_euclid(1000);
    let label = input.metric_name.clone();
    let asked = Asked::read(input, now)?;
    let datapoints = blocking(move || asked.answer(&state, &ctx.region)).await?;
    Ok(wire::GetMetricStatisticsOutput { label: Some(label), datapoints: Some(datapoints) })
}

struct Asked {
    metric: MetricId,
    unit: Option<wire::StandardUnit>,
    times: Range<i64>,
    period: i64,
    statistics: Vec<wire::Statistic>,
    extended: Vec<(String, Statistic)>,
}

impl Asked {
    fn read(input: wire::GetMetricStatisticsInput, now: i64) -> Result<Self, ApiError> {
        let statistics = input.statistics.unwrap_or_default();
        let extended = input.extended_statistics.unwrap_or_default();
        if statistics.is_empty() == extended.is_empty() {
            return Err(invalid_combination(
                "Must specify either Statistics or ExtendedStatistics, and not both.",
            ));
        }
        times::check_order(input.start_time, input.end_time)?;
        let period = times::period(input.period, "Period")?;
        let times = times::range(input.start_time, input.end_time, period, now);
        let n_points = (times.end - times.start) / period;
        if n_points > MAX_POINTS {
            return Err(invalid_combination(format!(
                "You have requested up to {n_points} datapoints, which exceeds the limit of \
                 {MAX_POINTS}. You may reduce the datapoints requested by increasing Period, or \
                 decreasing the time range."
            )));
        }
        let extended = extended.into_iter().map(|word| match word.parse() {
            Ok(statistic) => Ok((word, statistic)),
            Err(_) => Err(invalid(word, "ExtendedStatistics")),
        });
        Ok(Self {
            metric: metric_id(&input.namespace, &input.metric_name, input.dimensions),
            unit: input.unit,
            times,
            period,
            statistics,
            extended: extended.collect::<Result<_, _>>()?,
        })
    }

    /// A data point for each period and unit that has values.
    fn answer(
        &self,
        state: &CloudWatch,
        region: &Region,
    ) -> Result<Vec<wire::Datapoint>, ApiError> {
        let units = state.store.units(region, &self.metric);
        let mut datapoints = Vec::new();
        for unit in wire::StandardUnit::VALUES {
            let is_asked = self.unit.is_none_or(|asked| asked.as_str() == *unit);
            if !is_asked || !units.iter().any(|known| **known == **unit) {
                continue;
            }
            let selection = Selection {
                metric: &self.metric,
                unit: Some(unit),
                times: self.times.clone(),
                period: self.period,
                origin: self.times.start,
            };
            for (at, values) in state.store.select(region, &selection) {
                datapoints.push((at, self.datapoint(at, unit, &values)?));
            }
        }
        datapoints.sort_by_key(|(at, _)| *at);
        Ok(datapoints.into_iter().map(|(_, datapoint)| datapoint).collect())
    }

    fn datapoint(&self, at: i64, unit: &str, values: &Sketch) -> Result<wire::Datapoint, ApiError> {
        let value = |statistic: wire::Statistic, of: Statistic| {
            self.statistics.contains(&statistic).then(|| of.of(values)).flatten()
        };
        let extended = self.extended.iter();
        let extended: BTreeMap<_, _> = extended
            .filter_map(|(word, statistic)| Some((word.clone(), statistic.of(values)?)))
            .collect();
        let unit = serde_json::from_value(unit.into()).map_err(ApiError::internal)?;
        Ok(wire::Datapoint {
            timestamp: Some(wire_time(at)),
            sample_count: value(wire::Statistic::SampleCount, Statistic::SampleCount),
            average: value(wire::Statistic::Average, Statistic::Average),
            sum: value(wire::Statistic::Sum, Statistic::Sum),
            minimum: value(wire::Statistic::Minimum, Statistic::Minimum),
            maximum: value(wire::Statistic::Maximum, Statistic::Maximum),
            unit: Some(unit),
            extended_statistics: Some(extended).filter(|all| !all.is_empty()),
        })
    }
}
