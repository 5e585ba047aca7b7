//! Who may do what: the seam between the doors and those who know the policies.

mod roles;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use roles::{RoleArtifacts, RoleObjects, Roles};

/// Says who may do what. Asked with each call; it must not wait.
pub trait Authorizer: Send + Sync + 'static {
    /// True for those who may do everything, whatever it is: no need to name it.
    fn is_unlimited(&self, caller: &Caller<'_>) -> bool;

    /// Whether `caller` may do what it asks for.
    ///
    /// # Errors
    /// When no policy allows it, or one denies it.
    fn check(&self, caller: &Caller<'_>, asked: &Asked<'_>) -> Result<(), Denied>;
}

/// Who asks, as the doors know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller<'a> {
    /// Somebody who signed with an access key of its own.
    Key(&'a str),
    /// Somebody who signed with the keys of an assumed role.
    Session {
        role_arn: &'a str,
        name: &'a str,
        /// The policy that was passed to `AssumeRole`, which limits the session further.
        policy: Option<&'a str>,
    },
    /// The server itself, on behalf of a role.
    Role { arn: &'a str },
}

/// One thing that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `sagemaker:CreateModel`.
    pub action: &'a str,
    /// An ARN, or `*` where the action has no resource.
    pub resource: &'a str,
    /// Empty where there is none.
    pub region: &'a str,
    pub source_ip: Option<IpAddr>,
    /// Whether the caller's side of the connection is encrypted.
    pub is_secure: bool,
    /// What conditions may ask for beyond what is known of every call: `s3:prefix`.
    pub more: &'a [(&'a str, &'a str)],
}

impl<'a> Asked<'a> {
    #[must_use]
    pub fn new(action: &'a str, resource: &'a str) -> Self {
        Self { action, resource, region: "", source_ip: None, is_secure: false, more: &[] }
    }
}

/// Why not, in AWS's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Lets everybody do everything: for tests of what stands behind it.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn is_unlimited(&self, _: &Caller<'_>) -> bool {
        true
    }

    fn check(&self, _: &Caller<'_>, _: &Asked<'_>) -> Result<(), Denied> {
        Ok(())
    }
}

impl Roles for AllowAll {
    fn environment(&self, _: &str, _: &str) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}
