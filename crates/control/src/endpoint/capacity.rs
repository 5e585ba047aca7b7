//! Weights and counts of an endpoint that serves, changed without another configuration.

use std::collections::BTreeSet;

use sagebrush_core::Region;
use sagebrush_core::resource::Table;
use sagebrush_core::store::StoreError;
use uuid::Uuid;

use super::{DeployedVariant, Deployment, Endpoint, EndpointState};
use crate::endpoint_config::{Scaling, Serverless};

/// The most instances that a variant may be told to have.
const MOST_INSTANCES: u32 = 1000;

/// What is to change of one variant. SageMaker API: `DesiredWeightAndCapacity`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) variant: String,
    pub(crate) weight: Option<f32>,
    /// 0 is a count as any other: calls are refused.
    pub(crate) instance_count: Option<u32>,
    /// `ServerlessUpdateConfig.MaxConcurrency`.
    pub(crate) max_concurrency: Option<u32>,
    /// `ServerlessUpdateConfig.ProvisionedConcurrency`.
    pub(crate) provisioned_concurrency: Option<u32>,
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
    #[error("{0}")]
    Invalid(String),
    #[error(
        "variant {variant} cannot have {count} instances: the limit of this server is \
         {MOST_INSTANCES}"
    )]
    TooMany { variant: String, count: u32 },
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
    let wanted = changed(serving, changes)?;
    let serving = serving.clone();
    endpoint.status = EndpointState::Updating { serving, rollout: Box::default() };
    endpoint.spec.wanted = wanted;
    endpoints.update(endpoint).await?;
    Ok(())
}

/// What `serving` is with the changes made.
fn changed(serving: &Deployment, changes: &[Change]) -> Result<Deployment, ChangeError> {
    let mut wanted = serving.clone();
    let mut names = BTreeSet::new();
    for change in changes {
        if !names.insert(&change.variant) {
            return Err(ChangeError::Invalid(format!(
                "Variant names must be unique within a request: {} is there twice.",
                change.variant
            )));
        }
        let variant = wanted.all_variants_mut().find(|variant| variant.name == change.variant);
        let variant = variant.ok_or_else(|| ChangeError::NoVariant(change.variant.clone()))?;
        change.make(variant)?;
    }
    if wanted.variants.iter().all(|variant| variant.weight <= 0.0) {
        let message = "At least one variant must have a weight greater than 0.";
        return Err(ChangeError::Invalid(message.to_owned()));
    }
    let scales = |deployment: &Deployment| {
        deployment.all_variants().map(|variant| variant.scaling).collect::<Vec<_>>()
    };
    if scales(&wanted) != scales(serving) {
        // Workers are started for so many calls at once: others are another fleet.
        wanted.revision = Uuid::now_v7().simple().to_string();
    }
    Ok(wanted)
}

impl Change {
    fn make(&self, variant: &mut DeployedVariant) -> Result<(), ChangeError> {
        variant.weight = self.weight.unwrap_or(variant.weight);
        if let Some(count) = self.instance_count {
            variant.instance_count = self.count(count, variant.scaling)?;
        }
        if self.max_concurrency.is_some() || self.provisioned_concurrency.is_some() {
            variant.scaling = self.concurrency(variant.scaling)?;
        }
        Ok(())
    }

    fn count(&self, count: u32, scaling: Scaling) -> Result<u32, ChangeError> {
        match scaling {
            Scaling::Fixed if count > MOST_INSTANCES => {
                Err(ChangeError::TooMany { variant: self.variant.clone(), count })
            }
            Scaling::Fixed => Ok(count),
            Scaling::Serverless(_) => Err(self.invalid(
                "has a ServerlessConfig: ServerlessUpdateConfig changes it, DesiredInstanceCount \
                 cannot",
            )),
            Scaling::Managed { .. } => Err(self.invalid(
                "has ManagedInstanceScaling, which decides how many instances it has: \
                 DesiredInstanceCount cannot",
            )),
        }
    }

    fn concurrency(&self, scaling: Scaling) -> Result<Scaling, ChangeError> {
        let Scaling::Serverless(before) = scaling else {
            return Err(
                self.invalid("has no ServerlessConfig that a ServerlessUpdateConfig could change")
            );
        };
        let after = Serverless {
            max_concurrency: self.max_concurrency.unwrap_or(before.max_concurrency),
            provisioned: self.provisioned_concurrency.unwrap_or(before.provisioned),
            ..before
        };
        if !(1..=200).contains(&after.max_concurrency) {
            return Err(self.invalid("must have a MaxConcurrency from 1 to 200"));
        }
        if after.provisioned > after.max_concurrency {
            return Err(self.invalid(&format!(
                "would have a ProvisionedConcurrency of {}, which is greater than its \
                 MaxConcurrency, {}",
                after.provisioned, after.max_concurrency
            )));
        }
        Ok(Scaling::Serverless(after))
    }

    fn invalid(&self, what: &str) -> ChangeError {
        ChangeError::Invalid(format!("Variant {} {what}.", self.variant))
    }
}
