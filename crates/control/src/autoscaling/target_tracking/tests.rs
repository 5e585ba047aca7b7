use std::time::Duration;

use sagebrush_core::Timestamp;
use sagebrush_core::cloudwatch::Datapoint;

use super::{Points, TargetTracking, TrackedMetric, span};
use crate::autoscaling::plan::{Capacity, Want};

const MINUTE: i64 = 60_000;
/// A few seconds into a minute.
const NOW: Timestamp = Timestamp(1_000 * MINUTE + 7_000);

fn policy(metric: TrackedMetric) -> TargetTracking {
    TargetTracking {
        target: 100.0,
        metric,
        scale_out_cooldown_s: 300,
        scale_in_cooldown_s: 300,
        disable_scale_in: false,
    }
}

/// Points of `period` whose newest ended `n_late` periods ago; a missing value is no point.
fn points(values: &[Option<f64>], period: i64, n_late: i64) -> Vec<Datapoint> {
    let end = NOW.0.div_euclid(period) * period - n_late * period;
    let n_values = i64::try_from(values.len()).unwrap();
    let point = |(place, value): (usize, &Option<f64>)| {
        let begin = end - (n_values - i64::try_from(place).unwrap()) * period;
        value.map(|value| Datapoint { at: Timestamp(begin), value })
    };
    values.iter().enumerate().filter_map(point).collect()
}

fn minutes(values: &[f64]) -> Vec<Datapoint> {
    points(&values.iter().copied().map(Some).collect::<Vec<_>>(), MINUTE, 0)
}

fn want_of(policy: &TargetTracking, points: &[Datapoint], current: u32) -> Want {
    let (points, capacity) =
        (Points { high: points, low: points }, Capacity { current, base: current });
    policy.want(points, capacity, 1, (NOW, None)).0
}

#[track_caller]
fn check(values: &[f64], current: u32, expected: Want) {
    let policy = policy(TrackedMetric::InvocationsPerInstance);
    assert_eq!(want_of(&policy, &minutes(values), current), expected, "{values:?} at {current}");
}

#[test]
fn three_points_above_scale_out_in_proportion() {
    let low = [50.0; 12];
    let with = |newest: [f64; 3]| [&low[..], &newest].concat();
    check(&with([150.0, 150.0, 150.0]), 2, Want::Out(3));
    check(&with([101.0, 101.0, 200.0]), 2, Want::Out(4));
    check(&with([101.0, 101.0, 100.1]), 4, Want::Out(5));
    check(&with([150.0, 150.0, 100.0]), 2, Want::Hold);
    check(&with([100.0, 150.0, 150.0]), 2, Want::Hold);
    check(&with([150.0, 150.0, 1e300]), 2, Want::Out(u32::MAX));
    check(&[150.0, 150.0, 150.0], 0, Want::Out(1));
}

#[test]
fn fifteen_points_well_below_scale_in_by_the_greatest() {
    check(&[40.0; 15], 4, Want::In(2));
    check(&[[40.0; 14].as_slice(), &[70.0]].concat(), 4, Want::In(3));
    check(&[[89.9].as_slice(), &[1.0; 14]].concat(), 4, Want::In(4));
    check(&[[90.0].as_slice(), &[1.0; 14]].concat(), 4, Want::Hold);
    check(&[0.0; 15], 4, Want::In(1));
    check(&[0.0; 15], 1, Want::In(1));
    check(&[0.0; 14], 4, Want::Unknown);
    let mut policy = policy(TrackedMetric::InvocationsPerInstance);
    policy.disable_scale_in = true;
    assert_eq!(want_of(&policy, &minutes(&[40.0; 15]), 4), Want::Nothing);
    assert_eq!(want_of(&policy, &minutes(&[140.0; 15]), 4), Want::Out(6));
}

#[test]
fn missing_points_stop_both() {
    let policy = policy(TrackedMetric::InvocationsPerInstance);
    let (high, low) = (Some(150.0), Some(10.0));
    for (values, n_late, expected) in [
        (vec![], 0, Want::Unknown),
        (vec![high, high], 0, Want::Unknown),
        (vec![high, high, None, high], 0, Want::Unknown),
        (vec![high, high, high, None], 0, Want::Out(3)), // It may come yet.
        (vec![high; 3], 1, Want::Out(3)),
        (vec![high; 3], 2, Want::Unknown),
        (vec![low; 15], 1, Want::In(1)),
        (vec![low; 15], 2, Want::Unknown),
        (vec![high, high, Some(f64::NAN)], 0, Want::Unknown),
        ([vec![low; 7], vec![None], vec![low; 8]].concat(), 0, Want::Unknown),
        ([vec![low; 8], vec![None], vec![low; 15]].concat(), 0, Want::In(1)),
    ] {
        let points = points(&values, MINUTE, n_late);
        assert_eq!(want_of(&policy, &points, 2), expected, "{values:?} {n_late}");
    }
}

#[test]
fn a_minute_that_is_not_over_does_not_count() {
    let policy = policy(TrackedMetric::InvocationsPerInstance);
    let points = points(&[Some(150.0); 3], MINUTE, -1);
    assert_eq!(want_of(&policy, &points, 2), Want::Unknown);
}

#[test]
fn points_of_before_a_change_do_not_count() {
    let policy = policy(TrackedMetric::InvocationsPerInstance);
    let begin_of_third = Timestamp(NOW.0 - 7_000 - 3 * MINUTE);
    for (values, changed, expected) in [
        ([150.0; 15], begin_of_third, Want::Out(3)),
        ([150.0; 15], Timestamp(begin_of_third.0 + 1), Want::Hold),
        ([10.0; 15], begin_of_third, Want::In(1)),
        ([10.0; 15], Timestamp(begin_of_third.0 + 1), Want::Hold),
    ] {
        let points = minutes(&values);
        let points = Points { high: &points, low: &points };
        let capacity = Capacity { current: 2, base: 2 };
        let seen = policy.want(points, capacity, 1, (NOW, Some(changed))).0;
        assert_eq!(seen, expected, "{values:?} {changed:?}");
    }
}

#[test]
fn a_scale_out_in_its_cooldown_counts_from_where_that_began() {
    let policy = policy(TrackedMetric::InvocationsPerInstance);
    let points = minutes(&[150.0; 3]);
    let points = Points { high: &points, low: &points };
    let want = |base| policy.want(points, Capacity { current: 4, base }, 1, (NOW, None)).0;
    assert_eq!(want(4), Want::Out(6));
    assert_eq!(want(2), Want::Out(3));
}

#[test]
fn high_resolution_goes_out_by_ten_seconds_and_in_by_minutes() {
    let policy = policy(TrackedMetric::ConcurrentRequestsPerModel);
    let capacity = Capacity { current: 2, base: 2 };
    let want = |high: f64, low: f64| {
        let high = points(&[Some(high); 3], 10_000, 0);
        let low = minutes(&[low; 15]);
        policy.want(Points { high: &high, low: &low }, capacity, 1, (NOW, None)).0
    };
    assert_eq!(want(300.0, 10.0), Want::Out(6));
    assert_eq!(want(10.0, 10.0), Want::In(1));
    assert_eq!(want(10.0, 95.0), Want::Hold);
    let (from, to) = span(Duration::from_secs(10), NOW);
    assert_eq!((to.0 - from.0, to.0 % 10_000), (90_000, 0));
}

#[test]
fn what_is_asked_for_holds_all_points_and_late_ones() {
    let (from, to) = span(Duration::from_mins(1), NOW);
    assert_eq!((to.0, to.0 - from.0), (1_000 * MINUTE, 16 * MINUTE));
}
