//! When scheduled actions are due next. Kept from look to look: to read a schedule and to go through
//! its days costs more than all else of a look.

use std::collections::HashMap;

use sagebrush_core::Timestamp;
use sagebrush_core::resource::Stored;

use super::{ActionSpec, ScheduledAction, schedule};

type Action = Stored<ScheduledAction>;

/// The next times of actions, by their ARN.
#[derive(Default)]
pub(super) struct Calendar(HashMap<String, Entry>);

struct Entry {
    /// Of the action that it was made of.
    version: u64,
    /// `None`: never again.
    at: Option<Timestamp>,
}

impl Calendar {
    /// The last time up to `now` that the action was to be run and was not.
    pub(super) fn due(&mut self, action: &Action, now: Timestamp) -> Option<Timestamp> {
        let entry = self.0.get(&action.spec.arn);
        let is_later = entry.is_some_and(|entry| {
            entry.version == action.version && entry.at.is_none_or(|at| at > now)
        });
        if is_later {
            return None;
        }
        let due = action.spec.due(action.status.seen, now);
        let entry = Entry { version: action.version, at: action.spec.next(now) };
        match due {
            // It is due until it is written that it was run.
            Some(_) => self.0.remove(&action.spec.arn),
            None => self.0.insert(action.spec.arn.clone(), entry),
        };
        due
    }

    /// The next time after `now` that one of the actions is due, as far as they were looked at.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().filter_map(|entry| entry.at).filter(|at| *at > now).min()
    }

    /// Forgets the others.
    pub(super) fn keep(&mut self, actions: &[Action]) {
        if self.0.len() > actions.len() {
            self.0.retain(|arn, _| actions.iter().any(|action| action.spec.arn == *arn));
        }
    }
}

impl ActionSpec {
    /// The last time up to `now` that it was to be run and was not.
    fn due(&self, seen: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        let (schedule, zone) = self.read()?;
        let until = self.end.map_or(now, |end| end.min(now));
        schedule.latest(&zone, self.begin(), (self.after(seen), until))
    }

    /// The next time that it is to be run.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let (schedule, zone) = self.read()?;
        let next = schedule.next(&zone, self.begin(), self.after(Some(now)))?;
        self.end.is_none_or(|end| next <= end).then_some(next)
    }

    /// What has a rate counts from here.
    fn begin(&self) -> Timestamp {
        self.start.unwrap_or(self.put_at)
    }

    /// It is due after this.
    fn after(&self, seen: Option<Timestamp>) -> Timestamp {
        let start = self.start.map_or(self.put_at, |start| Timestamp(start.0.saturating_sub(1)));
        start.max(self.put_at).max(seen.unwrap_or_default())
    }

    fn read(&self) -> Option<(schedule::Schedule, jiff::tz::TimeZone)> {
        let zone = schedule::zone(self.timezone.as_deref()).ok()?;
        Some((self.schedule.parse().ok()?, zone))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sagebrush_core::Region;

    use super::*;
    use crate::autoscaling::ActionStatus;

    const MINUTE: i64 = 60_000;

    fn action(schedule: &str) -> Action {
        let spec = ActionSpec {
            arn: "a".to_owned(),
            action_name: "a".to_owned(),
            target: "t".to_owned(),
            schedule: schedule.to_owned(),
            timezone: None,
            start: None,
            end: None,
            min: Some(1),
            max: None,
            put_at: Timestamp(0),
        };
        Stored {
            region: Region::new("r"),
            name: "t:a".to_owned(),
            version: 1,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            spec,
            status: ActionStatus::default(),
            tags: BTreeMap::new(),
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp(minutes * MINUTE)
    }

    #[test]
    fn it_is_due_until_it_is_written_that_it_was_run() {
        let (mut calendar, mut action) = (Calendar::default(), action("rate(10 minutes)"));
        for (now, due, next) in [
            (at(5), None, Some(at(10))),
            (at(9), None, Some(at(10))),
            (at(25), Some(at(20)), None),
            (at(26), Some(at(20)), None),
        ] {
            let seen = (calendar.due(&action, now), calendar.next(now));
            assert_eq!(seen, (due, next), "{now:?}");
        }
        action.status.seen = Some(at(20));
        action.version = 2;
        assert_eq!((calendar.due(&action, at(27)), calendar.next(at(27))), (None, Some(at(30))));
        assert_eq!(calendar.next(at(30)), None, "what is past is not waited for");
    }

    #[test]
    fn what_is_put_anew_is_read_anew() {
        let (mut calendar, mut action) = (Calendar::default(), action("at(2030-01-01T00:00:00)"));
        assert_eq!(calendar.due(&action, at(1)), None);
        action.spec.schedule = "rate(1 minute)".to_owned();
        assert_eq!(calendar.due(&action, at(3)), None, "the record is the same");
        action.version = 2;
        assert_eq!(calendar.due(&action, at(3)), Some(at(3)));
        calendar.keep(&[]);
        assert_eq!(calendar.next(at(3)), None);
    }
}
