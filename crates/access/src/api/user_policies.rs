//! The policies of users: documents of its own, and those that are attached.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::policies::{
    LONGEST_OF_USER, attach, attached, check_document, delete, detach, inline, put,
};
use super::users::no_user;
use super::{encoded, page};
use crate::Access;
use crate::book::Book;
use crate::change::unserved;
use crate::policy::Kind;
use crate::records::User;

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::PutUserPolicy, _, _>(put_user_policy)
        .on::<wire::GetUserPolicy, _, _>(get_user_policy)
        .on::<wire::DeleteUserPolicy, _, _>(delete_user_policy)
        .on::<wire::AttachUserPolicy, _, _>(attach_user_policy)
        .on::<wire::DetachUserPolicy, _, _>(detach_user_policy)
        .on::<wire::ListUserPolicies, _, _>(list_user_policies)
        .on::<wire::ListAttachedUserPolicies, _, _>(list_attached_user_policies)
}

async fn put_user_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::PutUserPolicyRequest,
) -> Result<Empty, ApiError> {
    check_document(&input.policy_document, Kind::Identity, LONGEST_OF_USER)?;
    let name = input.user_name;
    let put = |user: &mut Stored<User>, _: &_| {
        put(&mut user.spec.policies, input.policy_name, input.policy_document)
    };
    access.change(&access.users, &name, || no_user(&name), put).await?;
    Ok(Empty {})
}

async fn get_user_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::GetUserPolicyRequest,
) -> Result<wire::GetUserPolicyResponse, ApiError> {
    let book = access.book.load();
    let name = input.user_name;
    let user = book.user(&name).ok_or_else(|| no_user(&name))?;
    let document = inline(&user.spec.policies, &input.policy_name)?;
    Ok(wire::GetUserPolicyResponse {
        user_name: user.name.clone(),
        policy_document: encoded(document),
        policy_name: input.policy_name,
    })
}

async fn list_user_policies(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListUserPoliciesRequest,
) -> Result<wire::ListUserPoliciesResponse, ApiError> {
    let book = access.book.load();
    let name = input.user_name;
    let user = book.user(&name).ok_or_else(|| no_user(&name))?;
    let names = user.spec.policies.inline.keys().cloned();
    let (policy_names, marker) =
        page(names, input.marker.as_deref(), input.max_items, Clone::clone);
    let is_truncated = Some(marker.is_some());
    Ok(wire::ListUserPoliciesResponse { policy_names, is_truncated, marker })
}

async fn delete_user_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DeleteUserPolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.user_name;
    let delete =
        |user: &mut Stored<User>, _: &_| delete(&mut user.spec.policies, &input.policy_name);
    access.change(&access.users, &name, || no_user(&name), delete).await?;
    Ok(Empty {})
}

async fn attach_user_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::AttachUserPolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.user_name;
    let attach = |user: &mut Stored<User>, book: &Book| {
        attach(&mut user.spec.policies, book, input.policy_arn)
    };
    access.change(&access.users, &name, || no_user(&name), attach).await?;
    Ok(Empty {})
}

async fn detach_user_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DetachUserPolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.user_name;
    let detach =
        |user: &mut Stored<User>, _: &_| detach(&mut user.spec.policies, &input.policy_arn);
    access.change(&access.users, &name, || no_user(&name), detach).await?;
    Ok(Empty {})
}

async fn list_attached_user_policies(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListAttachedUserPoliciesRequest,
) -> Result<wire::ListAttachedUserPoliciesResponse, ApiError> {
    unserved("PathPrefix", input.path_prefix.as_ref().filter(|prefix| *prefix != "/"))?;
    let book = access.book.load();
    let name = input.user_name;
    let user = book.user(&name).ok_or_else(|| no_user(&name))?;
    let arns = user.spec.policies.attached.iter().cloned();
    let (arns, marker) = page(arns, input.marker.as_deref(), input.max_items, Clone::clone);
    Ok(wire::ListAttachedUserPoliciesResponse {
        attached_policies: Some(arns.into_iter().map(attached).collect()),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}
