//! `endpoint/<endpoint>/variant/<variant>`.

use std::fmt;
use std::str::FromStr;

use sagebrush_core::ResourceName;

/// The variant that a target stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourceId {
    pub(super) endpoint: String,
    pub(super) variant: String,
}

/// A string that names no variant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Unsupported resource ID: {0}. It must be endpoint/<endpoint>/variant/<variant>")]
pub(super) struct NotAVariant(String);

impl FromStr for ResourceId {
    type Err = NotAVariant;

    fn from_str(text: &str) -> Result<Self, NotAVariant> {
        let names = text.strip_prefix("endpoint/").and_then(|rest| rest.split_once("/variant/"));
        let are_names = |names: &(&str, &str)| {
            ResourceName::is_valid(names.0) && ResourceName::is_valid(names.1)
        };
        let (endpoint, variant) =
            names.filter(are_names).ok_or_else(|| NotAVariant(text.to_owned()))?;
        Ok(Self { endpoint: endpoint.to_owned(), variant: variant.to_owned() })
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint/{}/variant/{}", self.endpoint, self.variant)
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
    use super::{ResourceId, key};

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let read = text.parse::<ResourceId>().ok();
        let read = read.as_ref().map(|id| (id.endpoint.as_str(), id.variant.as_str()));
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn a_variant_of_an_endpoint() {
        check("endpoint/e/variant/v", Some(("e", "v")));
        check("endpoint/My-E/variant/AllTraffic", Some(("My-E", "AllTraffic")));
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
    fn the_case_of_an_endpoint_does_not_count() {
        assert_eq!(key("endpoint/E/variant/V:P"), key("endpoint/e/variant/V:P"));
        assert_ne!(key("endpoint/e/variant/v"), key("endpoint/e/variant/V"));
    }
}
