//! Which image is served how: entries of the config file first, then the built-in ones, then the
//! container engine, if there is one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sagebrush_control::instance::Catalogue;
use sagebrush_core::worker::Runtime;
use sagebrush_runtime::container::{ContainerRuntime, ContainerSettings};
use sagebrush_runtime::environment::{Environments, Package};
use sagebrush_runtime::process::{ProcessRecipe, ProcessRuntime};
use sagebrush_runtime::python::{PythonRecipe, PythonRuntime, PythonShared};
use sagebrush_runtime::sandbox::Sandbox;
use serde::Deserialize;

use crate::config::{Config, ConfigError};
use crate::setup;

/// Nobody waits longer for a program to end.
const LONGEST_GRACE: u64 = 3600;

/// An `[[image]]` of the config file: a program if it has a `command`, else Python code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageEntry {
    /// Image URIs that it stands for; `*` and `?` stand for any characters.
    pub pattern: String,
    /// Below the container's own environment.
    pub environment: BTreeMap<String, String>,

    /// Serves `inference.py` with the defaults of a framework: one of [`FRAMEWORKS`].
    pub framework: Option<String>,
    /// The interpreter of these images; that of all Python images if there is none.
    pub interpreter: Option<String>,

    /// See [`ProcessRecipe`] for this and the rest.
    pub command: Option<Vec<String>>,
    pub directory: Option<PathBuf>,
    pub ping: Option<String>,
    pub invocations: Option<String>,
    pub concurrency: Option<usize>,
    pub multi_model: bool,
    pub isolated: bool,
    pub readable: Vec<PathBuf>,
    pub grace_seconds: Option<u64>,
}

