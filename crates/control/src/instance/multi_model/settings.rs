//! What a container's environment says about the models that it keeps.

use sagebrush_core::fleet::MultiModel;
use sagebrush_core::worker::{LaunchError, LaunchSpec};

use super::ledger::Room;
use super::target;

/// How much memory all models may take, in bytes.
const CACHE_BYTES: &str = "SAGEBRUSH_MODEL_CACHE_BYTES";
/// How many models are kept at most.
const CACHE_MODELS: &str = "SAGEBRUSH_MODEL_CACHE_MODELS";
/// `TargetModel`s, separated by commas, that are loaded at the start and kept.
const PINNED: &str = "SAGEBRUSH_PINNED_MODELS";

/// How models are kept in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) room: Room,
    pub(super) pinned: Vec<String>,
    /// False: a model is unloaded right after its calls.
    pub(super) keeps_models: bool,
}

impl Settings {
    /// # Errors
    /// When a variable of the container's environment has no fit value.
    pub(crate) fn read(spec: &LaunchSpec, how: MultiModel) -> Result<Self, LaunchError> {
        let bytes = number(spec, CACHE_BYTES)?;
        let models = number(spec, CACHE_MODELS)?;
        let models = models.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let room = Room {
            bytes: bytes.unwrap_or(spec.resources.memory_bytes / 10 * 8),
            models: models.unwrap_or(usize::MAX),
        };
        let names = spec.environment.get(PINNED).map(String::as_str).unwrap_or_default();
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        let pinned: Vec<String> = names.map(str::to_owned).collect();
        for name in &pinned {
            target::check(name).map_err(|error| permanent(format!("{PINNED}: {error}")))?;
        }
        if pinned.len() > room.models {
            let (n, most) = (pinned.len(), room.models);
            let reason = format!("{PINNED} names {n} models, but {CACHE_MODELS} keeps {most}.");
            return Err(permanent(reason));
        }
        Ok(Self { room, pinned, keeps_models: how.keeps_models })
    }
}

fn number(spec: &LaunchSpec, name: &str) -> Result<Option<u64>, LaunchError> {
    let Some(text) = spec.environment.get(name) else { return Ok(None) };
    match text.parse() {
        Ok(number @ 1..) => Ok(Some(number)),
        Ok(0) | Err(_) => Err(permanent(format!(
            "The environment variable {name} must be a number from 1, not {text:?}."
        ))),
    }
}

fn permanent(reason: String) -> LaunchError {
    LaunchError::Permanent { reason }
}

#[cfg(test)]
mod tests {
    use sagebrush_core::fleet::MultiModel;

    use super::{CACHE_BYTES, CACHE_MODELS, PINNED, Room, Settings};
    use crate::testing::launch_spec;

    const HOW: MultiModel = MultiModel { keeps_models: true };

    fn read(environment: &[(&str, &str)]) -> Result<Settings, String> {
        let mut spec = launch_spec();
        let pairs = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        spec.environment = pairs.collect();
        Settings::read(&spec, HOW).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_of_the_environment() {
        let default = read(&[]).unwrap();
        let memory = launch_spec().resources.memory_bytes;
        assert_eq!(default.room, Room { bytes: memory / 10 * 8, models: usize::MAX });
        let given = read(&[(CACHE_BYTES, "100"), (CACHE_MODELS, "3"), (PINNED, "a, b/c,")]);
        let given = given.unwrap();
        assert_eq!(given.room, Room { bytes: 100, models: 3 });
        assert_eq!(given.pinned, ["a", "b/c"]);
        for (name, value) in
            [(CACHE_BYTES, "0"), (CACHE_BYTES, "1 GB"), (CACHE_MODELS, "-1"), (PINNED, "../a")]
        {
            assert!(read(&[(name, value)]).unwrap_err().contains(name), "{name} {value}");
        }
        read(&[(PINNED, "a,b"), (CACHE_MODELS, "2")]).unwrap();
        let crowded = read(&[(PINNED, "a,b"), (CACHE_MODELS, "1")]).unwrap_err();
        assert!(crowded.contains("names 2 models") && crowded.contains("keeps 1"), "{crowded}");
    }
}
