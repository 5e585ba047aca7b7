//! `GetMetricData`.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context};
use sagebrush_wire::cloudwatch as wire;
use sha2::{Digest as _, Sha256};

use super::super::CloudWatch;
use super::super::math::Series;
use super::error::{invalid, invalid_token};
use super::queries::{self, Results};
use super::{blocking, times, wire_time};

/// CloudWatch's own bound, and what a call gets that names none.
const MAX_DATAPOINTS: usize = 100_800;

pub(super) async fn get_metric_data(
    state: Arc<CloudWatch>,
    ctx: Context,
    mut input: wire::GetMetricDataInput,
) -> Result<wire::GetMetricDataOutput, ApiError> {
    times::check_order(input.start_time, input.end_time)?;
    let max = input.max_datapoints.map_or(Ok(MAX_DATAPOINTS), |max| {
        let wanted = usize::try_from(max).ok().filter(|max| (1..=MAX_DATAPOINTS).contains(max));
        wanted.ok_or_else(|| invalid(max, "MaxDatapoints"))
    })?;
    let token = input.next_token.take();
    let call = fingerprint(&input)?;
    let skipped = token.map_or(Ok(0), |token| read_token(&token, &call))?;
    let is_ascending = input.scan_by == Some(wire::ScanBy::TimestampAscending);
    let queries = queries::read(input.metric_data_queries, &ctx)?;
    let times = (input.start_time, input.end_time);
    let all = blocking(move || {
        let now = state.clock.now().0.div_euclid(1000);
        let mut results = Results::new((&state.store, &ctx.region), &queries, times, now);
        let mut all = Vec::new();
        for query in queries.iter().filter(|query| query.is_returned) {
            for series in results.of(query)? {
                let result = Line { id: query.id.clone(), label: query.label.clone(), series };
                all.push(result);
            }
        }
        Ok(all)
    });
    let (results, has_more) = page(all.await?, skipped, max, is_ascending);
    Ok(wire::GetMetricDataOutput {
        metric_data_results: Some(results),
        next_token: has_more.then(|| format!("{}.{call}", skipped + max)),
        messages: Some(Vec::new()),
    })
}

/// A time series with its names.
struct Line {
    id: String,
    label: String,
    series: Series,
}

/// The data points from `skipped` on, of one line after the other, `max` at most; and whether
/// there are more. A line without any is on the first page.
fn page(
    all: Vec<Line>,
    skipped: usize,
    max: usize,
    is_ascending: bool,
) -> (Vec<wire::MetricDataResult>, bool) {
    let (mut before, end) = (0, skipped.saturating_add(max));
    let mut results = Vec::new();
    for Line { id, label, series } in all {
        let n_points = series.points.len();
        let first = before;
        before += n_points;
        let is_here = if n_points == 0 { skipped == 0 } else { first < end && before > skipped };
        if !is_here {
            continue;
        }
        let mut points: Vec<_> = series.points.into_iter().collect();
        if !is_ascending {
            points.reverse();
        }
        let points =
            &points[skipped.saturating_sub(first)..n_points.min(end.saturating_sub(first))];
        let is_whole = before <= end || n_points == 0;
        let status =
            if is_whole { wire::StatusCode::Complete } else { wire::StatusCode::PartialData };
        results.push(wire::MetricDataResult {
            id: Some(id),
            label: Some(label),
            timestamps: Some(points.iter().map(|(at, _)| wire_time(*at)).collect()),
            values: Some(points.iter().map(|(_, value)| *value).collect()),
            status_code: Some(status),
            messages: None,
        });
    }
    (results, before > end)
}

/// Tells calls apart, but for their token. Not a secret.
fn fingerprint(input: &wire::GetMetricDataInput) -> Result<String, ApiError> {
    let text = serde_json::to_vec(input).map_err(ApiError::internal)?;
    Ok(hex::encode(&Sha256::digest(text)[..8]))
}

fn read_token(token: &str, call: &str) -> Result<usize, ApiError> {
    let (skipped, of) = token.split_once('.').ok_or_else(invalid_token)?;
    skipped.parse().ok().filter(|_| of == call).ok_or_else(invalid_token)
}

#[cfg(test)]
mod tests {
    use super::{Line, Series, page};

    fn lines() -> Vec<Line> {
        let line = |id: &str, n_points: i64| Line {
            id: id.to_owned(),
            label: id.to_owned(),
            series: Series { period: 60, points: (0..n_points).map(|at| (at, 1.0)).collect() },
        };
        vec![line("a", 3), line("none", 0), line("b", 2)]
    }

    fn check(skipped: usize, max: usize, expected: &[(&str, usize, bool)], has_more: bool) {
        let (results, more) = page(lines(), skipped, max, true);
        let results = results.iter().map(|result| {
            let is_whole = result.status_code.unwrap().as_str() == "Complete";
            (result.id.as_deref().unwrap(), result.values.as_ref().unwrap().len(), is_whole)
        });
        assert_eq!((results.collect::<Vec<_>>(), more), (expected.to_vec(), has_more));
    }

    #[test]
    fn pages_cut_between_data_points() {
        check(0, 10, &[("a", 3, true), ("none", 0, true), ("b", 2, true)], false);
        check(0, 5, &[("a", 3, true), ("none", 0, true), ("b", 2, true)], false);
        check(0, 2, &[("a", 2, false), ("none", 0, true)], true);
        check(2, 2, &[("a", 1, true), ("b", 1, false)], true);
        check(4, 2, &[("b", 1, true)], false);
        check(9, 2, &[], false);
    }
}
