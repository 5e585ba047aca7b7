//! A model: an image, the model's files and its environment. It has no life of its own.

pub(crate) mod api;
mod containers;

use std::collections::BTreeMap;

use sagebrush_core::artifact::ModelData;
use sagebrush_core::fleet::{ContainerSpec, Execution, MultiModel};
use sagebrush_core::resource::Resource;
use serde::{Deserialize, Serialize};

/// SageMaker API: `CreateModel`.
#[derive(Debug, Clone, Copy)]
pub struct Model;

impl Resource for Model {
    const KIND: &'static str = "model";
    type Spec = ModelSpec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

/// The client's half of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// One container, or 2 to 15.
    pub containers: Vec<Container>,
    /// How several containers answer together.
    #[serde(default)]
    pub execution: Execution,
    pub network_isolation: bool,
    /// The request as it came, for `DescribeModel`.
    pub request: serde_json::Value,
}

/// What we act on of a `ContainerDefinition`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Container {
    pub hostname: Option<String>,
    pub image: String,
    pub model_data: Option<ModelData>,
    pub environment: BTreeMap<String, String>,
    /// `Mode: MultiModel`; `model_data` is the prefix below which models are then.
    pub multi_model: bool,
    /// `ModelCacheSetting`; only with `multi_model`.
    #[serde(default = "keeps_models")]
    pub keeps_models: bool,
}

impl ModelSpec {
    /// `ExecutionRoleArn`.
    #[must_use]
    pub fn role_arn(&self) -> Option<&str> {
        self.request.get("ExecutionRoleArn").and_then(serde_json::Value::as_str)
    }

    /// The containers as a fleet is to run them.
    #[must_use]
    pub fn container_specs(&self) -> Vec<ContainerSpec> {
        self.containers.iter().map(|container| container.spec(self.role_arn())).collect()
    }
}

impl Container {
    /// The container as a fleet is to run it, in the role of its model.
    fn spec(&self, role_arn: Option<&str>) -> ContainerSpec {
        ContainerSpec {
            role_arn: role_arn.map(str::to_owned),
            hostname: self.hostname.clone(),
            image: self.image.clone(),
            model_data: self.model_data.clone(),
            environment: self.environment.clone(),
            multi_model: self.multi_model.then_some(MultiModel { keeps_models: self.keeps_models }),
        }
    }
}

/// SageMaker API: `ModelCacheSetting` is `Enabled` by default.
fn keeps_models() -> bool {
    true
}
