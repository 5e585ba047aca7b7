//! Whether another alarm keeps the actions of a composite alarm back. Pure.

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;

use super::record::{AlarmStatus, Suppressor};

/// What keeps actions back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// The suppressor is in ALARM.
    Alarm,
    /// It may still come into ALARM, until then.
    WaitPeriod(Timestamp),
    /// It has left ALARM, and its effect lasts until then.
    ExtensionPeriod(Timestamp),
}

impl Hold {
    /// Until when it lasts by itself.
    pub(super) fn until(self) -> Option<Timestamp> {
        match self {
            Self::Alarm => None,
            Self::WaitPeriod(until) | Self::ExtensionPeriod(until) => Some(until),
        }
    }
}

/// What keeps the actions of `composite` back now; `suppressing` is `None` if there is no such
/// alarm.
pub(super) fn hold(
    suppressor: &Suppressor,
    suppressing: Option<&AlarmStatus>,
    composite: &AlarmStatus,
    now: Timestamp,
) -> Option<Hold> {
    let suppressing = suppressing?;
    if suppressing.now.state == AlarmState::Alarm {
        return Some(Hold::Alarm);
    }
    let after = |at: Timestamp, seconds: u32| Timestamp(at.0 + i64::from(seconds) * 1000);
    let extension = suppressing.left_alarm_at.map(|left| after(left, suppressor.extension));
    if let Some(until) = extension.filter(|until| now < *until) {
        return Some(Hold::ExtensionPeriod(until));
    }
    // Only what raises the alarm is worth waiting for.
    let until = after(composite.transitioned_at, suppressor.wait);
    let waits = composite.now.state == AlarmState::Alarm && now < until;
    waits.then_some(Hold::WaitPeriod(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: i64 = 1000;

    fn status(state: AlarmState, since: i64, left_alarm: Option<i64>) -> AlarmStatus {
        let mut status = AlarmStatus::unchecked(Timestamp(since * SECONDS));
        status.now.state = state;
        status.left_alarm_at = left_alarm.map(|at| Timestamp(at * SECONDS));
        status
    }

    fn check(suppressing: &AlarmStatus, composite: AlarmState, now: i64, expected: Option<Hold>) {
        let suppressor = Suppressor { alarm: "s".to_owned(), wait: 20, extension: 60 };
        let composite = status(composite, 100, None); // In its state since second 100.
        let found = hold(&suppressor, Some(suppressing), &composite, Timestamp(now * SECONDS));
        assert_eq!(found, expected, "at {now}: {suppressing:?}");
    }

    #[test]
    fn actions_wait_are_held_and_go_on() {
        let at = |seconds: i64| Timestamp(seconds * SECONDS);
        let quiet = status(AlarmState::Ok, 0, None);
        check(&quiet, AlarmState::Alarm, 100, Some(Hold::WaitPeriod(at(120))));
        check(&quiet, AlarmState::Alarm, 119, Some(Hold::WaitPeriod(at(120))));
        check(&quiet, AlarmState::Alarm, 120, None);
        check(&quiet, AlarmState::Ok, 100, None);
        let raised = status(AlarmState::Alarm, 110, None);
        check(&raised, AlarmState::Alarm, 110, Some(Hold::Alarm));
        check(&raised, AlarmState::Ok, 5000, Some(Hold::Alarm));
        let over = status(AlarmState::Ok, 200, Some(200));
        check(&over, AlarmState::Alarm, 200, Some(Hold::ExtensionPeriod(at(260))));
        check(&over, AlarmState::Ok, 259, Some(Hold::ExtensionPeriod(at(260))));
        check(&over, AlarmState::Alarm, 260, None);
    }

    #[test]
    fn no_suppressor_holds_nothing() {
        let suppressor = Suppressor { alarm: "s".to_owned(), wait: 20, extension: 60 };
        let composite = status(AlarmState::Alarm, 100, None);
        assert_eq!(hold(&suppressor, None, &composite, Timestamp(100_000)), None);
    }
}
