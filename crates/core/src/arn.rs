//! Accounts, regions and ARNs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The twelve digits of the account that owns everything here; a setting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AccountId(pub Arc<str>);

/// A region as the credential scope names it. Resources live in one region each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Region(pub Arc<str>);

impl Region {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `arn:aws:sagemaker:us-east-1:123456789012:endpoint/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arn {
    pub service: String,
    pub region: String,
    pub account: String,
    /// What follows the account: `endpoint/name`.
    pub resource: String,
}

impl Arn {
    /// The ARN of a SageMaker resource. SageMaker writes the name in lower case there.
    #[must_use]
    pub fn sagemaker(region: &Region, account: &AccountId, kind: &str, name: &str) -> Self {
        Self {
            service: "sagemaker".to_owned(),
            region: region.to_string(),
            account: account.to_string(),
            resource: format!("{kind}/{}", name.to_ascii_lowercase()),
        }
    }

    /// The parts of `kind/name`.
    #[must_use]
    pub fn kind_and_name(&self) -> Option<(&str, &str)> {
        self.resource.split_once('/')
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, region, account, resource } = self;
        write!(f, "arn:aws:{service}:{region}:{account}:{resource}")
    }
}

/// A string that is not an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ARN: `{0}`")]
pub struct InvalidArn(String);

impl FromStr for Arn {
    type Err = InvalidArn;

    fn from_str(arn: &str) -> Result<Self, InvalidArn> {
        let mut parts = arn.splitn(6, ':');
        let mut part = || parts.next().ok_or_else(|| InvalidArn(arn.to_owned()));
        let prefix_fits = part()? == "arn" && part()?.starts_with("aws");
        if !prefix_fits {
            return Err(InvalidArn(arn.to_owned()));
        }
        Ok(Self {
            service: part()?.to_owned(),
            region: part()?.to_owned(),
            account: part()?.to_owned(),
            resource: part()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Arn;

    #[test]
    fn round_trips() {
        let text = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/digits";
        let arn: Arn = text.parse().unwrap();
        assert_eq!(arn.to_string(), text);
        assert_eq!(arn.kind_and_name(), Some(("endpoint", "digits")));
        assert!("arn:aws:sagemaker".parse::<Arn>().is_err());
        assert!("nonsense".parse::<Arn>().is_err());
    }
}
