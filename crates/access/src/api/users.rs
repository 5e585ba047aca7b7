//! Users.

use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::{page, random_id, tag_list, tag_map, to_wire};
use crate::Access;
use crate::book::arn;
use crate::change::{exists, in_use, no_such, unserved};
use crate::records::{Policies, User, UserSpec};

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::CreateUser, _, _>(create_user)
        .on::<wire::GetUser, _, _>(get_user)
        .on::<wire::ListUsers, _, _>(list_users)
        .on::<wire::DeleteUser, _, _>(delete_user)
}

async fn create_user(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::CreateUserRequest,
) -> Result<wire::CreateUserResponse, ApiError> {
    unserved("PermissionsBoundary", input.permissions_boundary.as_ref())?;
    let name = input.user_name;
    let spec = UserSpec {
        id: random_id("AIDA"),
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        keys: Vec::new(),
        policies: Policies::default(),
    };
    let taken = || exists(format!("User with name {name} already exists."));
    let tags = tag_map(input.tags)?;
    let made = access.make(&access.users, &name, spec, tags, taken).await?;
    Ok(wire::CreateUserResponse { user: Some(access.wire_user(&made)) })
}

async fn get_user(
    access: Arc<Access>,
    ctx: Context,
    input: wire::GetUserRequest,
) -> Result<wire::GetUserResponse, ApiError> {
    let name = access.named_or_caller(&ctx, input.user_name)?;
    let book = access.book.load();
    let user = book.user(&name).ok_or_else(|| no_user(&name))?;
    Ok(wire::GetUserResponse { user: access.wire_user(user) })
}

async fn list_users(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListUsersRequest,
) -> Result<wire::ListUsersResponse, ApiError> {
    let book = access.book.load();
    let prefix = input.path_prefix.unwrap_or_default();
    let users = book.users.iter().filter(|(_, user)| user.spec.path.starts_with(&prefix));
    let (users, marker) =
        page(users, input.marker.as_deref(), input.max_items, |(key, _)| (*key).clone());
    Ok(wire::ListUsersResponse {
        users: users.into_iter().map(|(_, user)| access.wire_user(user)).collect(),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

async fn delete_user(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DeleteUserRequest,
) -> Result<Empty, ApiError> {
    let name = input.user_name;
    let may_go = |user: &Stored<User>, _: &_| {
        let policies = &user.spec.policies;
        if !user.spec.keys.is_empty() {
            Err(in_use("Cannot delete entity, must delete access keys first."))
        } else if !policies.attached.is_empty() {
            Err(in_use("Cannot delete entity, must detach all policies first."))
        } else if !policies.inline.is_empty() {
            Err(in_use("Cannot delete entity, must delete policies first."))
        } else {
            Ok(())
        }
    };
    access.unmake(&access.users, &name, || no_user(&name), may_go).await?;
    Ok(Empty {})
}

pub(super) fn no_user(name: &str) -> ApiError {
    no_such(format!("The user with name {name} cannot be found."))
}

impl Access {
    /// The user that is named, or the one who asks.
    pub(super) fn named_or_caller(
        &self,
        ctx: &Context,
        named: Option<String>,
    ) -> Result<String, ApiError> {
        let caller = || self.book.load().key(&ctx.access_key).map(|key| key.user.name.clone());
        named.or_else(caller).ok_or_else(|| {
            ApiError::validation("Must specify userName when calling with non-User credentials")
        })
    }

    fn wire_user(&self, user: &Stored<User>) -> wire::User {
        wire::User {
            path: user.spec.path.clone(),
            user_name: user.name.clone(),
            user_id: user.spec.id.clone(),
            arn: arn(&self.account, "user", &user.spec.path, &user.name),
            create_date: to_wire(user.created_at),
            tags: tag_list(&user.tags),
            ..wire::User::default()
        }
    }
}
