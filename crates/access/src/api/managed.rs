//! Policies that can be attached: those of the account and those of AWS.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::policies::{LONGEST_MANAGED, check_document};
use super::{encoded, page, random_id, tag_list, tag_map, to_wire};
use crate::Access;
use crate::book::{Book, arn};
use crate::change::{exists, in_use, no_such, unserved};
use crate::managed::{ALL, AwsManaged, PREFIX};
use crate::policy::Kind;
use crate::records::{ManagedPolicy, ManagedSpec};

/// All policies of AWS came into being at once.
const CREATED: Timestamp = Timestamp(1_735_689_600_000);
/// A policy here has one version.
const VERSION: &str = "v1";

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::CreatePolicy, _, _>(create_policy)
        .on::<wire::GetPolicy, _, _>(get_policy)
        .on::<wire::GetPolicyVersion, _, _>(get_policy_version)
        .on::<wire::ListPolicies, _, _>(list_policies)
        .on::<wire::DeletePolicy, _, _>(delete_policy)
}

async fn create_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::CreatePolicyRequest,
) -> Result<wire::CreatePolicyResponse, ApiError> {
    check_document(&input.policy_document, Kind::Identity, LONGEST_MANAGED)?;
    let name = input.policy_name;
    let spec = ManagedSpec {
        id: random_id("ANPA"),
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        description: input.description,
        document: input.policy_document,
    };
    let taken = || {
        exists(format!("A policy called {name} already exists. Duplicate names are not allowed."))
    };
    let tags = tag_map(input.tags)?;
    let made = access.make(&access.managed, &name, spec, tags, taken).await?;
    let policy = access.wire_policy(&access.book.load(), &made);
    Ok(wire::CreatePolicyResponse { policy: Some(policy) })
}

async fn get_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::GetPolicyRequest,
) -> Result<wire::GetPolicyResponse, ApiError> {
    let book = access.book.load();
    let policy = access.shown(&book, &input.policy_arn)?;
    Ok(wire::GetPolicyResponse { policy: Some(policy) })
}

async fn get_policy_version(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::GetPolicyVersionRequest,
) -> Result<wire::GetPolicyVersionResponse, ApiError> {
    let book = access.book.load();
    let document = book.document(&input.policy_arn).filter(|_| input.version_id == VERSION);
    let document = document.ok_or_else(|| {
        let (arn, version) = (&input.policy_arn, &input.version_id);
        no_such(format!("Policy {arn} version {version} does not exist or is not attachable."))
    })?;
    let policy = access.shown(&book, &input.policy_arn)?;
    Ok(wire::GetPolicyVersionResponse {
        policy_version: Some(wire::PolicyVersion {
            document: Some(encoded(document)),
            version_id: Some(VERSION.to_owned()),
            is_default_version: Some(true),
            create_date: policy.create_date,
        }),
    })
}

async fn list_policies(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListPoliciesRequest,
) -> Result<wire::ListPoliciesResponse, ApiError> {
    unserved("PolicyUsageFilter", input.policy_usage_filter.as_ref())?;
    let book = access.book.load();
    let (has_aws, has_ours) = match input.scope.unwrap_or(wire::PolicyScopeType::All) {
        wire::PolicyScopeType::All => (true, true),
        wire::PolicyScopeType::Aws => (true, false),
        wire::PolicyScopeType::Local => (false, true),
    };
    let aws = ALL.iter().filter(|_| has_aws).map(|policy| wire_aws(&book, policy));
    let ours = book.managed.values().filter(|_| has_ours);
    let mut all: Vec<wire::Policy> =
        aws.chain(ours.map(|policy| access.wire_policy(&book, policy))).collect();
    all.retain(|policy| {
        let is_below = |prefix: &String| {
            policy.path.as_deref().is_some_and(|path| path.starts_with(prefix.as_str()))
        };
        let is_wanted = !input.only_attached.unwrap_or(false) || policy.attachment_count > Some(0);
        is_wanted && input.path_prefix.as_ref().is_none_or(is_below)
    });
    let key = |policy: &wire::Policy| policy.arn.clone().unwrap_or_default();
    all.sort_by_key(key);
    let (policies, marker) = page(all.into_iter(), input.marker.as_deref(), input.max_items, key);
    Ok(wire::ListPoliciesResponse {
        policies: Some(policies),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

async fn delete_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DeletePolicyRequest,
) -> Result<Empty, ApiError> {
    let arn = input.policy_arn;
    if arn.starts_with(PREFIX) {
        return Err(ApiError::validation("A policy of AWS cannot be deleted."));
    }
    let name = access.book.load().managed.get(&arn).map(|policy| policy.name.clone());
    let name = name.ok_or_else(|| no_policy(&arn))?;
    let may_go = |_: &Stored<ManagedPolicy>, book: &Book| match book.attachments(&arn) {
        0 => Ok(()),
        _ => Err(in_use("Cannot delete a policy attached to entities.")),
    };
    access.unmake(&access.managed, &name, || no_policy(&arn), may_go).await?;
    Ok(Empty {})
}

fn no_policy(arn: &str) -> ApiError {
    no_such(format!("Policy {arn} was not found."))
}

impl Access {
    fn shown(&self, book: &Book, arn: &str) -> Result<wire::Policy, ApiError> {
        let aws = AwsManaged::find(arn).map(|policy| wire_aws(book, policy));
        let ours = || book.managed.get(arn).map(|policy| self.wire_policy(book, policy));
        aws.or_else(ours).ok_or_else(|| no_policy(arn))
    }

    fn wire_policy(&self, book: &Book, policy: &Stored<ManagedPolicy>) -> wire::Policy {
        let arn = arn(&self.account, "policy", &policy.spec.path, &policy.name);
        wire::Policy {
            policy_id: Some(policy.spec.id.clone()),
            path: Some(policy.spec.path.clone()),
            description: policy.spec.description.clone(),
            create_date: Some(to_wire(policy.created_at)),
            update_date: Some(to_wire(policy.modified_at)),
            tags: tag_list(&policy.tags),
            ..common(book, &policy.name, arn)
        }
    }
}

fn wire_aws(book: &Book, policy: &AwsManaged) -> wire::Policy {
    wire::Policy {
        policy_id: Some(format!("ANPA{}", policy.name.to_ascii_uppercase())),
        path: Some("/".to_owned()),
        create_date: Some(to_wire(CREATED)),
        update_date: Some(to_wire(CREATED)),
        ..common(book, policy.name, policy.arn())
    }
}

fn common(book: &Book, name: &str, arn: String) -> wire::Policy {
    wire::Policy {
        policy_name: Some(name.to_owned()),
        default_version_id: Some(VERSION.to_owned()),
        attachment_count: i32::try_from(book.attachments(&arn)).ok(),
        permissions_boundary_usage_count: Some(0),
        is_attachable: Some(true),
        arn: Some(arn),
        ..wire::Policy::default()
    }
}
