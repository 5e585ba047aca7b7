//! Tables, and variants that are simulated for hours with loads of all kinds.

mod simulation;

use std::time::Duration;

use sagebrush_core::Timestamp;

use super::{Capacity, Change, Reason, Seen, Step, Want, Wish, capacity, plan};
use crate::autoscaling::{Bounds, Cooldowns, Failures, ScaledOut, Suspended, TargetStatus, Why};

const NOW: Timestamp = Timestamp(10_000_000);
const COOLDOWNS: Cooldowns =
    Cooldowns { scale_out: Duration::from_secs(300), scale_in: Duration::from_secs(300) };

fn wish(want: Want) -> Wish {
    Wish { want, cause: format!("{want:?}"), cooldowns: COOLDOWNS, is_alarmed: false }
}

fn alarmed(want: Want) -> Wish {
    Wish { is_alarmed: true, ..wish(want) }
}

/// Between 1 and 6, which have been kept.
fn settled() -> TargetStatus {
    TargetStatus { kept: Some(Bounds { min: 1, max: 6 }), ..TargetStatus::default() }
}

fn seen(capacity: u32, status: &TargetStatus) -> Seen<'_> {
    let bounds = Bounds { min: 1, max: 6 };
    Seen { now: NOW, capacity, bounds, suspended: Suspended::default(), status }
}

/// The capacity after the step.
fn after(seen: &Seen<'_>, wishes: &[Wish]) -> u32 {
    match plan(seen, wishes) {
        Step::Scale(Change { to, .. }) => to,
        Step::Stay | Step::NotScaled { .. } => seen.capacity,
    }
}

#[track_caller]
fn check(capacity: u32, wishes: &[Wish], expected: u32) {
    assert_eq!(after(&seen(capacity, &settled()), wishes), expected, "{capacity} {wishes:?}");
}

#[test]
fn the_largest_capacity_wins() {
    check(3, &[], 3);
    check(3, &[wish(Want::Out(4))], 4);
    check(3, &[wish(Want::Out(4)), wish(Want::Out(5)), wish(Want::In(1))], 5);
    check(3, &[wish(Want::Out(9))], 6);
    check(3, &[wish(Want::In(2))], 2);
    check(3, &[wish(Want::In(1)), wish(Want::In(2))], 2);
    check(3, &[wish(Want::In(1)), wish(Want::In(3))], 3);
    check(3, &[wish(Want::In(0))], 1);
    check(3, &[wish(Want::In(1)), wish(Want::Hold)], 3);
    check(3, &[wish(Want::In(1)), wish(Want::Nothing)], 1);
    check(3, &[wish(Want::Hold), wish(Want::Out(4))], 4);
    // An Out that is no more than there is, is a Hold.
    check(3, &[wish(Want::In(1)), wish(Want::Out(2))], 3);
}

#[test]
fn missing_data_hold_what_metrics_ask_for_and_not_what_alarms_do() {
    check(3, &[wish(Want::Unknown)], 3);
    check(3, &[wish(Want::Unknown), wish(Want::In(1))], 3);
    check(3, &[wish(Want::Unknown), wish(Want::Out(4))], 4);
    check(3, &[wish(Want::Unknown), alarmed(Want::In(1))], 1);
    check(3, &[wish(Want::Hold), alarmed(Want::In(1))], 3);
}

#[test]
fn bounds_are_kept_by_themselves() {
    let fresh = TargetStatus::default();
    for (capacity, status, expected) in
        [(0, &fresh, 1), (9, &fresh, 6), (6, &fresh, 6), (0, &settled(), 1), (9, &settled(), 6)]
    {
        assert_eq!(after(&seen(capacity, status), &[]), expected, "{capacity}");
    }
    let cause = |capacity| match plan(&seen(capacity, &fresh), &[]) {
        Step::Scale(change) => (change.why, change.cause),
        step @ (Step::Stay | Step::NotScaled { .. }) => panic!("{step:?}"),
    };
    assert_eq!(cause(0), (Why::Bounds, "minimum capacity was set to 1".to_owned()));
    assert_eq!(cause(9), (Why::Bounds, "maximum capacity was set to 6".to_owned()));
}

#[test]
fn what_is_suspended_stays() {
    let none = Suspended::default();
    let scale_in = Suspended { scale_in: true, ..none };
    let scale_out = Suspended { scale_out: true, ..none };
    let (kept, fresh) = (settled(), TargetStatus::default());
    let (more, less) = ([wish(Want::Out(5))], [wish(Want::In(2))]);
    for (capacity, suspended, status, wishes, expected) in [
        (3, scale_in, &kept, &more[..], 5),
        (3, scale_in, &kept, &less, 3),
        (3, scale_out, &kept, &more, 3),
        (3, scale_out, &kept, &less, 2),
        // By hand, beyond the bounds: left alone, and brought back by new bounds.
        (9, scale_in, &kept, &[], 9),
        (9, scale_out, &kept, &[], 6),
        (0, scale_out, &kept, &[], 0),
        (9, scale_in, &fresh, &[], 6),
        (0, scale_out, &fresh, &[], 1),
    ] {
        let seen = Seen { suspended, ..seen(capacity, status) };
        assert_eq!(after(&seen, wishes), expected, "{capacity} {suspended:?}");
    }
}

#[test]
fn what_is_asked_for_in_vain_is_told() {
    let status = settled();
    let reason = |capacity, want| match plan(&seen(capacity, &status), &[wish(want)]) {
        Step::NotScaled { reason, .. } => Some(reason),
        Step::Stay | Step::Scale(_) => None,
    };
    assert_eq!(reason(6, Want::Out(7)), Some(Reason::AlreadyAtMaxCapacity));
    assert_eq!(reason(1, Want::In(0)), Some(Reason::AlreadyAtMinCapacity));
    assert_eq!(reason(3, Want::In(3)), None);
    assert_eq!(reason(3, Want::Hold), None);
}

#[test]
fn cooldowns_hold_scale_in_and_lessen_scale_out() {
    let ago = |seconds: i64| Timestamp(NOW.0 - seconds * 1_000);
    let out = |seconds| TargetStatus {
        scaled_out: Some(ScaledOut { at: ago(seconds), base: 2 }),
        ..settled()
    };
    let less = |seconds| TargetStatus { scaled_in: Some(ago(seconds)), ..settled() };
    for (status, expected) in [(out(299), 4), (out(300), 2), (less(299), 4), (less(300), 2)] {
        assert_eq!(after(&seen(4, &status), &[wish(Want::In(2))]), expected, "{status:?}");
        assert_eq!(after(&seen(4, &status), &[wish(Want::Out(5))]), 5, "{status:?}");
    }
    for (status, base) in [(out(299), 2), (out(300), 4), (less(0), 4), (settled(), 4)] {
        assert_eq!(capacity(&seen(4, &status), COOLDOWNS), Capacity { current: 4, base });
    }
}

#[test]
fn after_a_failure_nothing_is_tried_for_longer_and_longer() {
    for (n, seconds) in [(1, 30), (2, 60), (3, 120), (6, 600), (u32::MAX, 600)] {
        for (gone, expected) in [(seconds * 1_000 - 1, 3), (seconds * 1_000, 5)] {
            let failed = Some(Failures { n, at: Timestamp(NOW.0 - gone) });
            let status = TargetStatus { failed, ..settled() };
            assert_eq!(after(&seen(3, &status), &[wish(Want::Out(5))]), expected, "{n} {gone}");
        }
    }
}
