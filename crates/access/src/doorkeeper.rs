//! What the doors ask: whose secret an access key has, and who may do what.

use std::borrow::Cow;

use sagebrush_aws::sigv4::{Credentials, Grant, Refusal, TemporaryKeys};
use sagebrush_core::Timestamp;
use sagebrush_core::access::{Asked, Authorizer, Caller, Denied};

use crate::Access;
use crate::book::{Bearer, Book, RoleIs};
use crate::policy::{Decision, Facts, Kind, Policy, decide};

impl Credentials for Access {
    fn secret(
        &self,
        access_key: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<Grant<'_>, Refusal> {
        if access_key == self.root {
            return self.fixed.secret(access_key, token, now);
        }
        if TemporaryKeys::are_named(access_key) {
            return self.temporary.secret(access_key, token, now);
        }
        let book = self.book.load();
        let key = book.key(access_key).filter(|_| token.is_none()).ok_or(Refusal::Unknown)?;
        Ok(Grant { secret: Cow::Owned(key.secret.to_string()), session: None })
    }
}

impl Authorizer for Access {
    fn is_unlimited(&self, caller: &Caller<'_>) -> bool {
        match caller {
            Caller::Key(key) => *key == self.root,
            Caller::Session { role_arn, policy: None, .. } | Caller::Role { arn: role_arn } => {
                let name = role_name(role_arn);
                name.is_some_and(|name| matches!(self.book.load().role_is(name), RoleIs::Unmade))
            }
            Caller::Session { policy: Some(_), .. } => false,
        }
    }

    fn check(&self, caller: &Caller<'_>, asked: &Asked<'_>) -> Result<(), Denied> {
        if self.is_unlimited(caller) {
            return Ok(());
        }
        let book = self.book.load();
        let who = self.who(&book, caller).ok_or_else(|| unknown(asked))?;
        check_role(&book, &who, asked)?;
        let resource = canonical(&book, &who, asked.resource);
        let asked = &Asked { resource, ..*asked };
        self.decide(&who, asked).map_err(|why| denied(&who.shown, asked, why))
    }
}

/// Users and roles are found by their names alone, and policies name them with their paths.
/// Nobody's name means the caller.
fn canonical<'a>(book: &'a Book, who: &'a Who<'_>, resource: &'a str) -> &'a str {
    let Some(resource_of_iam) = resource.strip_prefix("arn:aws:iam::") else { return resource };
    let (_, path) = resource_of_iam.split_once(':').unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let found = match path.split_once('/') {
        Some(("user", "")) if who.is_user => who.bearer,
        Some(("user", _)) => book.user_bearer(name).map(|user| &**user),
        Some(("role", _)) => match book.role_is(name) {
            RoleIs::Made(role) => Some(&**role),
            RoleIs::Unmade | RoleIs::Deleted => None,
        },
        Some(_) | None => None,
    };
    found.map_or(resource, |bearer| &bearer.arn)
}

/// Whoever is limited may hand out no more than a role that somebody made, by its own ARN: one
/// that nobody made may do everything.
fn check_role(book: &Book, who: &Who<'_>, asked: &Asked<'_>) -> Result<(), Denied> {
    if !matches!(asked.action, "iam:PassRole" | "sts:AssumeRole") {
        return Ok(());
    }
    match role_name(asked.resource).map(|name| book.role_is(name)) {
        Some(RoleIs::Made(role)) if role.arn == asked.resource => Ok(()),
        Some(RoleIs::Made(_) | RoleIs::Unmade | RoleIs::Deleted) | None => {
            let Asked { action, resource, .. } = asked;
            Err(Denied(format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} because \
                 there is no such role",
                who.shown
            )))
        }
    }
}

