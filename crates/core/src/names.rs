//! Names of resources, parsed at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a model, an endpoint configuration, an endpoint or a variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(String); // Invariant: 1 to 63 of [a-zA-Z0-9-], no dash at either end.

/// A string that is not the name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9]){{0,62}}")]
pub struct InvalidName;

impl ResourceName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if `name` is fit to be the name of a resource.
    #[must_use]
    pub fn is_valid(name: &str) -> bool {
        let dash_at_an_end = name.starts_with('-') || name.ends_with('-');
        let all_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&name.len()) && all_plain && !dash_at_an_end
    }
}

impl FromStr for ResourceName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::is_valid(name).then(|| Self(name.to_owned())).ok_or(InvalidName)
    }
}

impl TryFrom<String> for ResourceName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        name.parse()
    }
}

impl From<ResourceName> for String {
    fn from(name: ResourceName) -> Self {
        name.0
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ResourceName;

    fn check(name: &str, valid: bool) {
        assert_eq!(ResourceName::is_valid(name), valid, "{name:?}");
    }

    #[test]
    fn names_as_sagemaker_takes_them() {
        check("a", true);
        check("My-Model-1", true);
        check("a--b", true);
        check(&"a".repeat(63), true);
        check(&"a".repeat(64), false);
        check("", false);
        check("-a", false);
        check("a-", false);
        check("a_b", false);
        check("../a", false);
        check("a\0", false);
        check("é", false);
    }
}
