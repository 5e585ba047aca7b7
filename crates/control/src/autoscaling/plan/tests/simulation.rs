//! One variant under target tracking: a load that is shared by its instances, looked at every ten
//! seconds. What is asked for is there a while later.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sagebrush_core::Timestamp;
use sagebrush_core::cloudwatch::Datapoint;

use super::super::{Change, Seen, Step, Wish, capacity, plan};
use crate::autoscaling::target_tracking::{Points, TargetTracking, TrackedMetric, span};
use crate::autoscaling::{Bounds, Suspended, TargetStatus, UnderWay, Why};

const MINUTE: i64 = 60_000;
const LOOK: i64 = 10_000;
const BEGIN: i64 = 1_000 * MINUTE;
const BOUNDS: Bounds = Bounds { min: 1, max: 8 };
const TARGET: f64 = 100.0;

/// The load of each minute; `None` if nothing is told of it.
type Load = Vec<Option<f64>>;

#[derive(Debug)]
struct Variant {
    policies: Vec<TargetTracking>,
    /// How late points are seen.
    late: i64,
    /// How long a change takes.
    delay: i64,
}

/// A capacity, since when, and why.
type History = Vec<(Timestamp, u32, Option<Why>)>;

fn policy(cooldown_s: u32) -> TargetTracking {
    TargetTracking {
        target: TARGET,
        metric: TrackedMetric::InvocationsPerInstance,
        scale_out_cooldown_s: cooldown_s,
        scale_in_cooldown_s: cooldown_s,
        disable_scale_in: false,
    }
}

fn steady(cooldown_s: u32) -> Variant {
    Variant { policies: vec![policy(cooldown_s)], late: 0, delay: 30_000 }
}

impl Variant {
    fn run(&self, load: &Load, first: u32) -> History {
        let mut history = vec![(Timestamp(BEGIN), first, None)];
        let mut points = BTreeMap::new();
        let mut status = TargetStatus { kept: Some(BOUNDS), ..TargetStatus::default() };
        let mut change: Option<(Timestamp, u32, Why)> = None;
        let end = BEGIN + i64::try_from(load.len()).unwrap() * MINUTE;
        for now in (BEGIN..end).step_by(usize::try_from(LOOK).unwrap()).map(Timestamp) {
            let current = history.last().unwrap().1;
            measure(&mut points, load, (now, current));
            if let Some((_, to, why)) = change.filter(|(due, ..)| *due <= now) {
                (status.under_way, change) = (None, None);
                status.end(why, true, now);
                history.push((now, to, Some(why)));
            }
            if change.is_some() {
                continue;
            }
            if let Step::Scale(Change { to, why, .. }) = self.look(now, &history, &points, &status)
            {
                let current = history.last().unwrap().1;
                let under_way = UnderWay { activity: String::new(), to, why };
                status.begin(under_way, current, now);
                change = Some((Timestamp(now.0 + self.delay), to, why));
            }
        }
        history
    }

    fn look(
        &self,
        now: Timestamp,
        history: &History,
        points: &BTreeMap<i64, (f64, u32)>,
        status: &TargetStatus,
    ) -> Step {
        let capacity_now = history.last().unwrap().1;
        let suspended = Suspended::default();
        let seen = Seen { now, capacity: capacity_now, bounds: BOUNDS, suspended, status };
        let (from, to) = span(std::time::Duration::from_mins(1), now);
        let told = points.range(from.0..to.0.min(now.0 - self.late - MINUTE + 1));
        let told: Vec<_> = told
            .map(|(at, (sum, n))| Datapoint { at: Timestamp(*at), value: sum / f64::from(*n) })
            .collect();
        let wish = |policy: &TargetTracking| {
            let cooldowns = policy.cooldowns();
            let points = Points { high: &told, low: &told };
            let times = (now, status.changed);
            let (want, _) = policy.want(points, capacity(&seen, cooldowns), 1, times);
            Wish { want, cause: String::new(), cooldowns, is_alarmed: false }
        };
        plan(&seen, &self.policies.iter().map(wish).collect::<Vec<_>>())
    }
}

/// Adds what is measured at a look to the mean of its minute.
fn measure(points: &mut BTreeMap<i64, (f64, u32)>, load: &Load, (now, current): (Timestamp, u32)) {
    let minute = usize::try_from((now.0 - BEGIN) / MINUTE).unwrap();
    if let Some(load) = load[minute] {
        let (sum, n) = points.entry(now.0.div_euclid(MINUTE) * MINUTE).or_default();
        *sum += load / f64::from(current.max(1));
        *n += 1;
    }
}

fn minutes(history: &History) -> Vec<(i64, u32)> {
    history.iter().map(|(at, to, _)| ((at.0 - BEGIN) / MINUTE, *to)).collect()
}

