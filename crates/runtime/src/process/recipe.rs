//! How a program is run and where it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// What SageMaker leaves a container between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(30);

/// How a program is run, as an entry of the catalogue of images says.
///
/// In its command and its environment `{port}`, `{socket}` and `{model_dir}` stand for what the
/// program is to use. With `{socket}` anywhere it is talked to over that Unix socket, else over
/// the port, which it finds in `SAGEMAKER_BIND_TO_PORT` too.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ProcessRecipe {
    /// The program and its arguments. `None`: the image says what to run, as `process://...`.
    pub command: Option<Vec<String>>,
    /// Where it starts; a folder of its own if `None`.
    pub directory: Option<PathBuf>,
    /// What answers `GET` with 200 once the program is ready.
    pub ping: String,
    /// What answers `POST`.
    pub invocations: String,
    /// What the model's own environment goes on top of.
    pub environment: BTreeMap<String, String>,
    /// How many calls it takes at once.
    pub concurrency: Option<usize>,
    /// It keeps the contract of multi-model containers: `/models`.
    pub multi_model: bool,
    /// It never gets a network, as if each model asked for `EnableNetworkIsolation`.
    pub isolated: bool,
    /// Folders and files that it needs beside its own folder and the system's.
    pub readable: Vec<PathBuf>,
    /// How long it may take to end after SIGTERM.
    #[serde(rename = "grace-seconds", deserialize_with = "seconds")]
    pub grace: Duration,
}

impl Default for ProcessRecipe {
    fn default() -> Self {
        Self {
            command: None,
            directory: None,
            ping: "/ping".to_owned(),
            invocations: "/invocations".to_owned(),
            environment: BTreeMap::new(),
            concurrency: None,
            multi_model: false,
            isolated: false,
            readable: Vec::new(),
            grace: GRACE,
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_only_what_differs() {
        let entry = serde_json::json!({
            "command": ["/srv/app/.venv/bin/uvicorn", "app:app", "--port", "{port}"],
            "ping": "/health",
            "multi-model": true,
            "grace-seconds": 5,
        });
        let recipe: ProcessRecipe = serde_json::from_value(entry).unwrap();
        assert_eq!(recipe.command.as_ref().map(Vec::len), Some(4));
        assert_eq!(
            (recipe.ping.as_str(), recipe.invocations.as_str()),
            ("/health", "/invocations")
        );
        assert!(recipe.multi_model && !recipe.isolated);
        assert_eq!(recipe.grace, Duration::from_secs(5));
        let empty: ProcessRecipe = serde_json::from_value(serde_json::json!({})).unwrap();
        assert_eq!(empty, ProcessRecipe::default());
    }
}
