//! Why a model was not loaded, and how callers hear of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::artifact::ArtifactError;
use sagebrush_core::worker::WorkerError;
use tokio::time::Instant;

use super::target;

/// How long a failure is told again before the model is tried anew: a broken model that is called
/// all the time is not loaded all the time.
const BACK_OFF: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The host refused it.
    #[error("{0}")]
    Launch(String),
    #[error("there is no memory for it: all other models are in use")]
    NoRoom,
    /// Even the only model does not fit.
    #[error("the container has no memory for it, although no other model is loaded")]
    TooLarge,
    #[error("it was not loaded within {} seconds", .0.as_secs())]
    TooSlow(Duration),
    /// It is another version by now.
    #[error("it was overwritten while it was loaded")]
    Overwritten,
    #[error("its load was cut off")]
    CutOff,
    #[error("the container is stopping")]
    Stopping,
}

impl Failure {
    /// What a call of `target` gets for it.
    pub(super) fn answer(&self, target: &str) -> WorkerError {
        let said = || format!("The model {target} could not be loaded: {self}");
        match self {
            Self::Artifact(ArtifactError::Missing { uri }) => {
                WorkerError::Invalid { message: target::missing(uri) }
            }
            Self::Artifact(ArtifactError::BadUri { .. } | ArtifactError::Refused { .. }) => {
                WorkerError::Invalid { message: said() }
            }
            Self::Artifact(ArtifactError::Unavailable { .. })
            | Self::Launch(_)
            | Self::TooLarge
            | Self::TooSlow(_)
            | Self::CutOff => {
                WorkerError::Model { status: 500, message: said(), content_type: None }
            }
            Self::NoRoom | Self::Overwritten => WorkerError::NotReady { message: said() },
            Self::Stopping => WorkerError::Gone { reason: self.to_string() },
        }
    }

    /// Whether trying again at once is a waste.
    fn holds(&self) -> bool {
        match self {
            Self::Artifact(_)
            | Self::Launch(_)
            | Self::TooLarge
            | Self::TooSlow(_)
            | Self::CutOff => true,
            Self::NoRoom | Self::Overwritten | Self::Stopping => false,
        }
    }
}

/// The failures of late, by the key of the model.
#[derive(Default)]
pub(super) struct Failures(HashMap<Arc<str>, (Instant, Failure)>);

impl Failures {
    pub(super) fn note(&mut self, key: &Arc<str>, failure: &Failure) {
        let now = Instant::now();
        self.0.retain(|_, (until, _)| now < *until);
        if failure.holds() {
            self.0.insert(key.clone(), (now + BACK_OFF, failure.clone()));
        }
    }

    pub(super) fn of(&self, key: &str) -> Option<Failure> {
        let (until, failure) = self.0.get(key)?;
        (Instant::now() < *until).then(|| failure.clone())
    }
}
