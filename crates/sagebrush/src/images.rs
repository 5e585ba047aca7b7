//! Which image is served how: entries of the config file first, then the built-in ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_control::instance::Catalogue;
use sagebrush_core::worker::Runtime;
use sagebrush_runtime::environment::Package;
use sagebrush_runtime::python::{PythonRecipe, PythonRuntime, PythonShared};
use serde::Deserialize;

use crate::config::ConfigError;

/// An `[[image]]` of the config file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageEntry {
    /// Image URIs that it stands for; `*` and `?` stand for any characters.
    pub pattern: String,
    /// Serves `inference.py` with the defaults of a framework: one of [`FRAMEWORKS`].
    pub framework: Option<String>,
    /// The interpreter of these images; that of all Python images if there is none.
    pub interpreter: Option<String>,
    /// Below the container's own environment.
    pub environment: BTreeMap<String, String>,
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

/// What runs images.
pub(crate) struct Runtimes {
    pub(crate) onnx: Arc<dyn Runtime>,
    pub(crate) python: Arc<PythonShared>,
    /// Of images that name none.
    pub(crate) interpreter: String,
}

impl Runtimes {
    /// The catalogue of this server.
    ///
    /// # Errors
    /// For an entry that cannot be: says which and why, in one line.
    pub(crate) fn catalogue(&self, entries: &[ImageEntry]) -> Result<Catalogue, ConfigError> {
        let mut catalogue = Catalogue::new();
        for entry in entries {
            catalogue = catalogue.with(entry.pattern.clone(), self.of(entry)?);
        }
        for framework in FRAMEWORKS {
            let runtime = self.python(framework, &ImageEntry::default());
            let with = |catalogue: Catalogue, pattern: &&'static str| {
                catalogue.with(*pattern, runtime.clone())
            };
            catalogue = framework.patterns.iter().fold(catalogue, with);
        }
        let with = |catalogue: Catalogue, pattern: &&'static str| {
            catalogue.with(*pattern, self.onnx.clone())
        };
        Ok(ONNX.iter().fold(catalogue, with))
    }

    fn of(&self, entry: &ImageEntry) -> Result<Arc<dyn Runtime>, ConfigError> {
        let wanted = entry.framework.as_deref().unwrap_or("python");
        let framework = FRAMEWORKS.iter().find(|framework| framework.name == wanted);
        let framework = framework.ok_or_else(|| {
            let known: Vec<&str> = FRAMEWORKS.iter().map(|framework| framework.name).collect();
            let reason = format!("framework {wanted} is not one of {}", known.join(", "));
            ConfigError::Image { pattern: entry.pattern.clone(), reason }
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