#[test]
fn out_after_three_minutes_and_in_after_fifteen() {
    let load = [vec![Some(50.0); 5], vec![Some(390.0); 30], vec![Some(50.0); 40]].concat();
    let history = steady(300).run(&load, 1);
    assert_eq!(minutes(&history), [(0, 1), (8, 4), (50, 1)]);
}

#[test]
fn a_constant_load_is_met_once() {
    for load in [80.0, 100.0, 101.0, 250.0, 333.0, 799.0, 5_000.0] {
        let history = steady(0).run(&vec![Some(load); 300], 1);
        let wanted = (load / TARGET).ceil().min(8.0);
        assert_eq!(f64::from(history.last().unwrap().1), wanted, "{history:?}");
        assert!(history.len() <= 2, "{load}: {history:?}");
    }
}

#[test]
fn flapping_loads_do_not_oscillate_the_capacity() {
    for n_minutes in [1, 2, 3, 5, 7, 10, 14] {
        let is_high = |minute: usize| (minute / n_minutes).is_multiple_of(2);
        let minute = |minute| Some(if is_high(minute) { 380.0 } else { 20.0 });
        let load: Load = (0..600).map(minute).collect();
        let history = steady(0).run(&load, 1);
        let n_in = history.iter().filter(|(.., why)| *why == Some(Why::ScaleIn)).count();
        assert_eq!(n_in, 0, "every {n_minutes}: {history:?}");
    }
}

#[test]
fn the_largest_of_two_policies_wins() {
    let mut sensitive = policy(300);
    sensitive.target = 50.0;
    let both = Variant { policies: vec![policy(300), sensitive], late: 0, delay: 0 };
    let load = [vec![Some(190.0); 30], vec![Some(20.0); 60]].concat();
    let history = both.run(&load, 1);
    assert_eq!(minutes(&history), [(0, 1), (3, 4), (45, 1)]);
}

fn load() -> impl Strategy<Value = Load> {
    let minute = prop_oneof![
        1 => Just(None),
        4 => (0.0..1_000.0_f64).prop_map(Some),
        8 => (0.0..90.0_f64).prop_map(Some),
    ];
    // Runs of one load, so that the rules have what they look for.
    prop::collection::vec((minute, 1..40_usize), 1..12).prop_map(|runs| {
        runs.into_iter().flat_map(|(load, n)| std::iter::repeat_n(load, n)).collect()
    })
}

fn variant() -> impl Strategy<Value = Variant> {
    let late = prop::sample::select(vec![0, 15_000, 59_000, 120_000]);
    let delay = prop::sample::select(vec![0, 20_000, 200_000]);
    let cooldown = prop::sample::select(vec![0, 60, 300, 900]);
    (late, delay, cooldown).prop_map(|(late, delay, cooldown)| Variant {
        policies: vec![policy(cooldown)],
        late,
        delay,
    })
}

/// What the load of the newest whole minutes is at `at`.
fn newest(load: &Load, at: Timestamp, n_minutes: usize) -> Vec<Option<f64>> {
    let minute = usize::try_from((at.0 - BEGIN) / MINUTE).unwrap();
    load[minute.saturating_sub(n_minutes)..minute].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_holds_under_any_load(load in load(), variant in variant(), first in 1..=8_u32) {
        let history = variant.run(&load, first);
        let cooldown = i64::from(variant.policies[0].scale_in_cooldown_s) * 1_000;
        for pair in history.windows(2) {
            let ((before_at, before, _), (at, to, why)) = (pair[0], pair[1]);
            prop_assert!((BOUNDS.min..=BOUNDS.max).contains(&to), "outside: {history:?}");
            let begun = Timestamp(at.0 - variant.delay);
            match why {
                Some(Why::ScaleIn) => {
                    prop_assert!(to < before);
                    if before_at.0 > BEGIN {
                        prop_assert!(begun.0 - before_at.0 >= cooldown, "cooldown: {history:?}");
                    }
                    let loads = newest(&load, begun, 13);
                    // The newest may be late.
                    let settled = &loads[..loads.len() - 1];
                    prop_assert!(settled.iter().all(Option::is_some), "no data: {loads:?}");
                }
                Some(Why::ScaleOut) => {
                    prop_assert!(to > before);
                    // One point may be late.
                    let n_there = newest(&load, begun, 4).iter().flatten().count();
                    prop_assert!(n_there >= 3, "no data: {history:?}");
                }
                Some(Why::Bounds) | None => prop_assert!(false, "the bounds were kept: {history:?}"),
            }
        }
    }

    #[test]
    fn what_is_later_than_a_minute_is_missing(load in load()) {
        let variant = Variant { policies: vec![policy(0)], late: 3 * MINUTE, delay: 0 };
        prop_assert_eq!(variant.run(&load, 3).len(), 1);
    }
}
