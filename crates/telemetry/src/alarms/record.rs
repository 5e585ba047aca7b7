//! What the store keeps of an alarm: what its owner said, and how it is.

use sagebrush_core::Timestamp;
use sagebrush_core::alarms::AlarmState;
use sagebrush_core::cloudwatch::{Asked, DataQuery, Series};
use sagebrush_core::resource::{Resource, Stored};
use serde::{Deserialize, Serialize};

/// What an alarm says of itself before anybody looked.
const UNCHECKED: &str = "Unchecked: Initial alarm creation";

/// An alarm as it is stored.
pub(super) type Alarm = Stored<AlarmKind>;

#[derive(Debug, Clone)]
pub(super) struct AlarmKind;

impl Resource for AlarmKind {
    const KIND: &'static str = "cloudwatch-alarm";
    type Spec = AlarmSpec;
    type Status = AlarmStatus;

    fn status_word(status: &AlarmStatus) -> &str {
        status.now.state.word()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AlarmSpec {
    pub(super) description: Option<String>,
    pub(super) actions_enabled: bool,
    pub(super) ok_actions: Vec<String>,
    pub(super) alarm_actions: Vec<String>,
    pub(super) insufficient_data_actions: Vec<String>,
    pub(super) configured_at: Timestamp,
    pub(super) condition: Condition,
}

impl AlarmSpec {
    /// What is to be done when the alarm comes into a state.
    pub(super) fn actions(&self, state: AlarmState) -> &[String] {
        match state {
            AlarmState::Ok => &self.ok_actions,
            AlarmState::Alarm => &self.alarm_actions,
            AlarmState::InsufficientData => &self.insufficient_data_actions,
        }
    }

    pub(super) fn metric(&self) -> Option<&MetricCondition> {
        match &self.condition {
            Condition::Metric(metric) => Some(metric),
            Condition::Composite(_) => None,
        }
    }

    pub(super) fn composite(&self) -> Option<&CompositeCondition> {
        match &self.condition {
            Condition::Metric(_) => None,
            Condition::Composite(composite) => Some(composite),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Condition {
    Metric(MetricCondition),
    Composite(CompositeCondition),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MetricCondition {
    pub(super) source: Source,
    pub(super) evaluation_periods: u32,
    /// `None`: all of them.
    pub(super) datapoints_to_alarm: Option<u32>,
    pub(super) comparison: Comparison,
    pub(super) threshold: f64,
    /// `None`: as `Missing`.
    pub(super) missing: Option<TreatMissing>,
    /// `EvaluateLowSampleCountPercentile`, as it was given.
    pub(super) low_sample_count: Option<String>,
}

impl MetricCondition {
    /// In seconds.
    pub(super) fn period(&self) -> u32 {
        match &self.source {
            Source::Metric(series) => series.period,
            Source::Queries(queries) => period_of(queries),
        }
    }

    /// How many data points must breach.
    pub(super) fn needed(&self) -> u32 {
        self.datapoints_to_alarm.unwrap_or(self.evaluation_periods)
    }

    /// The one metric that it looks at; `None` for an expression.
    pub(super) fn series(&self) -> Option<&Series> {
        match &self.source {
            Source::Metric(series) => Some(series),
            Source::Queries(queries) => returned(queries)?.series(),
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Source {
    Metric(Series),
    /// The `Metrics` of the API.
    Queries(Vec<DataQuery>),
}

/// The query whose data the alarm looks at.
pub(super) fn returned(queries: &[DataQuery]) -> Option<&DataQuery> {
    queries.iter().find(|query| query.is_returned())
}

/// An expression has the longest period of what it is made of, unless it names its own.
fn period_of(queries: &[DataQuery]) -> u32 {
    let own = returned(queries).and_then(|query| match &query.asks {
        Asked::Stat(series) => Some(series.period),
        Asked::Expression { period, .. } => *period,
    });
    let longest = queries.iter().filter_map(DataQuery::series).map(|series| series.period).max();
    own.or(longest).unwrap_or(60)
}

#[expect(clippy::enum_variant_names, reason = "AWS named them")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Comparison {
    GreaterThanOrEqualToThreshold,
    GreaterThanThreshold,
    LessThanThreshold,
    LessThanOrEqualToThreshold,
}

impl Comparison {
    pub(super) fn breaches(self, value: f64, threshold: f64) -> bool {
        match self {
            Self::GreaterThanOrEqualToThreshold => value >= threshold,
            Self::GreaterThanThreshold => value > threshold,
            Self::LessThanThreshold => value < threshold,
            Self::LessThanOrEqualToThreshold => value <= threshold,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::GreaterThanOrEqualToThreshold => "GreaterThanOrEqualToThreshold",
            Self::GreaterThanThreshold => "GreaterThanThreshold",
            Self::LessThanThreshold => "LessThanThreshold",
            Self::LessThanOrEqualToThreshold => "LessThanOrEqualToThreshold",
        }
    }
}

/// CloudWatch API: `TreatMissingData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TreatMissing {
    Breaching,
    NotBreaching,
    Ignore,
    Missing,
}

impl TreatMissing {
    pub(super) const ALL: [Self; 4] =
        [Self::Breaching, Self::NotBreaching, Self::Ignore, Self::Missing];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Breaching => "breaching",
            Self::NotBreaching => "notBreaching",
            Self::Ignore => "ignore",
            Self::Missing => "missing",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CompositeCondition {
    /// As it was written.
    pub(super) rule: String,
    pub(super) suppressor: Option<Suppressor>,
}

/// The alarm that keeps the actions of another one back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suppressor {
    /// Its name or ARN, as it was given.
    pub(super) alarm: String,
    /// In seconds, as the other.
    pub(super) wait: u32,
    pub(super) extension: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AlarmStatus {
    pub(super) now: Moment,
    pub(super) transitioned_at: Timestamp,
    pub(super) left_alarm_at: Option<Timestamp>,
    /// Until when a state stays that somebody set.
    pub(super) set_until: Option<Timestamp>,
    /// Changes that are not told to everybody yet, oldest first.
    pub(super) untold: Vec<Change>,
}

impl AlarmStatus {
    pub(super) fn unchecked(at: Timestamp) -> Self {
        let now = Moment {
            state: AlarmState::InsufficientData,
            reason: UNCHECKED.to_owned(),
            reason_data: None,
            at,
        };
        Self { now, transitioned_at: at, left_alarm_at: None, set_until: None, untold: Vec::new() }
    }
}

impl Default for AlarmStatus {
    fn default() -> Self {
        Self::unchecked(Timestamp::default())
    }
}

/// A state, since when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moment {
    pub(super) state: AlarmState,
    pub(super) reason: String,
    /// JSON.
    pub(super) reason_data: Option<String>,
    pub(super) at: Timestamp,
}

/// A change of state, with what is still to be done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Unique; topics know the change by it.
    pub(super) id: String,
    pub(super) from: Moment,
    pub(super) to: Moment,
    /// The newest value that was looked at.
    pub(super) value: Option<f64>,
    /// Whether history and events have it.
    pub(super) is_noted: bool,
    /// ARNs.
    pub(super) actions: Vec<String>,
}
