//! What a `CreateTransformJob` asks for, checked, with its model resolved.

use std::collections::BTreeMap;
use std::time::Duration;

use sagebrush_aws::ApiError;
use sagebrush_core::fleet::{ContainerSpec, Execution};
use sagebrush_core::objects::ObjectRef;
use sagebrush_records::{Assemble, Format, Path, SplitType, Strategy};
use sagebrush_wire::sagemaker as wire;
use uuid::Uuid;

use super::calls::{MAX_UNDER_WAY_MB, strategy_word};
use super::{Capture, Source, TransformJobSpec, Work};
use crate::model::ModelSpec;
use crate::resources::stored_request;

const MAX_INSTANCES: u32 = 100;
/// SageMaker's defaults of `ModelClientConfig`.
const TIMEOUT: u64 = 600;
const MAX_RETRIES: u32 = 3;
/// SageMaker's defaults, for the environment of the containers.
const MAX_PAYLOAD_MB: u32 = 6;
const MAX_CONCURRENT: u32 = 1;

pub(super) fn spec(
    input: &wire::CreateTransformJobRequest,
    model: &ModelSpec,
) -> Result<TransformJobSpec, ApiError> {
    let work = work(input)?;
    check_served(input, model)?;
    let environment = environment(input, &work)?;
    let resources = &input.transform_resources;
    let instance_count = u32::try_from(resources.instance_count).unwrap_or(1);
    if instance_count > MAX_INSTANCES {
        return Err(ApiError::validation(format!(
            "InstanceCount {instance_count} exceeds the limit of {MAX_INSTANCES}."
        )));
    }
    let containers = model.container_specs().into_iter().map(|mut spec: ContainerSpec| {
        spec.environment.extend(environment.clone());
        spec
    });
    Ok(TransformJobSpec {
        revision: Uuid::now_v7().simple().to_string(),
        containers: containers.collect(),
        network_isolation: model.network_isolation,
        instance_count,
        instance_type: resources.instance_type.as_str().to_owned(),
        work,
        request: stored_request(input)?,
    })
}

fn work(input: &wire::CreateTransformJobRequest) -> Result<Work, ApiError> {
    let from = &input.transform_input;
    let to = &input.transform_output;
    let processing = input.data_processing.clone().unwrap_or_default();
    let client = input.model_client_config.clone().unwrap_or_default();
    let number = |given: Option<i32>| given.and_then(|given| u32::try_from(given).ok());
    let work = Work {
        source: source(&from.data_source.s3_data_source)?,
        content_type: from.content_type.clone(),
        gzip: from.compression_type == Some(wire::CompressionType::Gzip),
        split: split(from.split_type),
        output_path: to.s3_output_path.clone(),
        accept: to.accept.clone().filter(|accept| accept != "*/*"),
        assemble: match to.assemble_with {
            Some(wire::AssemblyType::Line) => Assemble::Line,
            Some(wire::AssemblyType::None) | None => Assemble::None,
        },
        input_filter: processing.input_filter.unwrap_or_default(),
        output_filter: processing.output_filter.unwrap_or_default(),
        joins: processing.join_source == Some(wire::JoinSource::Input),
        strategy: input.batch_strategy.map(|strategy| match strategy {
            wire::BatchStrategy::MultiRecord => Strategy::MultiRecord,
            wire::BatchStrategy::SingleRecord => Strategy::SingleRecord,
        }),
        max_payload_mb: number(input.max_payload_in_mb),
        // SageMaker API: 0 leaves it to the container.
        max_concurrent: number(input.max_concurrent_transforms).filter(|given| *given > 0),
        timeout: number(client.invocations_timeout_in_seconds)
            .map_or(Duration::from_secs(TIMEOUT), |given| Duration::from_secs(given.into())),
        max_retries: number(client.invocations_max_retries).unwrap_or(MAX_RETRIES),
        capture: input.data_capture_config.as_ref().map(|config| Capture {
            destination: config.destination_s3_uri.clone(),
            has_inference_id: config.generate_inference_id.unwrap_or(false),
        }),
    };
    in_s3("S3OutputPath", &work.output_path)?;
    if let Some(capture) = &work.capture {
        in_s3("DestinationS3Uri", &capture.destination)?;
    }
    check_size(&work)?;
    check_processing(&work)?;
    Ok(work)
}

fn source(source: &wire::TransformS3DataSource) -> Result<Source, ApiError> {
    let uri = source.s3_uri.clone();
    in_s3("S3Uri", &uri)?;
    match source.s3_data_type {
        wire::S3DataType::S3Prefix => Ok(Source::Prefix(uri)),
        wire::S3DataType::ManifestFile => Ok(Source::Manifest(uri)),
        other @ (wire::S3DataType::AugmentedManifestFile | wire::S3DataType::Converse) => {
            Err(ApiError::validation(format!(
                "S3DataType {} cannot be used for a transform job. Use S3Prefix or ManifestFile.",
                other.as_str()
            )))
        }
    }
}

fn in_s3(member: &str, uri: &str) -> Result<(), ApiError> {
    let bucket = format!("{uri}/"); // A bucket alone may be named without the slash behind it.
    if ObjectRef::parse(uri).or_else(|| ObjectRef::parse(&bucket)).is_some() {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "{member} {uri} must be an S3 location of the form s3://bucket/key."
    )))
}

