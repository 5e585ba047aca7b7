//! A call at the door: checked, written down, acknowledged.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use sagebrush_aws::ApiError;
use sagebrush_core::objects::ObjectRef;
use sagebrush_core::resource::Stored;
use sagebrush_core::route::AsyncConfig;
use sagebrush_core::store::StoreError;
use sagebrush_core::task;
use uuid::Uuid;

use super::backlog::Ticket;
use super::call::{AsyncCall, CallSpec, Carried, Input, Location, Topic};
use super::headers::{self, AsyncHeaders};
use super::{AsyncInference, Core};
use crate::error::InvokeError;
use crate::invoke::Target;

/// SageMaker Runtime API: `Body` of `InvokeEndpointAsync`.
pub(crate) const LONGEST_BODY: usize = 128_000;

/// The most bytes that the key of an object may have.
const LONGEST_KEY: usize = 1024;

/// What the client is told.
pub(crate) struct Accepted {
    pub(crate) inference_id: String,
    pub(crate) output_location: String,
    pub(crate) failure_location: String,
}

/// Why a call was not accepted.
#[derive(Debug)]
pub(crate) enum Refused {
    Invalid(InvokeError),
    /// It could not be written down.
    Api(ApiError),
}

impl AsyncInference {
    /// Takes a call. When this returns `Ok` it is durable.
    pub(crate) async fn accept(
        &self,
        target: &Target,
        headers: &HeaderMap,
        body: Bytes,
        trace: Option<Carried>,
    ) -> Result<Accepted, Refused> {
        let headers = headers::read(headers)?;
        let config = self.0.invoker.asynchronous(target)?;
        let spec = CallSpec { trace, ..spec(target, headers, &body, &config)? };
        let accepted = Accepted {
            inference_id: spec.inference_id.clone(),
            output_location: spec.output.0.to_string(),
            failure_location: spec.failure.0.to_string(),
        };
        // To the end, even if the client leaves: a row that nobody knows of would wait for long.
        let written = task::spawn("async-accept", write(self.0.clone(), target.clone(), spec));
        match written.await {
            Ok(Ok(())) => Ok(accepted),
            Ok(Err(error)) => Err(Refused::Api(error.into())),
            Err(lost) => Err(Refused::Api(ApiError::internal(lost))),
        }
    }
}

async fn write(
    core: std::sync::Arc<Core>,
    target: Target,
    spec: CallSpec,
) -> Result<(), StoreError> {
    let key = Uuid::now_v7().to_string();
    let stored: Stored<AsyncCall> =
        core.backlog.table.create(&target.region, &key, spec, BTreeMap::new()).await?;
    core.enter((target.region, target.endpoint), Ticket::of(&stored));
    Ok(())
}

fn spec(
    target: &Target,
    headers: AsyncHeaders,
    body: &Bytes,
    config: &AsyncConfig,
) -> Result<CallSpec, InvokeError> {
    let input = match (headers.input, body.is_empty()) {
        (Some(at), true) => Input::Object(Location(at)),
        (None, false) => Input::inline(body),
        (Some(_), false) | (None, true) => {
            return Err(InvokeError::Invalid(
                "1 validation error detected: Exactly one of Body and InputLocation must be given."
                    .to_owned(),
            ));
        }
    };
    let inference_id = headers.inference_id.unwrap_or_else(|| Uuid::new_v4().to_string());
    let output_name = headers.filename.unwrap_or_else(|| format!("{inference_id}.out"));
    let extension = headers.extension.as_deref();
    let failure_path = config.failure_path.as_deref().unwrap_or(&config.output_path);
    let topic =
        |arn: &Option<String>, has_response| arn.clone().map(|arn| Topic { arn, has_response });
    Ok(CallSpec {
        endpoint: target.endpoint.clone(),
        input,
        content_type: headers.content_type,
        accept: headers.accept,
        custom_attributes: headers.custom_attributes,
        output: place(&config.output_path, extension, &output_name)?,
        failure: place(failure_path, None, &format!("{inference_id}-error.out"))?,
        inference_id,
        ttl_s: headers.ttl_s,
        timeout_s: headers.timeout_s,
        success: topic(&config.success_topic, config.success_has_response),
        error: topic(&config.error_topic, config.error_has_response),
        role_arn: config.role_arn.clone(),
        trace: None,
    })
}

/// The object `name` below `path`.
fn place(path: &str, extension: Option<&str>, name: &str) -> Result<Location, InvokeError> {
    let mut uri = path.trim_end_matches('/').to_owned();
    for part in extension.map(|extension| extension.trim_matches('/')).into_iter().chain([name]) {
        uri.push('/');
        uri.push_str(part);
    }
    let at = ObjectRef::parse(&uri).filter(|at| at.key.len() <= LONGEST_KEY);
    at.map(Location).ok_or_else(|| {
        InvokeError::Invalid(format!(
            "The result cannot be stored as {uri}: a key has at most {LONGEST_KEY} bytes."
        ))
    })
}

impl From<InvokeError> for Refused {
    fn from(error: InvokeError) -> Self {
        Self::Invalid(error)
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    fn check(path: &str, extension: Option<&str>, name: &str, want: &str) {
        assert_eq!(String::from(place(path, extension, name).unwrap()), want);
    }

    #[test]
    fn where_results_go() {
        check("s3://b", None, "1.out", "s3://b/1.out");
        check("s3://b/", None, "1.out", "s3://b/1.out");
        check("s3://b/out", None, "1.out", "s3://b/out/1.out");
        check("s3://b/out/", Some("/tenant/a/"), "r.json", "s3://b/out/tenant/a/r.json");
        assert!(place("s3://b", Some(&"x".repeat(1020)), "1.out").is_err());
    }
}
