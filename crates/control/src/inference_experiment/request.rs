//! What a `CreateInferenceExperiment` asks for, checked; also as `UpdateInferenceExperiment`
//! changes it.

use sagebrush_aws::{ApiError, Context};
use sagebrush_core::resource::Stored;
use sagebrush_wire::sagemaker as wire;
use serde_json::{Value, json};

use super::schedule::Schedule;
use super::{InferenceExperimentSpec, Layout, Purpose, Shadow, Variant, configs};
use crate::endpoint::{Endpoint, EndpointState, resolve_spec};
use crate::endpoint_config::Scaling;
use crate::list::from_wire;
use crate::resources::stored_request;
use crate::{Control, model};

/// The experiment `id` of this request, with what its endpoint has to say about it.
pub(super) async fn spec(
    control: &Control,
    ctx: &Context,
    id: String,
    input: &wire::CreateInferenceExperimentRequest,
    schedule: Schedule,
) -> Result<InferenceExperimentSpec, ApiError> {
    let endpoint = control.endpoints.get(&ctx.region, &input.endpoint_name).await?;
    let site = match &endpoint {
        Some(endpoint) => Some(Site::of(control, ctx, endpoint).await?),
        None => None,
    };
    let spec = InferenceExperimentSpec {
        id,
        endpoint: endpoint.map_or_else(|| input.endpoint_name.clone(), |endpoint| endpoint.name),
        role_arn: input.role_arn.clone(),
        layout: layout(input, site.as_ref())?,
        schedule,
        request: stored_request(input)?,
    };
    for variant in spec.layout.variants() {
        model::api::find(control, ctx, &variant.model).await?;
    }
    // Whatever an endpoint of both would be refused for, in the same words.
    let config = site.as_ref().and_then(|site| site.config.as_ref());
    let name = configs::name(&spec, Purpose::Run);
    let config = configs::spec(&configs::request(config, &spec.layout, &name))?;
    resolve_spec(control, ctx, name, config).await?;
    Ok(spec)
}

/// When it is to run.
pub(super) fn schedule(
    given: Option<&wire::InferenceExperimentSchedule>,
    now: sagebrush_core::Timestamp,
) -> Result<Schedule, ApiError> {
    let time = |time: Option<sagebrush_wire::Timestamp>| time.map(from_wire);
    let start = given.and_then(|given| time(given.start_time));
    let end = given.and_then(|given| time(given.end_time));
    Schedule::new(start, end, now).map_err(refused_schedule)
}

pub(super) fn refused_schedule(why: &str) -> ApiError {
    ApiError::validation(format!("The Schedule cannot be used: {why}."))
}

/// The endpoint that is there already.
struct Site {
    name: String,
    /// Its only production variant.
    production: String,
    /// Its configuration as it was asked for, unless that is deleted.
    config: Option<Value>,
}

impl Site {
    async fn of(
        control: &Control,
        ctx: &Context,
        endpoint: &Stored<Endpoint>,
    ) -> Result<Self, ApiError> {
        let refuse = |what: &str| {
            let name = &endpoint.name;
            Err(ApiError::validation(format!(
                "An inference experiment cannot run on endpoint {name}: it {what}."
            )))
        };
        match &endpoint.status {
            EndpointState::Failed { .. } => return refuse("has failed"),
            EndpointState::Deleting => return refuse("is being deleted"),
            EndpointState::Creating
            | EndpointState::InService { .. }
            | EndpointState::Updating { .. }
            | EndpointState::RollingBack { .. }
            | EndpointState::UpdateRollbackFailed { .. } => {}
        }
        let deployed = &endpoint.spec.wanted;
        if deployed.asynchronous.is_some() {
            return refuse("is asynchronous");
        }
        let [production] = &deployed.variants[..] else {
            return refuse("does not have exactly one production variant");
        };
        if matches!(production.scaling, Scaling::Serverless(_)) {
            return refuse("is serverless");
        }
        let config = control.endpoint_configs.get(&ctx.region, &deployed.config).await?;
        Ok(Self {
            name: endpoint.name.clone(),
            production: production.name.clone(),
            config: config.map(|config| config.spec.request),
        })
    }

    /// The production variant as its configuration has it.
    fn variant(&self) -> Option<Variant> {
        let variant = self.config.as_ref()?.pointer("/ProductionVariants/0")?;
        let text = |member: &str| variant.get(member).and_then(Value::as_str).map(str::to_owned);
        let count = variant.get("InitialInstanceCount").and_then(Value::as_u64).unwrap_or(1);
        Some(Variant {
            name: self.production.clone(),
            model: text("ModelName")?,
            instance_type: text("InstanceType")?,
            instance_count: u32::try_from(count).ok()?,
        })
    }
}

