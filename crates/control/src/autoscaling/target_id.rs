//! A variant, and what of it is scaled.

use std::fmt;
use std::str::FromStr;

use sagebrush_core::ResourceName;

use super::dimension::Dimension;

/// Follows the resource id in the name of a target that is not of the first dimension.
const PROVISIONED: &str = "/DesiredProvisionedConcurrency";

/// What a target stands for. Written out, it is the name of the target's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetId {
    pub(super) endpoint: String,
    pub(super) variant: String,
    pub(super) dimension: Dimension,
}

/// A string that names no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unsupported resource ID: {0}. It must be endpoint/<endpoint>/variant/<variant>")]
pub(super) struct NotAVariant(String);

impl TargetId {
    /// `resource` is `endpoint/<endpoint>/variant/<variant>`.
    pub(super) fn new(resource: &str, dimension: Dimension) -> Result<Self, NotAVariant> {
        let names =
            resource.strip_prefix("endpoint/").and_then(|rest| rest.split_once("/variant/"));
        let are_names = |names: &(&str, &str)| {
            ResourceName::is_valid(names.0) && ResourceName::is_valid(names.1)
        };
        let (endpoint, variant) =
            names.filter(are_names).ok_or_else(|| NotAVariant(resource.to_owned()))?;
        Ok(Self { endpoint: endpoint.to_owned(), variant: variant.to_owned(), dimension })
    }

    /// Application Auto Scaling API: `ResourceId`.
    pub(super) fn resource(&self) -> String {
        format!("endpoint/{}/variant/{}", self.endpoint, self.variant)
    }
}

impl FromStr for TargetId {
    type Err = NotAVariant;

    fn from_str(name: &str) -> Result<Self, NotAVariant> {
        let (resource, dimension) = parts(name);
        Self::new(resource, dimension)
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.dimension {
            Dimension::InstanceCount => "",
            Dimension::ProvisionedConcurrency => PROVISIONED,
        };
        write!(f, "{}{suffix}", self.resource())
    }
}

/// The resource id and the dimension in the name of a target.
pub(super) fn parts(name: &str) -> (&str, Dimension) {
    match name.strip_suffix(PROVISIONED) {
        Some(resource) => (resource, Dimension::ProvisionedConcurrency),
        None => (name, Dimension::InstanceCount),
    }
}

/// What is unique of a name that begins with a resource id: endpoints are told apart without
/// their case.
pub(super) fn key(name: &str) -> String {
    match name.split_once("/variant/") {
        Some((endpoint, rest)) => format!("{}/variant/{rest}", endpoint.to_ascii_lowercase()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Dimension, TargetId, key, parts};

    fn check(text: &str, expected: Option<(&str, &str, Dimension)>) {
        let read = text.parse::<TargetId>().ok();
        let read =
            read.as_ref().map(|id| (id.endpoint.as_str(), id.variant.as_str(), id.dimension));
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn a_variant_of_an_endpoint() {
        check("endpoint/e/variant/v", Some(("e", "v", Dimension::InstanceCount)));
        check("endpoint/My-E/variant/All", Some(("My-E", "All", Dimension::InstanceCount)));
        check(
            "endpoint/e/variant/v/DesiredProvisionedConcurrency",
            Some(("e", "v", Dimension::ProvisionedConcurrency)),
        );
        for other in [
            "",
            "endpoint/e",
            "endpoint/e/variant/",
            "endpoint//variant/v",
            "endpoint/e/variant/v/w",
            "inference-component/c",
            "e/variant/v",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn both_dimensions_of_a_variant_are_told_apart() {
        for dimension in [Dimension::InstanceCount, Dimension::ProvisionedConcurrency] {
            let id = TargetId::new("endpoint/e/variant/v", dimension).unwrap();
            assert_eq!(parts(&id.to_string()), ("endpoint/e/variant/v", dimension));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let suffixed = "endpoint/e/variant/v/DesiredProvisionedConcurrency";
        assert!(TargetId::new(suffixed, Dimension::InstanceCount).is_err());
    }

    #[test]
    fn the_case_of_an_endpoint_does_not_count() {
        assert_eq!(key("endpoint/E/variant/V:P"), key("endpoint/e/variant/V:P"));
        assert_ne!(key("endpoint/e/variant/v"), key("endpoint/e/variant/V"));
    }
}
