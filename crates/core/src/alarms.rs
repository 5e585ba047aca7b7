//! Alarms as those see them who act on their states.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Region, Timestamp};

/// CloudWatch API: `StateValue`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlarmState {
    #[serde(rename = "OK")]
    Ok,
    #[serde(rename = "ALARM")]
    Alarm,
    #[default]
    #[serde(rename = "INSUFFICIENT_DATA")]
    InsufficientData,
}

impl AlarmState {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Alarm => "ALARM",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// Tells the states of alarms, from memory.
pub trait Alarms: Send + Sync + 'static {
    /// `None` if there is no alarm of that name.
    fn state(&self, region: &Region, name: &str) -> Option<AlarmState>;

    /// Counts the changes of states.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Does what alarms have done that are not told to a topic: scaling policies.
#[async_trait]
pub trait AlarmAction: Send + Sync + 'static {
    /// Acts as `arn` says. Called when the alarm's state changes to the one that the action
    /// belongs to, and again at each look while it stays there.
    ///
    /// # Errors
    /// Why nothing was done; it goes into the alarm's history.
    async fn act(&self, arn: &str, alarm: &Alarming) -> Result<(), ActionError>;
}

/// An alarm, at the moment when its action is due.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarming {
    pub region: Region,
    pub name: String,
    pub arn: String,
    pub state: AlarmState,
    pub reason: String,
    pub at: Timestamp,
    /// The newest value of its metric, and what it is compared with; `None` if there is no such
    /// value, and of composite alarms.
    pub value: Option<f64>,
    pub threshold: Option<f64>,
}

/// Why an action was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ActionError(pub String);

/// Alarms whose states are set by hand, for tests.
#[derive(Debug, Default)]
pub struct SetAlarms {
    states: Mutex<HashMap<(Region, String), AlarmState>>,
    changes: watch::Sender<u64>,
}

impl SetAlarms {
    pub fn set(&self, region: &Region, name: &str, state: AlarmState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert((region.clone(), name.to_owned()), state);
        drop(states);
        self.changes.send_modify(|n_changes| *n_changes += 1);
    }
}

impl Alarms for SetAlarms {
    fn state(&self, region: &Region, name: &str) -> Option<AlarmState> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(&(region.clone(), name.to_owned())).copied()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