/// A caller whose policies are to be asked.
struct Who<'b> {
    /// As messages name it.
    shown: Cow<'b, str>,
    /// `None`: a role that nobody made.
    bearer: Option<&'b Bearer>,
    is_user: bool,
    session_policy: Option<Policy>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhyNot {
    /// No policy of this kind allows it.
    NotBy(&'static str),
    /// One of this kind denies it.
    DeniedBy(&'static str),
}

const IDENTITY: &str = "identity-based";
const SESSION: &str = "session";

impl Access {
    /// `None` for those whom nobody knows (any more).
    fn who<'b>(&self, book: &'b Book, caller: &Caller<'_>) -> Option<Who<'b>> {
        match *caller {
            Caller::Key(key) => {
                let user: &Bearer = &book.key(key)?.user;
                let shown = Cow::Borrowed(user.arn.as_str());
                Some(Who { shown, bearer: Some(user), is_user: true, session_policy: None })
            }
            Caller::Session { role_arn, name, policy } => {
                let policy = policy.map(|text| Policy::parse(text, Kind::Identity));
                let role = role_name(role_arn)?;
                let shown = format!("arn:aws:sts::{}:assumed-role/{role}/{name}", self.account);
                let shown = Cow::Owned(shown);
                let bearer = role_bearer(book, role)?;
                let session_policy = policy.transpose().ok()?;
                Some(Who { shown, bearer, is_user: false, session_policy })
            }
            Caller::Role { arn } => {
                let bearer = role_bearer(book, role_name(arn)?)?;
                let shown = Cow::Owned(arn.to_owned());
                Some(Who { shown, bearer, is_user: false, session_policy: None })
            }
        }
    }

    fn decide(&self, who: &Who<'_>, asked: &Asked<'_>) -> Result<(), WhyNot> {
        let arn = who.bearer.map_or(&*who.shown, |bearer| bearer.arn.as_str());
        let user = who.bearer.filter(|_| who.is_user);
        let facts = Facts {
            caller_arn: &who.shown,
            user_name: user.map(|user| user.name.as_str()),
            ..Facts::new(asked, &self.account.0, arn, self.clock.now())
        };
        match who.bearer {
            Some(bearer) if bearer.is_broken => return Err(WhyNot::DeniedBy(IDENTITY)),
            Some(bearer) => allowed(decide(bearer.all(), &facts), IDENTITY)?,
            None => {}
        }
        match &who.session_policy {
            Some(policy) => allowed(decide([policy], &facts), SESSION),
            None => Ok(()),
        }
    }
}

/// The outer `None`: the role was deleted. The inner: nobody made it.
fn role_bearer<'b>(book: &'b Book, name: &str) -> Option<Option<&'b Bearer>> {
    match book.role_is(name) {
        RoleIs::Unmade => Some(None),
        RoleIs::Made(bearer) => Some(Some(bearer)),
        RoleIs::Deleted => None,
    }
}

/// `arn:aws:iam::123456789012:role/path/name` names the role `name`.
pub(crate) fn role_name(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_role = parts.next() == Some("arn") && parts.nth(1) == Some("iam");
    let path = parts.nth(2).filter(|_| is_role)?.strip_prefix("role/")?;
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

fn allowed(decision: Decision, kind: &'static str) -> Result<(), WhyNot> {
    match decision {
        Decision::Allowed => Ok(()),
        Decision::ImplicitDeny => Err(WhyNot::NotBy(kind)),
        Decision::ExplicitDeny { .. } => Err(WhyNot::DeniedBy(kind)),
    }
}

fn denied(who: &str, asked: &Asked<'_>, why: WhyNot) -> Denied {
    let Asked { action, resource, .. } = asked;
    let why = match why {
        WhyNot::NotBy(kind) => format!("because no {kind} policy allows the {action} action"),
        WhyNot::DeniedBy(kind) => {
            let article = if kind == IDENTITY { "an" } else { "a" };
            format!("with an explicit deny in {article} {kind} policy")
        }
    };
    Denied(format!(
        "User: {who} is not authorized to perform: {action} on resource: {resource} {why}"
    ))
}

fn unknown(asked: &Asked<'_>) -> Denied {
    let Asked { action, resource, .. } = asked;
    Denied(format!(
        "The caller is not authorized to perform: {action} on resource: {resource} because it \
         does not exist (any more)"
    ))
}

impl Access {
    pub(crate) fn is_root(&self, caller: &Caller<'_>) -> bool {
        matches!(caller, Caller::Key(key) if *key == self.root)
    }

    /// Whether the trust policy of `role` lets the caller assume it. A role that nobody made
    /// trusts those who may do everything.
    pub(crate) fn trusts(&self, role: &str, caller: &Caller<'_>, asked: &Asked<'_>) -> bool {
        let book = self.book.load();
        let role = match book.role_is(role) {
            RoleIs::Unmade => return self.is_unlimited(caller),
            RoleIs::Deleted => return false,
            RoleIs::Made(role) => role,
        };
        let (Some(trust), Some(who)) = (&role.trust, self.who(&book, caller)) else { return false };
        let arn = who.bearer.map_or(&*who.shown, |bearer| bearer.arn.as_str());
        let user = who.bearer.filter(|_| who.is_user);
        let facts = Facts {
            caller_arn: &who.shown,
            user_name: user.map(|user| user.name.as_str()),
            ..Facts::new(asked, &self.account.0, arn, self.clock.now())
        };
        !role.is_broken && decide([trust], &facts) == Decision::Allowed
    }
}