fn split(split: Option<wire::SplitType>) -> SplitType {
    match split {
        Some(wire::SplitType::Line) => SplitType::Line,
        Some(wire::SplitType::RecordIO) => SplitType::RecordIo,
        Some(wire::SplitType::TFRecord) => SplitType::TfRecord,
        Some(wire::SplitType::None) | None => SplitType::None,
    }
}

fn check_size(work: &Work) -> Result<(), ApiError> {
    let (Some(megabytes), Some(concurrent)) = (work.max_payload_mb, work.max_concurrent) else {
        return Ok(());
    };
    if megabytes.saturating_mul(concurrent) <= MAX_UNDER_WAY_MB {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "MaxConcurrentTransforms ({concurrent}) times MaxPayloadInMB ({megabytes}) must not exceed \
         {MAX_UNDER_WAY_MB}."
    )))
}

fn check_processing(work: &Work) -> Result<(), ApiError> {
    let input = Format::of(work.content_type.as_deref());
    check_filter("InputFilter", &work.input_filter, input)?;
    // Of an answer of any type it is seen later whether the filter fits.
    let output = match (work.joins, &work.accept) {
        (true, _) => input,
        (false, Some(accept)) => Format::of(Some(accept)),
        (false, None) => Format::Json,
    };
    check_filter("OutputFilter", &work.output_filter, output)?;
    if work.joins { check_join(work, input) } else { Ok(()) }
}

fn check_filter(member: &str, filter: &str, format: Format) -> Result<(), ApiError> {
    let path = Path::parse(filter)
        .map_err(|error| ApiError::validation(format!("{member} cannot be used: {error}")))?;
    if path.is_root() {
        return Ok(());
    }
    match format {
        Format::Json => Ok(()),
        Format::Csv if path.fits_rows() => Ok(()),
        Format::Csv => Err(ApiError::validation(format!(
            "{member} {filter} cannot be used with text/csv: rows have columns and no names."
        ))),
        Format::Opaque => Err(ApiError::validation(format!(
            "{member} needs records of type text/csv, application/json or application/jsonlines."
        ))),
    }
}

/// SageMaker API: to join, input and output must have the same type and the same frame.
fn check_join(work: &Work, format: Format) -> Result<(), ApiError> {
    let essence = |it: &Option<String>| {
        let it = it.as_deref().unwrap_or_default();
        it.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    if format == Format::Opaque {
        return Err(ApiError::validation(
            "JoinSource Input needs a ContentType of text/csv, application/json or \
             application/jsonlines.",
        ));
    }
    if essence(&work.content_type) != essence(&work.accept) {
        return Err(ApiError::validation(format!(
            "JoinSource Input needs the same ContentType and Accept, not {:?} and {:?}.",
            work.content_type.as_deref().unwrap_or_default(),
            work.accept.as_deref().unwrap_or_default()
        )));
    }
    match (work.split, work.assemble) {
        (SplitType::None, Assemble::None) | (SplitType::Line, Assemble::Line) => Ok(()),
        (SplitType::None | SplitType::Line, _) | (SplitType::RecordIo | SplitType::TfRecord, _) => {
            Err(ApiError::validation(
                "JoinSource Input needs the same SplitType and AssembleWith: None or Line.",
            ))
        }
    }
}

/// The members that a job here cannot act on and must not pretend to.
fn check_served(
    input: &wire::CreateTransformJobRequest,
    model: &ModelSpec,
) -> Result<(), ApiError> {
    let name = &input.model_name;
    if model.containers.iter().any(|container| container.multi_model) {
        return Err(ApiError::validation(format!(
            "Model {name} has a container with Mode MultiModel, which transform jobs do not take."
        )));
    }
    if model.execution == Execution::Direct {
        return Err(ApiError::validation(format!(
            "The containers of model {name} are called directly, which transform jobs cannot do."
        )));
    }
    Ok(())
}

/// What the containers of a job have in their environment besides what the model says.
fn environment(
    input: &wire::CreateTransformJobRequest,
    work: &Work,
) -> Result<BTreeMap<String, String>, ApiError> {
    let given = input.environment.clone().unwrap_or_default();
    if let Some((name, _)) = given.iter().find(|(_, value)| value.contains('\0')) {
        return Err(ApiError::validation(format!(
            "Environment variable {name} has a NUL character."
        )));
    }
    let strategy = strategy_word(work.strategy.unwrap_or_default()).to_owned();
    let mut environment = BTreeMap::from([
        ("SAGEMAKER_BATCH".to_owned(), "true".to_owned()),
        ("SAGEMAKER_BATCH_STRATEGY".to_owned(), strategy),
        (
            "SAGEMAKER_MAX_PAYLOAD_IN_MB".to_owned(),
            work.max_payload_mb.unwrap_or(MAX_PAYLOAD_MB).to_string(),
        ),
        (
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS".to_owned(),
            work.max_concurrent.unwrap_or(MAX_CONCURRENT).to_string(),
        ),
    ]);
    environment.extend(given);
    Ok(environment)
}
