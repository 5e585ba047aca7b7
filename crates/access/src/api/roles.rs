//! Roles. One that nobody made is there for those who ask for it by name: SageMaker's SDKs and
//! their samples name any.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::policies::{LONGEST_TRUST, check_document};
use super::{encoded, page, role_id, tag_list, tag_map, to_wire};
use crate::Access;
use crate::book::{RoleIs, arn};
use crate::change::{exists, in_use, no_such, unserved};
use crate::policy::Kind;
use crate::records::{Policies, Role, RoleSpec, region};

/// IAM API: `MaxSessionDuration` unless given.
const SESSION_SECONDS: i32 = 3600;
/// All roles that nobody made came into being at once, so that `GetRole` answers the same each
/// time.
const CREATED: Timestamp = Timestamp(1_735_689_600_000);
/// What SageMaker's SDKs want to see: the service may act in this role.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::CreateRole, _, _>(create_role)
        .on::<wire::GetRole, _, _>(get_role)
        .on::<wire::ListRoles, _, _>(list_roles)
        .on::<wire::DeleteRole, _, _>(delete_role)
        .on::<wire::UpdateAssumeRolePolicy, _, _>(update_assume_role_policy)
}

async fn create_role(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::CreateRoleRequest,
) -> Result<wire::CreateRoleResponse, ApiError> {
    unserved("PermissionsBoundary", input.permissions_boundary.as_ref())?;
    check_document(&input.assume_role_policy_document, Kind::Trust, LONGEST_TRUST)?;
    let name = input.role_name;
    let spec = RoleSpec {
        path: input.path.unwrap_or_else(|| "/".to_owned()),
        description: input.description,
        max_session_s: input.max_session_duration.unwrap_or(SESSION_SECONDS),
        trust: input.assume_role_policy_document,
        policies: Policies::default(),
        is_deleted: false,
    };
    let tags = tag_map(input.tags)?;
    let made = access.make_role(&name, spec, tags).await?;
    Ok(wire::CreateRoleResponse { role: access.wire_role(&made) })
}

async fn get_role(
    access: Arc<Access>,
    ctx: Context,
    input: wire::GetRoleRequest,
) -> Result<wire::GetRoleResponse, ApiError> {
    let name = input.role_name;
    let book = access.book.load();
    let role = match (book.role(&name), book.role_is(&name)) {
        (Some(role), _) => access.wire_role(role),
        (None, RoleIs::Unmade) => unmade(&ctx, name),
        (None, RoleIs::Deleted | RoleIs::Made(_)) => return Err(no_role(&name)),
    };
    Ok(wire::GetRoleResponse { role })
}

fn unmade(ctx: &Context, name: String) -> wire::Role {
    wire::Role {
        path: "/".to_owned(),
        role_id: role_id(&name),
        arn: arn(&ctx.account, "role", "/", &name),
        role_name: name,
        create_date: to_wire(CREATED),
        assume_role_policy_document: Some(encoded(TRUST)),
        max_session_duration: Some(SESSION_SECONDS),
        ..wire::Role::default()
    }
}

async fn list_roles(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::ListRolesRequest,
) -> Result<wire::ListRolesResponse, ApiError> {
    let book = access.book.load();
    let prefix = input.path_prefix.unwrap_or_default();
    let roles = book.roles.iter().filter(|(_, role)| !role.spec.is_deleted);
    let roles = roles.filter(|(_, role)| role.spec.path.starts_with(&prefix));
    let (roles, marker) =
        page(roles, input.marker.as_deref(), input.max_items, |(key, _)| (*key).clone());
    Ok(wire::ListRolesResponse {
        roles: roles.into_iter().map(|(_, role)| access.wire_role(role)).collect(),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

async fn delete_role(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::DeleteRoleRequest,
) -> Result<Empty, ApiError> {
    let name = input.role_name;
    let delete = |role: &mut Stored<Role>, _: &_| {
        let policies = &role.spec.policies;
        if role.spec.is_deleted {
            return Err(no_role(&name));
        }
        if !policies.attached.is_empty() {
            return Err(in_use("Cannot delete entity, must detach all policies first."));
        }
        if !policies.inline.is_empty() {
            return Err(in_use("Cannot delete entity, must delete policies first."));
        }
        role.spec.is_deleted = true;
        Ok(())
    };
    access.change(&access.roles, &name, || no_role(&name), delete).await?;
    Ok(Empty {})
}

async fn update_assume_role_policy(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::UpdateAssumeRolePolicyRequest,
) -> Result<Empty, ApiError> {
    let name = input.role_name;
    check_document(&input.policy_document, Kind::Trust, LONGEST_TRUST)?;
    let update = |role: &mut Stored<Role>, _: &_| {
        there(role)?.spec.trust = input.policy_document;
        Ok(())
    };
    access.change(&access.roles, &name, || no_role(&name), update).await?;
    Ok(Empty {})
}

/// A role that was not deleted.
pub(super) fn there(role: &mut Stored<Role>) -> Result<&mut Stored<Role>, ApiError> {
    if role.spec.is_deleted { Err(no_role(&role.name)) } else { Ok(role) }
}

pub(super) fn no_role(name: &str) -> ApiError {
    no_such(format!("The role with name {name} cannot be found."))
}

impl Access {
    /// A new role takes the place of a deleted one in one step: there is no moment in which nobody
    /// has made it.
    async fn make_role(
        &self,
        name: &str,
        spec: RoleSpec,
        tags: BTreeMap<String, String>,
    ) -> Result<Stored<Role>, ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        let made = match self.roles.get(&region(), name).await? {
            None => self.roles.create(&region(), name, spec, tags).await?,
            Some(old) if old.spec.is_deleted => {
                let (name, created_at) = (name.to_owned(), self.clock.now());
                self.roles.update(Stored { name, spec, tags, created_at, ..old }).await?
            }
            Some(_) => return Err(exists(format!("Role with name {name} already exists."))),
        };
        self.reload().await?;
        Ok(made)
    }

    fn wire_role(&self, role: &Stored<Role>) -> wire::Role {
        wire::Role {
            path: role.spec.path.clone(),
            role_name: role.name.clone(),
            role_id: role_id(&role.name),
            arn: arn(&self.account, "role", &role.spec.path, &role.name),
            create_date: to_wire(role.created_at),
            assume_role_policy_document: Some(encoded(&role.spec.trust)),
            description: role.spec.description.clone(),
            max_session_duration: Some(role.spec.max_session_s),
            tags: tag_list(&role.tags),
            ..wire::Role::default()
        }
    }
}
