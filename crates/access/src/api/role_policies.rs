//! The policies of roles: documents of its own, and those that are attached.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::policies::{
    LONGEST_OF_ROLE, attach, attached, check_document, delete, detach, inline, put,
};
use super::roles::{no_role, there};
use super::{encoded, page};
use crate::Access;
use crate::book::Book;
use crate::change::unserved;
use crate::policy::Kind;
use crate::records::Role;

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::PutRolePolicy, _, _>(put_role_policy)
        .on::<wire::GetRolePolicy, _, _>(get_role_policy)
        .on::<wire::DeleteRolePolicy, _, _>(delete_role_policy)
        .on::<wire::AttachRolePolicy, _, _>(attach_role_policy)
        .on::<wire::DetachRolePolicy, _, _>(detach_role_policy)
        .on::<wire::ListRolePolicies, _, _>(list_role_policies)
        .on::<wire::ListAttachedRolePolicies, _, _>(list_attached_role_policies)
}

async fn put_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::PutRolePolicyRequest,
) -> Result<Empty, ApiError> {
    check_document(&input.policy_document, Kind::Identity, LONGEST_OF_ROLE)?;
    let name = input.role_name;
    let put = |role: &mut Stored<Role>, _: &_| {
        put(&mut there(role)?.spec.policies, input.policy_name, input.policy_document)
    };
    access.change(&access.roles, &name, || no_role(&name), put).await?;
    Ok(Empty {})
}

async fn get_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::GetRolePolicyRequest,
) -> Result<wire::GetRolePolicyResponse, ApiError> {
    let book = access.book.load();
    let name = input.role_name;
    let role = book.role(&name).ok_or_else(|| no_role(&name))?;
    let document = inline(&role.spec.policies, &input.policy_name)?;
    Ok(wire::GetRolePolicyResponse {
        role_name: role.name.clone(),
        policy_document: encoded(document),
        policy_name: input.policy_name,
    })
}

async fn list_role_policies(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListRolePoliciesRequest,
) -> Result<wire::ListRolePoliciesResponse, ApiError> {
    let book = access.book.load();
    let name = input.role_name;
    let role = book.role(&name).ok_or_else(|| no_role(&name))?;
    let names = role.spec.policies.inline.keys().cloned();
    let (policy_names, marker) =
        page(names, input.marker.as_deref(), input.max_items, Clone::clone);
    let is_truncated = Some(marker.is_some());
    Ok(wire::ListRolePoliciesResponse { policy_names, is_truncated, marker })
}

async fn delete_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DeleteRolePolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.role_name;
    let delete = |role: &mut Stored<Role>, _: &_| {
        delete(&mut there(role)?.spec.policies, &input.policy_name)
    };
    access.change(&access.roles, &name, || no_role(&name), delete).await?;
    Ok(Empty {})
}

async fn attach_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::AttachRolePolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.role_name;
    let attach = |role: &mut Stored<Role>, book: &Book| {
        attach(&mut there(role)?.spec.policies, book, input.policy_arn)
    };
    access.change(&access.roles, &name, || no_role(&name), attach).await?;
    Ok(Empty {})
}

async fn detach_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DetachRolePolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.role_name;
    let detach =
        |role: &mut Stored<Role>, _: &_| detach(&mut there(role)?.spec.policies, &input.policy_arn);
    access.change(&access.roles, &name, || no_role(&name), detach).await?;
    Ok(Empty {})
}

async fn list_attached_role_policies(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListAttachedRolePoliciesRequest,
) -> Result<wire::ListAttachedRolePoliciesResponse, ApiError> {
    unserved("PathPrefix", input.path_prefix.as_ref().filter(|prefix| *prefix != "/"))?;
    let book = access.book.load();
    let name = input.role_name;
    let role = book.role(&name).ok_or_else(|| no_role(&name))?;
    let arns = role.spec.policies.attached.iter().cloned();
    let (arns, marker) = page(arns, input.marker.as_deref(), input.max_items, Clone::clone);
    Ok(wire::ListAttachedRolePoliciesResponse {
        attached_policies: Some(arns.into_iter().map(attached).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}
