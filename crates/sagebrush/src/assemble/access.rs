//! Who may do what.

use std::sync::Arc;

use sagebrush_access::{Access, KeyPair, Parts};

use super::ground::Ground;
use super::unusable;
use crate::config::Config;
use crate::failure::Failure;

/// Reads the users, the roles and their policies.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn open(
    config: &Config,
    ground: &Ground,
    master: [u8; 32],
) -> Result<Arc<Access>, Failure> {
    let parts = Parts {
        store: ground.store.clone(),
        clock: ground.clock.clone(),
        account: ground.account.clone(),
        master,
        root: KeyPair { access_key: config.access_key.clone(), secret: config.secret_key.clone() },
        endpoint_url: config.endpoint_url(),
    };
    Access::open(parts).await.map_err(|error| unusable(&ground.data, &error))
}