impl ImageEntry {
    /// Why the entry cannot be meant as it stands.
    fn check(&self) -> Result<(), String> {
        let is_program = self.command.is_some();
        let program = self.command.as_ref().map(|command| command.first().map(String::as_str));
        let is_path = |path: &Option<String>| path.as_ref().is_none_or(|it| it.starts_with('/'));
        let is_name = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        let variables = &self.environment;
        let checks = [
            (!self.pattern.is_empty(), "it has no pattern"),
            (!is_program || self.framework.is_none(), "it has a command and a framework"),
            (!is_program || self.interpreter.is_none(), "it has a command and an interpreter"),
            (!matches!(program, Some(None | Some(""))), "its command is empty"),
            (is_path(&self.ping), "ping does not begin with a /"),
            (is_path(&self.invocations), "invocations does not begin with a /"),
            (self.concurrency != Some(0), "concurrency is 0"),
            (
                self.grace_seconds.is_none_or(|seconds| seconds <= LONGEST_GRACE),
                "grace-seconds is more than 3600",
            ),
            (
                variables.keys().all(is_name) && !variables.values().any(|it| it.contains('\0')),
                "its environment has what cannot be a variable",
            ),
        ];
        if let Some((_, reason)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(reason.to_owned());
        }
        match self.key_of_a_program() {
            Some(key) if !is_program => {
                Err(format!("{key} is for programs, and it has no command"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A key that is there and means nothing without a `command`.
    fn key_of_a_program(&self) -> Option<&'static str> {
        let keys = [
            ("directory", self.directory.is_some()),
            ("ping", self.ping.is_some()),
            ("invocations", self.invocations.is_some()),
            ("concurrency", self.concurrency.is_some()),
            ("multi-model", self.multi_model),
            ("isolated", self.isolated),
            ("readable", !self.readable.is_empty()),
            ("grace-seconds", self.grace_seconds.is_some()),
        ];
        keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
    }
}

/// A framework of Python images.
struct Framework {
    /// Whose defaults stand in for functions that code leaves out.
    name: &'static str,
    /// The images that it serves.
    patterns: &'static [&'static str],
    /// What those images have installed: what code imports, and what is installed for it.
    packages: &'static [(&'static str, &'static str)],
}

const FRAMEWORKS: &[Framework] = &[
    Framework { name: "python", patterns: &["sagebrush/python", "python"], packages: &[] },
    Framework {
        name: "sklearn",
        patterns: &["sagemaker-scikit-learn", "sagebrush/sklearn"],
        packages: &[("sklearn", "scikit-learn"), ("joblib", "joblib"), ("numpy", "numpy")],
    },
    Framework {
        name: "xgboost",
        patterns: &["sagemaker-xgboost", "xgboost", "sagebrush/xgboost"],
        packages: &[("xgboost", "xgboost-cpu"), ("numpy", "numpy"), ("scipy", "scipy")],
    },
    Framework {
        name: "pytorch",
        patterns: &["pytorch-inference", "pytorch-inference-*", "sagebrush/pytorch"],
        packages: &[("torch", "torch"), ("numpy", "numpy")],
    },
    Framework {
        name: "huggingface",
        patterns: &["huggingface-pytorch-inference", "sagebrush/huggingface"],
        packages: &[("transformers", "transformers"), ("torch", "torch"), ("numpy", "numpy")],
    },
];

/// The images that ONNX Runtime serves in process; Triton's for ONNX models of its repository.
const ONNX: &[&str] =
    &["sagebrush/onnx", "sagebrush-onnx", "onnx", "tritonserver", "sagemaker-tritonserver"];

/// The catalogue of this server. Blocks.
///
/// # Errors
/// For an entry that cannot be, or folders that cannot be made.
pub(crate) fn catalogue(
    config: &Config,
    onnx: &Arc<dyn Runtime>,
) -> Result<Catalogue, CatalogueError> {
    let runtimes = Runtimes::open(config)?;
    let mut catalogue = Catalogue::new();
    for entry in &config.images {
        catalogue = catalogue.with(entry.pattern.clone(), runtimes.of(entry)?);
    }
    if config.process_images {
        let process = ProcessRuntime::new(runtimes.sandbox.clone(), ProcessRecipe::default());
        catalogue = catalogue.with("process://*", Arc::new(process));
    }
    for framework in FRAMEWORKS {
        let runtime = runtimes.python(framework, &ImageEntry::default());
        catalogue = with_all(catalogue, framework.patterns, &runtime);
    }
    catalogue = with_all(catalogue, ONNX, onnx);
    let Some(socket) = &config.container_socket else { return Ok(catalogue) };
    let owner = config.data_dir.display().to_string();
    let settings = ContainerSettings { pull: config.pull_images, ..ContainerSettings::new(owner) };
    let containers = ContainerRuntime::new(socket.clone(), settings);
    Ok(catalogue.with_fallback(Arc::new(containers)))
}

fn with_all(catalogue: Catalogue, patterns: &[&str], runtime: &Arc<dyn Runtime>) -> Catalogue {
    let with = |catalogue: Catalogue, pattern: &&str| catalogue.with(*pattern, runtime.clone());
    patterns.iter().fold(catalogue, with)
}

/// Why there is no catalogue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What runs programs and Python code.
struct Runtimes {
    sandbox: Arc<Sandbox>,
    python: Arc<PythonShared>,
    /// Of Python images that name none.
    interpreter: String,
}

impl Runtimes {
    fn open(config: &Config) -> io::Result<Self> {
        let data = config.data_dir.as_path();
        let sandbox = Sandbox::open(data.join("run"))?.with_mode(config.isolation);
        let sandbox = Arc::new(sandbox);
        let environments = Environments::new(data.join("environments"))
            .with_mode(config.isolation)
            .with_uv(setup::uv_path())
            .with_installer_environment(config.installer_environment.clone());
        let environments = Arc::new(environments);
        let python = PythonShared::new(sandbox.clone(), environments, &data.join("python"))?;
        Ok(Self { sandbox, python, interpreter: config.python.clone() })
    }

    fn of(&self, entry: &ImageEntry) -> Result<Arc<dyn Runtime>, ConfigError> {
        let refused =
            |reason: String| ConfigError::Image { pattern: entry.pattern.clone(), reason };
        entry.check().map_err(refused)?;
        if entry.command.is_some() {
            let recipe = process_recipe(entry);
            return Ok(Arc::new(ProcessRuntime::new(self.sandbox.clone(), recipe)));
        }
        let wanted = entry.framework.as_deref().unwrap_or("python");
        let framework = FRAMEWORKS.iter().find(|framework| framework.name == wanted);
        let framework = framework.ok_or_else(|| {
            let known: Vec<&str> = FRAMEWORKS.iter().map(|known| known.name).collect();
            refused(format!("framework {wanted} is not one of {}", known.join(", ")))
        })?;
        Ok(self.python(framework, entry))
    }

    fn python(&self, framework: &Framework, entry: &ImageEntry) -> Arc<dyn Runtime> {
        let package = |(module, requirement): &(&str, &str)| Package {
            module: (*module).to_owned(),
            requirement: (*requirement).to_owned(),
        };
        let recipe = PythonRecipe {
            framework: framework.name.to_owned(),
            interpreter: entry.interpreter.clone().unwrap_or_else(|| self.interpreter.clone()),
            packages: framework.packages.iter().map(package).collect(),
            environment: entry.environment.clone(),
        };
        Arc::new(PythonRuntime::new(self.python.clone(), recipe))
    }
}

fn process_recipe(entry: &ImageEntry) -> ProcessRecipe {
    let default = ProcessRecipe::default();
    let grace = entry.grace_seconds.map(std::time::Duration::from_secs);
    ProcessRecipe {
        command: entry.command.clone(),
        directory: entry.directory.clone(),
        ping: entry.ping.clone().unwrap_or(default.ping),
        invocations: entry.invocations.clone().unwrap_or(default.invocations),
        environment: entry.environment.clone(),
        concurrency: entry.concurrency,
        multi_model: entry.multi_model,
        isolated: entry.isolated,
        readable: entry.readable.clone(),
        grace: grace.unwrap_or(default.grace),
    }
}

#[cfg(test)]
mod tests {
    use super::ImageEntry;

    fn check(toml: &str, wanted: Result<(), &str>) {
        let entry: ImageEntry = toml::from_str(toml).unwrap();
        assert_eq!(entry.check(), wanted.map_err(str::to_owned), "{toml}");
    }

    #[test]
    fn entries_that_can_be() {
        check("pattern = 'a'", Ok(()));
        check("pattern = 'a'\nframework = 'sklearn'\ninterpreter = 'python3.12'", Ok(()));
        let program = "pattern = 'a'\ncommand = ['x', '']\nping = '/up'\nconcurrency = 1\n\
                       multi-model = true\nreadable = ['/data']\ngrace-seconds = 3600";
        check(program, Ok(()));
    }

    #[test]
    fn entries_that_cannot_be() {
        let program = |more: &str| format!("pattern = 'a'\ncommand = ['x']\n{more}");
        check("command = ['x']", Err("it has no pattern"));
        check("pattern = 'a'\ncommand = []", Err("its command is empty"));
        check("pattern = 'a'\ncommand = ['']", Err("its command is empty"));
        check(&program("framework = 'python'"), Err("it has a command and a framework"));
        check(&program("interpreter = 'python3'"), Err("it has a command and an interpreter"));
        check(&program("ping = 'up'"), Err("ping does not begin with a /"));
        check(&program("invocations = ''"), Err("invocations does not begin with a /"));
        check(&program("concurrency = 0"), Err("concurrency is 0"));
        check(&program("grace-seconds = 3601"), Err("grace-seconds is more than 3600"));
        let no_variable = Err("its environment has what cannot be a variable");
        check(&program("environment = { 'A=B' = 'c' }"), no_variable);
        check(&program("environment = { A = \"\\u0000\" }"), no_variable);
    }

    #[test]
    fn keys_of_programs_without_a_program() {
        for line in ["ping = '/up'", "multi-model = true", "directory = '/srv'", "isolated = true"]
        {
            let key = line.split(' ').next().unwrap();
            let reason = format!("{key} is for programs, and it has no command");
            check(&format!("pattern = 'a'\n{line}"), Err(&reason));
        }
    }
}