fn layout(
    input: &wire::CreateInferenceExperimentRequest,
    site: Option<&Site>,
) -> Result<Layout, ApiError> {
    let variants = variants(&input.model_variants)?;
    let mode = &input.shadow_mode_config;
    let [shadow] = &mode.shadow_model_variants[..] else {
        return Err(ApiError::validation("ShadowModelVariants must have exactly one variant."));
    };
    let (source, shadow_name) =
        (&mode.source_model_variant_name, &shadow.shadow_model_variant_name);
    if source == shadow_name {
        return Err(ApiError::validation(format!(
            "Variant {source} cannot be both the SourceModelVariantName and its own shadow."
        )));
    }
    let find = |name: &str| variants.iter().find(|variant| variant.name == name).cloned();
    let missing =
        |name: &str| ApiError::validation(format!("ModelVariants has no variant {name}."));
    if let Some(other) = variants.iter().find(|it| it.name != *source && it.name != *shadow_name) {
        return Err(ApiError::validation(format!(
            "Variant {} of ModelVariants is not in the ShadowModeConfig.",
            other.name
        )));
    }
    let percentage = percentage(shadow.sampling_percentage)?;
    let given = find(source);
    if let Some(site) = site {
        check_source(site, source, given.as_ref())?;
    }
    Ok(Layout {
        production: given
            .or_else(|| site.and_then(Site::variant))
            .ok_or_else(|| missing(source))?,
        shadow: Some(Shadow {
            variant: find(shadow_name).ok_or_else(|| missing(shadow_name))?,
            percentage,
        }),
        capture: input.data_storage_config.as_ref().map(capture).transpose()?,
    })
}

pub(super) fn percentage(given: i32) -> Result<u8, ApiError> {
    u8::try_from(given).ok().filter(|given| *given <= 100).ok_or_else(|| {
        ApiError::validation(format!("SamplingPercentage is {given}; it must be from 0 to 100."))
    })
}

/// The calls of an endpoint that is there go on being answered by its own variant and model.
fn check_source(site: &Site, source: &str, given: Option<&Variant>) -> Result<(), ApiError> {
    let name = &site.name;
    if site.production != source {
        return Err(ApiError::validation(format!(
            "SourceModelVariantName is {source}; the production variant of endpoint {name} is {}.",
            site.production
        )));
    }
    let (Some(given), Some(is)) = (given, site.variant()) else { return Ok(()) };
    if given.model == is.model {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "ModelVariants has model {} for {source}; endpoint {name} has {} there.",
        given.model, is.model
    )))
}

/// SageMaker API: `ModelVariantConfigList`.
pub(super) fn variants(given: &[wire::ModelVariantConfig]) -> Result<Vec<Variant>, ApiError> {
    let mut variants: Vec<Variant> = Vec::with_capacity(given.len());
    for given in given {
        let wire::ModelInfrastructureConfig {
            infrastructure_type: wire::ModelInfrastructureType::RealTimeInference,
            real_time_inference_config: instances,
        } = &given.infrastructure_config;
        let name = &given.variant_name;
        if variants.iter().any(|variant| variant.name == *name) {
            return Err(ApiError::validation(format!("Variant {name} is there twice.")));
        }
        let count = u32::try_from(instances.instance_count).ok().filter(|count| *count > 0);
        variants.push(Variant {
            name: name.clone(),
            model: given.model_name.clone(),
            instance_type: instances.instance_type.as_str().to_owned(),
            instance_count: count.ok_or_else(|| {
                ApiError::validation(format!("The InstanceCount of {name} must be at least 1."))
            })?,
        });
    }
    Ok(variants)
}

/// The `DataCaptureConfig` that a `DataStorageConfig` stands for: all calls, as they came and went.
fn capture(config: &wire::InferenceExperimentDataStorageConfig) -> Result<Value, ApiError> {
    let mut capture = json!({
        "EnableCapture": true,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": config.destination,
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    });
    if let Some(key) = &config.kms_key {
        capture["KmsKeyId"] = key.as_str().into();
    }
    if let Some(types) = &config.content_type {
        capture["CaptureContentTypeHeader"] = stored_request(types)?;
    }
    Ok(capture)
}
