//! Keys for code that acts in a role.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use sagebrush_aws::sigv4::{Issued, Session};
use sagebrush_core::Timestamp;
use sagebrush_core::access::Roles;

use crate::Access;
use crate::book::RoleIs;
use crate::doorkeeper::role_name;

/// How long the keys are good, in milliseconds: 365 days. A worker gets them once, in its
/// environment, and may run for long. What they are good for is asked with each call, so a role
/// that is changed or deleted takes effect at once.
const LIFE: i64 = 365 * 24 * 3600 * 1000;
/// As SageMaker names the sessions of its code.
const SESSION: &str = "SageMaker";

/// The keys that roles have, by the ARNs of the roles. They stay the same for half of their life,
/// so that a worker that starts again finds what it found before.
#[derive(Default)]
pub(crate) struct RoleKeys(Mutex<HashMap<String, Issued>>);

impl Roles for Access {
    fn environment(&self, role_arn: &str, region: &str) -> BTreeMap<String, String> {
        let book = self.book.load();
        // One that nobody made may do everything, which no model's code needs.
        let is_made =
            role_name(role_arn).is_some_and(|name| matches!(book.role_is(name), RoleIs::Made(_)));
        if !is_made {
            return BTreeMap::new();
        }
        let Issued { access_key, secret, token, .. } = self.role_keys(role_arn);
        [
            ("AWS_ACCESS_KEY_ID", access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", &secret),
            ("AWS_SESSION_TOKEN", &token),
            ("AWS_REGION", region),
            ("AWS_DEFAULT_REGION", region),
            ("AWS_ENDPOINT_URL", &self.endpoint_url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

impl Access {
    fn role_keys(&self, role_arn: &str) -> Issued {
        let now = self.clock.now();
        let mut all = self.role_keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get(role_arn).filter(|keys| keys.expires_at.0 - now.0 > LIFE / 2);
        if let Some(kept) = kept {
            return kept.clone();
        }
        let session =
            Session { role_arn: role_arn.to_owned(), name: SESSION.to_owned(), policy: None };
        let issued = self.temporary.issue(&session, Timestamp(now.0 + LIFE));
        all.insert(role_arn.to_owned(), issued.clone());
        issued
    }
}
