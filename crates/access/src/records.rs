//! What is stored of users, roles and policies.

use std::collections::{BTreeMap, BTreeSet};

use sagebrush_core::resource::Resource;
use sagebrush_core::{Region, Timestamp};
use serde::{Deserialize, Serialize};

/// IAM has one region.
pub(crate) fn region() -> Region {
    Region::new("aws-global")
}

/// Somebody with access keys of its own.
pub(crate) struct User;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UserSpec {
    /// `AIDA..`, another one if the name is taken again.
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) keys: Vec<AccessKey>,
    pub(crate) policies: Policies,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    /// The secret, sealed: signatures cannot be checked without it.
    pub(crate) sealed: String,
    pub(crate) is_active: bool,
    pub(crate) created_at: Timestamp,
}

/// What somebody may do.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Policies {
    /// Documents by the names of their policies.
    pub(crate) inline: BTreeMap<String, String>,
    /// ARNs.
    pub(crate) attached: BTreeSet<String>,
}

/// Somebody to act as.
pub(crate) struct Role;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoleSpec {
    pub(crate) path: String,
    pub(crate) description: Option<String>,
    pub(crate) max_session_s: i32,
    pub(crate) trust: String,
    pub(crate) policies: Policies,
    /// A role that nobody made may do everything, so one that was deleted is remembered: else its
    /// sessions would be allowed more than before.
    pub(crate) is_deleted: bool,
}

/// A policy that can be attached.
pub(crate) struct ManagedPolicy;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ManagedSpec {
    pub(crate) id: String,
    pub(crate) path: String,
    pub(crate) description: Option<String>,
    pub(crate) document: String,
}

impl Resource for User {
    const KIND: &'static str = "iam-user";
    type Spec = UserSpec;
    type Status = ();

    fn key(name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn status_word((): &()) -> &str {
        ""
    }
}

impl Resource for Role {
    const KIND: &'static str = "iam-role";
    type Spec = RoleSpec;
    type Status = ();

    fn key(name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn status_word((): &()) -> &str {
        ""
    }
}

impl Resource for ManagedPolicy {
    const KIND: &'static str = "iam-policy";
    type Spec = ManagedSpec;
    type Status = ();

    fn key(name: &str) -> String {
        name.to_ascii_lowercase()
    }

    fn status_word((): &()) -> &str {
        ""
    }
}
