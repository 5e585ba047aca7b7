//! What the records say, compiled: made anew with each change, and never changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sagebrush_core::AccountId;
use sagebrush_core::resource::{Resource, Stored};
use sagebrush_core::store::StoreError;

use crate::Access;
use crate::managed::AwsManaged;
use crate::policy::{Kind, Policy};
use crate::records::{ManagedPolicy, Policies, Role, User};
use crate::seal::Seal;

/// All users, roles and policies, by what they are looked for.
#[derive(Default)]
pub(crate) struct Book {
    /// By their names in lower case, as the roles.
    pub(crate) users: BTreeMap<String, Stored<User>>,
    /// With those that are deleted.
    pub(crate) roles: BTreeMap<String, Stored<Role>>,
    /// By their ARNs.
    pub(crate) managed: BTreeMap<String, Stored<ManagedPolicy>>,
    /// Users by their active access keys.
    keys: HashMap<String, Key>,
    bearers: HashMap<String, Arc<Bearer>>,
}

/// An access key that may sign.
pub(crate) struct Key {
    pub(crate) secret: Arc<str>,
    pub(crate) user: Arc<Bearer>,
}

/// Somebody who has policies.
pub(crate) struct Bearer {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) policies: Vec<Named>,
    /// A policy of it cannot be read. It might deny anything.
    pub(crate) is_broken: bool,
    /// Of roles: who may assume them.
    pub(crate) trust: Option<Policy>,
}

/// A policy and its name, or its ARN.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) policy: Arc<Policy>,
}

/// What is known of a role.
pub(crate) enum RoleIs<'b> {
    /// Nobody made it; samples name any.
    Unmade,
    Deleted,
    Made(&'b Arc<Bearer>),
}

impl Book {
    pub(crate) fn key(&self, access_key: &str) -> Option<&Key> {
        self.keys.get(access_key)
    }

    pub(crate) fn user(&self, name: &str) -> Option<&Stored<User>> {
        self.users.get(&User::key(name))
    }

    /// A role that is there.
    pub(crate) fn role(&self, name: &str) -> Option<&Stored<Role>> {
        self.roles.get(&Role::key(name)).filter(|role| !role.spec.is_deleted)
    }

    pub(crate) fn role_is(&self, name: &str) -> RoleIs<'_> {
        let key = Role::key(name);
        match (self.bearers.get(&format!("role/{key}")), self.roles.get(&key)) {
            (Some(bearer), _) => RoleIs::Made(bearer),
            (None, Some(_)) => RoleIs::Deleted,
            (None, None) => RoleIs::Unmade,
        }
    }

    pub(crate) fn user_bearer(&self, name: &str) -> Option<&Arc<Bearer>> {
        self.bearers.get(&format!("user/{}", User::key(name)))
    }

    /// How many users and roles have the managed policy `arn`.
    pub(crate) fn attachments(&self, arn: &str) -> usize {
        let users = self.users.values().map(|user| &user.spec.policies);
        let roles = self.roles.values().filter(|role| !role.spec.is_deleted);
        let all = users.chain(roles.map(|role| &role.spec.policies));
        all.filter(|policies| policies.attached.contains(arn)).count()
    }

    /// The document of a managed policy, ours or AWS's.
    pub(crate) fn document(&self, arn: &str) -> Option<&str> {
        let aws = AwsManaged::find(arn).map(|policy| policy.document);
        aws.or_else(|| self.managed.get(arn).map(|policy| policy.spec.document.as_str()))
    }
}

/// `arn:aws:iam::123456789012:user/path/name`.
pub(crate) fn arn(account: &AccountId, kind: &str, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:{kind}{path}{name}")
}

impl Access {
    /// Has the book say what the records say.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let mut book = Book::default();
        for policy in self.managed.all().await? {
            let arn = arn(&self.account, "policy", &policy.spec.path, &policy.name);
            book.managed.insert(arn, policy);
        }
        for role in self.roles.all().await? {
            book.roles.insert(Role::key(&role.name), role);
        }
        for user in self.users.all().await? {
            book.users.insert(User::key(&user.name), user);
        }
        Compiler { account: &self.account, seal: &self.seal }.compile(&mut book);
        self.book.store(Arc::new(book));
        Ok(())
    }
}

struct Compiler<'a> {
    account: &'a AccountId,
    seal: &'a Seal,
}

impl Compiler<'_> {
    fn compile(&self, book: &mut Book) {
        let mut compiled = HashMap::new();
        let (mut keys, mut bearers) = (HashMap::new(), HashMap::new());
        for (name, user) in &book.users {
            let arn = arn(self.account, "user", &user.spec.path, &user.name);
            let bearer = bearer(book, &mut compiled, (&user.name, arn), &user.spec.policies);
            let bearer = Arc::new(bearer);
            for key in user.spec.keys.iter().filter(|key| key.is_active) {
                match self.seal.open(&key.id, &key.sealed) {
                    Ok(secret) => {
                        let user = bearer.clone();
                        keys.insert(key.id.clone(), Key { secret: secret.into(), user });
                    }
                    Err(error) => {
                        tracing::error!(%error, access_key = key.id, "a key is of no use");
                    }
                }
            }
            bearers.insert(format!("user/{name}"), bearer);
        }
        for (name, role) in book.roles.iter().filter(|(_, role)| !role.spec.is_deleted) {
            let arn = arn(self.account, "role", &role.spec.path, &role.name);
            let mut bearer = bearer(book, &mut compiled, (&role.name, arn), &role.spec.policies);
            bearer.trust = Policy::parse(&role.spec.trust, Kind::Trust).ok();
            bearer.is_broken |= bearer.trust.is_none();
            bearers.insert(format!("role/{name}"), Arc::new(bearer));
        }
        (book.keys, book.bearers) = (keys, bearers);
    }
}

fn bearer(
    book: &Book,
    compiled: &mut HashMap<String, Arc<Policy>>,
    (name, arn): (&str, String),
    policies: &Policies,
) -> Bearer {
    let mut bearer =
        Bearer { name: name.to_owned(), arn, policies: Vec::new(), is_broken: false, trust: None };
    for (name, document) in &policies.inline {
        match Policy::parse(document, Kind::Identity) {
            Ok(policy) => bearer.add(name, Arc::new(policy)),
            Err(_) => bearer.is_broken = true,
        }
    }
    for arn in &policies.attached {
        match managed(book, compiled, arn) {
            Some(policy) => bearer.add(arn, policy),
            None => bearer.is_broken = true,
        }
    }
    if bearer.is_broken {
        tracing::error!(arn = bearer.arn, "a policy cannot be read: everything is denied");
    }
    bearer
}

/// Each managed policy is compiled once.
fn managed(
    book: &Book,
    compiled: &mut HashMap<String, Arc<Policy>>,
    arn: &str,
) -> Option<Arc<Policy>> {
    if let Some(policy) = compiled.get(arn) {
        return Some(policy.clone());
    }
    let policy = Arc::new(Policy::parse(book.document(arn)?, Kind::Identity).ok()?);
    compiled.insert(arn.to_owned(), policy.clone());
    Some(policy)
}

impl Bearer {
    fn add(&mut self, name: &str, policy: Arc<Policy>) {
        self.policies.push(Named { name: name.to_owned(), policy });
    }

    /// Its compiled policies.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter().map(|named| &*named.policy)
    }
}
