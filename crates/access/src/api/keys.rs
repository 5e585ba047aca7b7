//! Access keys of users. A secret is shown once.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::resource::Stored;
use sagebrush_wire::{Empty, iam as wire};

use super::users::no_user;
use super::{letter, page, to_wire};
use crate::Access;
use crate::change::{no_such, too_many};
use crate::records::{AccessKey, User};

/// IAM's quota `AccessKeysPerUser`.
const MAX_KEYS: usize = 2;

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::CreateAccessKey, _, _>(create_access_key)
        .on::<wire::ListAccessKeys, _, _>(list_access_keys)
        .on::<wire::UpdateAccessKey, _, _>(update_access_key)
        .on::<wire::DeleteAccessKey, _, _>(delete_access_key)
}

async fn create_access_key(
    access: Arc<Access>,
    ctx: Context,
    input: wire::CreateAccessKeyRequest,
) -> Result<wire::CreateAccessKeyResponse, ApiError> {
    let name = access.named_or_caller(&ctx, input.user_name)?;
    let id: String = "AKIA".chars().chain(rand::random::<[u8; 16]>().map(letter)).collect();
    // 30 bytes are the 40 characters that secrets have.
    let secret = BASE64_STANDARD.encode(rand::random::<[u8; 30]>());
    let sealed = access.seal.close(&id, &secret).map_err(ApiError::internal)?;
    let created_at = access.clock.now();
    let key = AccessKey { id: id.clone(), sealed, is_active: true, created_at };
    let add = |user: &mut Stored<User>, _: &_| {
        if user.spec.keys.len() >= MAX_KEYS {
            let message = format!("Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}");
            return Err(too_many(message));
        }
        user.spec.keys.push(key);
        Ok(user.name.clone())
    };
    let user_name = access.change(&access.users, &name, || no_user(&name), add).await?;
    let access_key = wire::AccessKey {
        user_name,
        access_key_id: id,
        status: wire::StatusType::Active,
        secret_access_key: secret,
        create_date: Some(to_wire(created_at)),
    };
    Ok(wire::CreateAccessKeyResponse { access_key })
}

async fn list_access_keys(
    access: Arc<Access>,
    ctx: Context,
    input: wire::ListAccessKeysRequest,
) -> Result<wire::ListAccessKeysResponse, ApiError> {
    let name = access.named_or_caller(&ctx, input.user_name)?;
    let book = access.book.load();
    let user = book.user(&name).ok_or_else(|| no_user(&name))?;
    let mut keys: Vec<&AccessKey> = user.spec.keys.iter().collect();
    keys.sort_by(|one, other| one.id.cmp(&other.id));
    let (keys, marker) =
        page(keys.into_iter(), input.marker.as_deref(), input.max_items, |key| key.id.clone());
    let shown = |key: &AccessKey| wire::AccessKeyMetadata {
        user_name: Some(user.name.clone()),
        access_key_id: Some(key.id.clone()),
        status: Some(status(key.is_active)),
        create_date: Some(to_wire(key.created_at)),
    };
    Ok(wire::ListAccessKeysResponse {
        access_key_metadata: keys.into_iter().map(shown).collect(),
        is_truncated: Some(marker.is_some()),
        marker,
    })
}

fn status(is_active: bool) -> wire::StatusType {
    if is_active { wire::StatusType::Active } else { wire::StatusType::Inactive }
}

async fn update_access_key(
    access: Arc<Access>,
    ctx: Context,
    input: wire::UpdateAccessKeyRequest,
) -> Result<Empty, ApiError> {
    let name = access.named_or_caller(&ctx, input.user_name)?;
    let is_active = match input.status {
        wire::StatusType::Active => true,
        wire::StatusType::Inactive => false,
        wire::StatusType::Expired => {
            return Err(ApiError::validation("Status Expired cannot be set."));
        }
    };
    let id = input.access_key_id;
    let update = |user: &mut Stored<User>, _: &_| {
        let key = user.spec.keys.iter_mut().find(|key| key.id == id);
        key.ok_or_else(|| no_key(&id))?.is_active = is_active;
        Ok(())
    };
    access.change(&access.users, &name, || no_user(&name), update).await?;
    Ok(Empty {})
}

async fn delete_access_key(
    access: Arc<Access>,
    ctx: Context,
    input: wire::DeleteAccessKeyRequest,
) -> Result<Empty, ApiError> {
    let name = access.named_or_caller(&ctx, input.user_name)?;
    let id = input.access_key_id;
    let delete = |user: &mut Stored<User>, _: &_| {
        let n_before = user.spec.keys.len();
        user.spec.keys.retain(|key| key.id != id);
        if user.spec.keys.len() == n_before { Err(no_key(&id)) } else { Ok(()) }
    };
    access.change(&access.users, &name, || no_user(&name), delete).await?;
    Ok(Empty {})
}

fn no_key(id: &str) -> ApiError {
    no_such(format!("The Access Key with id {id} cannot be found."))
}
