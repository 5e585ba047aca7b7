//! Metrics as OTLP has them in JSON: `ExportMetricsServiceRequest` of its specification.
//!
//! Names are those of `/metrics`, so that a query reads the same in both.

use bytes::Bytes;
use sagebrush_core::metrics::{Labels, Metric, Point};
use serde_json::{Value, json};

use super::Destination;
use super::json::{Attribute, Is, resource, scope};

/// A request has no more points than this.
const MOST: usize = 512;
/// `AggregationTemporality`: counted since the beginning.
const CUMULATIVE: u8 = 2;

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Since when is counted.
    pub(super) began: u64,
    pub(super) now: u64,
}

type Series = (Labels, Point);
/// Some of the series of a metric.
type Share<'m> = (&'m Metric, &'m [Series]);

/// The bodies of the requests that tell `metrics`, and how many points each has.
pub(super) fn requests<'m>(
    destination: &'m Destination,
    metrics: &'m [Metric],
    times: Times,
) -> impl Iterator<Item = (Bytes, usize)> + 'm {
    packed(metrics).into_iter().map(move |shares| {
        let written: Vec<_> = shares.iter().map(|share| written(share, times)).collect();
        let body = json!({"resourceMetrics": [{
            "resource": resource(destination),
            "scopeMetrics": [{"scope": scope(destination), "metrics": written}],
        }]});
        (Bytes::from(body.to_string()), n_points(&shares))
    })
}

/// Shares that fit into a request each.
fn packed(metrics: &[Metric]) -> Vec<Vec<Share<'_>>> {
    let shares = metrics
        .iter()
        .flat_map(|metric| metric.series.chunks(MOST).map(move |series| (metric, series)));
    let mut packs: Vec<Vec<Share<'_>>> = Vec::new();
    for share in shares {
        match packs.last_mut().filter(|pack| n_points(pack) + share.1.len() <= MOST) {
            Some(pack) => pack.push(share),
            None => packs.push(vec![share]),
        }
    }
    packs
}

fn n_points(shares: &[Share<'_>]) -> usize {
    shares.iter().map(|(_, series)| series.len()).sum()
}

fn written((metric, series): &Share<'_>, times: Times) -> Value {
    let points: Vec<_> = series.iter().map(|one| point(one, times)).collect();
    let mut written = json!({"name": metric.name, "description": metric.help});
    if let Some(unit) = unit(metric.name) {
        written["unit"] = unit.into();
    }
    let (kind, data) = match series.first() {
        Some((_, Point::Gauge(_))) | None => ("gauge", json!({ "dataPoints": points })),
        Some((_, Point::Count(_) | Point::Seconds(_))) => (
            "sum",
            json!({
                "dataPoints": points,
                "aggregationTemporality": CUMULATIVE,
                "isMonotonic": true,
            }),
        ),
        Some((_, Point::Histogram { .. })) => {
            ("histogram", json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }))
        }
    };
    written[kind] = data;
    written
}

fn point((labels, point): &Series, times: Times) -> Value {
    let attribute =
        |(key, value): &(&'static str, String)| json!(Attribute { key, value: Is::Text(value) });
    let attributes: Vec<_> = labels.iter().map(attribute).collect();
    let mut written = json!({
        "attributes": attributes,
        "timeUnixNano": times.now.to_string(),
    });
    match point {
        Point::Gauge(level) => {
            written["asInt"] = level.to_string().into();
            return written;
        }
        Point::Count(n) => written["asInt"] = n.to_string().into(),
        Point::Seconds(seconds) => written["asDouble"] = (*seconds).into(),
        Point::Histogram { bounds, counts, sum } => {
            let of_buckets: Vec<_> = counts.iter().map(u64::to_string).collect();
            written["count"] = counts.iter().sum::<u64>().to_string().into();
            written["sum"] = (*sum).into();
            written["bucketCounts"] = of_buckets.into();
            written["explicitBounds"] = bounds.as_slice().into();
        }
    }
    written["startTimeUnixNano"] = times.began.to_string().into();
    written
}

/// In UCUM's words. Prometheus' names end with their unit.
fn unit(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => Some("s"),
        Some("bytes") => Some("By"),
        Some(_) | None => None,
    }
}
