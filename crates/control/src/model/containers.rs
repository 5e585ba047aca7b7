//! What a `CreateModel` asks for, checked: one container or several, and how they answer together.

use std::collections::{BTreeMap, BTreeSet};

use sagebrush_aws::ApiError;
use sagebrush_core::artifact::ModelData;
use sagebrush_core::fleet::Execution;
use sagebrush_core::objects::ObjectRef;
use sagebrush_wire::sagemaker as wire;

use super::{Container, ModelSpec};
use crate::resources::stored_request;

impl TryFrom<wire::CreateModelInput> for ModelSpec {
    type Error = ApiError;

    fn try_from(input: wire::CreateModelInput) -> Result<Self, ApiError> {
        let request = stored_request(&input)?;
        let definitions = definitions(input.primary_container, input.containers)?;
        let containers: Vec<_> =
            definitions.into_iter().map(Container::try_from).collect::<Result<_, _>>()?;
        let execution = match input.inference_execution_config.map(|config| config.mode) {
            Some(wire::InferenceExecutionMode::Direct) => Execution::Direct,
            Some(wire::InferenceExecutionMode::Serial) | None => Execution::Serial,
        };
        check_hostnames(&containers)?;
        if execution == Execution::Direct {
            check_direct(&containers)?;
        }
        let network_isolation = input.enable_network_isolation.unwrap_or(false);
        Ok(Self { containers, execution, network_isolation, request })
    }
}

fn definitions(
    primary: Option<wire::ContainerDefinition>,
    containers: Option<Vec<wire::ContainerDefinition>>,
) -> Result<Vec<wire::ContainerDefinition>, ApiError> {
    match (primary, containers) {
        (Some(_), Some(containers)) if !containers.is_empty() => Err(ApiError::validation(
            "Both PrimaryContainer and Containers are specified. Specify only one of them.",
        )),
        (Some(primary), _) => {
            // SageMaker API: this parameter is ignored for a PrimaryContainer.
            Ok(vec![wire::ContainerDefinition { container_hostname: None, ..primary }])
        }
        (None, Some(containers)) if !containers.is_empty() => Ok(containers),
        (None, _) => {
            Err(ApiError::validation("Either PrimaryContainer or Containers must be specified."))
        }
    }
}

/// SageMaker API: with one hostname in a pipeline, every container must have one.
fn check_hostnames(containers: &[Container]) -> Result<(), ApiError> {
    let named: Vec<&str> =
        containers.iter().filter_map(|container| container.hostname.as_deref()).collect();
    if !named.is_empty() && named.len() < containers.len() {
        return Err(ApiError::validation(
            "If ContainerHostname is specified for one container, it must be specified for every \
             container of the model.",
        ));
    }
    let mut seen = BTreeSet::new();
    let twice = named.iter().find(|name| !seen.insert(**name));
    twice.map_or(Ok(()), |name| {
        Err(ApiError::validation(format!(
            "ContainerHostname must be unique within a model: {name}"
        )))
    })
}

fn check_direct(containers: &[Container]) -> Result<(), ApiError> {
    if containers.len() < 2 {
        return Err(ApiError::validation(
            "InferenceExecutionConfig with Mode Direct needs 2 to 15 Containers.",
        ));
    }
    if containers.iter().all(|container| container.hostname.is_some()) {
        return Ok(());
    }
    Err(ApiError::validation(
        "InferenceExecutionConfig with Mode Direct needs a ContainerHostname for every container.",
    ))
}

impl TryFrom<wire::ContainerDefinition> for Container {
    type Error = ApiError;

    fn try_from(definition: wire::ContainerDefinition) -> Result<Self, ApiError> {
        let multi_model = definition.mode == Some(wire::ContainerMode::MultiModel);
        let model_data =
            if multi_model { Some(prefix(&definition)?) } else { model_data(&definition)? };
        if let Some(package) = &definition.model_package_name {
            return Err(ApiError::validation(format!(
                "ModelPackageName {package} cannot be used: model packages are not served here. \
                 Give the container an Image and a ModelDataUrl."
            )));
        }
        if definition.container_metrics_config.is_some() {
            return Err(ApiError::validation(
                "ContainerMetricsConfig is not served here: no metrics are read from containers.",
            ));
        }
        let Some(image) = definition.image else {
            return Err(ApiError::validation("Image is required for a container."));
        };
        let environment = definition.environment.unwrap_or_default();
        check_environment(&environment)?;
        let cache = definition.multi_model_config.and_then(|config| config.model_cache_setting);
        Ok(Self {
            // The API takes an empty one for none.
            hostname: definition.container_hostname.filter(|name| !name.is_empty()),
            image,
            model_data,
            environment,
            multi_model,
            keeps_models: cache != Some(wire::ModelCacheSetting::Disabled),
        })
    }
}

/// SageMaker's pattern lets a NUL through, but no process can have one in its environment.
fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let unfit = environment.iter().find(|(_, value)| value.contains('\0'));
    unfit.map_or(Ok(()), |(name, _)| {
        Err(ApiError::validation(format!("Environment variable {name} has a NUL character.")))
    })
}

/// The prefix below which a multi-model container finds its models.
fn prefix(definition: &wire::ContainerDefinition) -> Result<ModelData, ApiError> {
    if definition.model_data_source.is_some() {
        return Err(ApiError::validation(
            "ModelDataSource cannot be used with Mode MultiModel. Specify the S3 prefix of the \
             models as ModelDataUrl.",
        ));
    }
    let Some(url) = &definition.model_data_url else {
        return Err(ApiError::validation(
            "ModelDataUrl is required for a container with Mode MultiModel: it is the S3 prefix \
             below which the models are.",
        ));
    };
    if url.ends_with(".tar.gz") {
        return Err(ApiError::validation(format!(
            "ModelDataUrl {url} must be an S3 prefix, not an archive, for a container with Mode \
             MultiModel."
        )));
    }
    in_s3(ModelData::Prefix { uri: url.clone() })
}

fn model_data(definition: &wire::ContainerDefinition) -> Result<Option<ModelData>, ApiError> {
    let source = definition.model_data_source.as_ref();
    let source = source.and_then(|source| source.s3_data_source.as_ref());
    match (&definition.model_data_url, source) {
        (Some(_), Some(_)) => Err(ApiError::validation(
            "Both ModelDataUrl and ModelDataSource are specified. Specify only one of them.",
        )),
        (Some(url), None) => in_s3(ModelData::Archive { uri: url.clone() }).map(Some),
        (None, Some(source)) => in_s3(from_source(source)).map(Some),
        (None, None) => Ok(None),
    }
}

fn in_s3(data: ModelData) -> Result<ModelData, ApiError> {
    if ObjectRef::parse(data.uri()).is_some() {
        return Ok(data);
    }
    Err(ApiError::validation(format!(
        "Model data URL {} must be an S3 location of the form s3://bucket/key.",
        data.uri()
    )))
}

fn from_source(source: &wire::S3ModelDataSource) -> ModelData {
    let uri = source.s3_uri.clone();
    match (source.compression_type, source.s3_data_type) {
        (wire::ModelCompressionType::Gzip, _) => ModelData::Archive { uri },
        (wire::ModelCompressionType::None, wire::S3ModelDataType::S3Prefix) => {
            ModelData::Prefix { uri }
        }
        (wire::ModelCompressionType::None, wire::S3ModelDataType::S3Object) => {
            ModelData::File { uri }
        }
    }
}
