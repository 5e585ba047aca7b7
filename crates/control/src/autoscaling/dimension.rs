//! What of a variant is scaled.

use crate::endpoint::{DeployedVariant, capacity};
use crate::endpoint_config::Scaling;

/// Application Auto Scaling API: `ScalableDimension`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    /// `sagemaker:variant:DesiredInstanceCount`
    InstanceCount,
    /// `sagemaker:variant:DesiredProvisionedConcurrency`
    ProvisionedConcurrency,
}

/// What a variant has of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scalable {
    pub(super) capacity: u32,
    /// More than this cannot be set.
    pub(super) most: u32,
}

impl Dimension {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InstanceCount => "sagemaker:variant:DesiredInstanceCount",
            Self::ProvisionedConcurrency => "sagemaker:variant:DesiredProvisionedConcurrency",
        }
    }

    /// What is set, as activities call it.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::InstanceCount => "desired instance count",
            Self::ProvisionedConcurrency => "desired provisioned concurrency",
        }
    }

    /// `None` of a variant that has no such thing: calls decide over the others.
    pub(super) fn of(self, variant: &DeployedVariant) -> Option<Scalable> {
        match (self, variant.scaling) {
            (Self::InstanceCount, Scaling::Fixed) => {
                Some(Scalable { capacity: variant.instance_count, most: u32::MAX })
            }
            (Self::ProvisionedConcurrency, Scaling::Serverless(serverless)) => Some(Scalable {
                capacity: serverless.provisioned,
                most: serverless.max_concurrency,
            }),
            (Self::InstanceCount, Scaling::Serverless(_) | Scaling::Managed { .. })
            | (Self::ProvisionedConcurrency, Scaling::Fixed | Scaling::Managed { .. }) => None,
        }
    }

    /// What sets a variant to a capacity.
    pub(super) fn change(self, variant: &str, to: u32) -> capacity::Change {
        let change = capacity::Change { variant: variant.to_owned(), ..Default::default() };
        match self {
            Self::InstanceCount => capacity::Change { instance_count: Some(to), ..change },
            Self::ProvisionedConcurrency => {
                capacity::Change { provisioned_concurrency: Some(to), ..change }
            }
        }
    }
}
