//! Weights and counts of an endpoint that serves, changed without another deployment.

use sagebrush_core::Region;
use sagebrush_core::resource::Table;
use sagebrush_core::store::StoreError;

use super::{Endpoint, EndpointState};

/// What is to change of one variant. SageMaker API: `DesiredWeightAndCapacity`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) variant: String,
    pub(crate) weight: Option<f32>,
    pub(crate) instance_count: Option<u32>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no endpoint {0}")]
    NoEndpoint(String),
    #[error("the endpoint is {0}")]
    InProgress(&'static str),
    #[error("the endpoint has no variant {0}")]
    NoVariant(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Has the endpoint brought to other weights and counts: it is `Updating` until its instances are
/// there, and answers meanwhile. The reconciler has to be woken.
pub(crate) async fn change(
    endpoints: &Table<Endpoint>,
    region: &Region,
    name: &str,
    changes: &[Change],
) -> Result<(), ChangeError> {
    let found = endpoints.get(region, name).await?;
    let mut endpoint = found.ok_or_else(|| ChangeError::NoEndpoint(name.to_owned()))?;
    let EndpointState::InService { serving, .. } = &endpoint.status else {
        return Err(ChangeError::InProgress(endpoint.status.word()));
    };
    let mut wanted = serving.clone();
    for change in changes {
        let variant = wanted.all_variants_mut().find(|variant| variant.name == change.variant);
        let variant = variant.ok_or_else(|| ChangeError::NoVariant(change.variant.clone()))?;
        variant.weight = change.weight.unwrap_or(variant.weight);
        variant.instance_count = change.instance_count.unwrap_or(variant.instance_count);
    }
    endpoint.status = EndpointState::Updating { serving: serving.clone() };
    endpoint.spec.wanted = wanted;
    endpoints.update(endpoint).await?;
    Ok(())
}
