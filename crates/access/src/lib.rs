//! Who is who, and who may do what: users with access keys, roles, and their policies, as IAM and
//! STS have them.
//!
//! - [`policy`]: the language of policies, compiled and decided. Pure.
//! - [`Access`]: the one who knows. The doors ask it for secrets and for permission; each answer
//!   comes from a snapshot in memory ([`book`]), which a change replaces before it is answered.
//! - [`api`]: the operations of IAM and STS.

mod api;
mod book;
mod change;
mod doorkeeper;
mod managed;
pub mod policy;
mod records;
mod role_keys;
mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use sagebrush_aws::sigv4::{StaticKeys, TemporaryKeys};
use sagebrush_core::resource::Table;
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Clock};
use tokio::sync::Mutex;

use self::book::Book;
use self::records::{ManagedPolicy, Role, User};
use self::role_keys::RoleKeys;
use self::seal::Seal;

pub use api::operations;

/// What access stands on.
pub struct Parts {
    pub store: Arc<dyn MetaStore>,
    pub clock: Arc<dyn Clock>,
    pub account: AccountId,
    /// The secret of the data directory; other secrets are derived from it.
    pub master: [u8; 32],
    /// The key pair of the settings, which may do everything.
    pub root: KeyPair,
    /// Where models' code finds this server.
    pub endpoint_url: String,
}

/// An access key and its secret.
pub struct KeyPair {
    pub access_key: String,
    pub secret: String,
}

/// Knows all users, roles and policies.
pub struct Access {
    account: AccountId,
    clock: Arc<dyn Clock>,
    root: String,
    fixed: StaticKeys,
    temporary: TemporaryKeys,
    seal: Seal,
    users: Table<User>,
    roles: Table<Role>,
    managed: Table<ManagedPolicy>,
    role_keys: RoleKeys,
    endpoint_url: String,
    /// What the records say, ready to be asked.
    book: ArcSwap<Book>,
    /// Held by the one who changes records, until the book says the same.
    changing: Mutex<()>,
}

impl Access {
    /// Reads what is stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, StoreError> {
        let Parts { store, clock, account, master, root, endpoint_url } = parts;
        let access = Self {
            account,
            fixed: StaticKeys::default().with(&root.access_key, &root.secret),
            root: root.access_key,
            temporary: TemporaryKeys::new(master),
            seal: Seal::new(&master),
            users: Table::new(store.clone(), clock.clone()),
            roles: Table::new(store.clone(), clock.clone()),
            managed: Table::new(store, clock.clone()),
            clock,
            role_keys: RoleKeys::default(),
            endpoint_url,
            book: ArcSwap::default(),
            changing: Mutex::default(),
        };
        access.reload().await?;
        Ok(Arc::new(access))
    }
}
