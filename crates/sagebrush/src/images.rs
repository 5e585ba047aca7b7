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
        if entry.pattern.is_empty() {
            return Err(refused("it has no pattern".to_owned()));
        }
        match (&entry.command, &entry.framework) {
            (Some(_), Some(_)) => Err(refused("it has a command and a framework".to_owned())),
            (Some(command), None) if command.is_empty() => {
                Err(refused("its command is empty".to_owned()))
            }
            (Some(_), None) => {
                let recipe = process_recipe(entry);
                Ok(Arc::new(ProcessRuntime::new(self.sandbox.clone(), recipe)))
            }
            (None, framework) => {
                let wanted = framework.as_deref().unwrap_or("python");
                let framework = FRAMEWORKS.iter().find(|framework| framework.name == wanted);
                let framework = framework.ok_or_else(|| {
                    let known: Vec<&str> = FRAMEWORKS.iter().map(|known| known.name).collect();
                    refused(format!("framework {wanted} is not one of {}", known.join(", ")))
                })?;
                Ok(self.python(framework, entry))
            }
        }
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
