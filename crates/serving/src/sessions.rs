//! Sessions: calls that go to the instance that holds what came before. SageMaker Runtime API:
//! `SessionId`.
//!
//! A model begins a session when it is asked for one (`NEW_SESSION`): it answers with an id, and
//! when the session expires. It ends one by naming it as closed. In between, calls that name it go
//! to the instance that began it, and to no other: what it holds is nowhere else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sagebrush_core::instance::Instance;
use sagebrush_core::route::{EndpointRoute, VariantRoute};
use sagebrush_core::worker::{Call, Session};
use sagebrush_core::{Clock, Region, ResourceName, SystemClock, Timestamp};

use crate::error::InvokeError;
use crate::headers::SESSION_ID;
use crate::invoke::Target;

/// What asks for a session.
const NEW: &str = "NEW_SESSION";

/// So many are known at once; of more, those that expire first are forgotten.
const MOST: usize = 16_384;

/// How long one lasts of which the model does not say so.
const USUAL: Duration = Duration::from_hours(1);

/// The sessions of all endpoints.
#[derive(Clone)]
pub struct Sessions {
    clock: Arc<dyn Clock>,
    held: Arc<Mutex<HashMap<Name, Held>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    region: Region,
    endpoint: ResourceName,
    id: String,
}

struct Held {
    by: Weak<Instance>,
    expires_at: Timestamp,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Sessions {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, held: Arc::default() }
    }

    /// The instance that holds the session of the call, if it names one.
    ///
    /// # Errors
    /// When there is no such session, or no more.
    pub(crate) fn holder(
        &self,
        target: &Target,
        call: &Call,
    ) -> Result<Option<Arc<Instance>>, InvokeError> {
        let Some(id) = named(call).filter(|id| *id != NEW) else { return Ok(None) };
        let name = Name::of(target, id);
        let mut all = self.lock();
        let now = self.clock.now();
        let held = all.get(&name).filter(|held| held.expires_at > now);
        let holder = held.and_then(|held| held.by.upgrade());
        if holder.is_none() {
            all.remove(&name);
        }
        holder.map(Some).ok_or_else(|| gone(target, call))
    }

    /// Takes down what the model on `instance` said of the session of a call.
    pub(crate) fn note(
        &self,
        target: &Target,
        call: &Call,
        said: &Session,
        instance: &Arc<Instance>,
    ) {
        match said {
            Session::New(text) if is_new(call) => {
                let now = self.clock.now();
                let (id, expires_at) = parse(text, now);
                let held = Held { by: Arc::downgrade(instance), expires_at };
                let mut all = self.lock();
                make_room(&mut all, now);
                all.insert(Name::of(target, id), held);
            }
            Session::New(_) => {}
            Session::Closed(id) => {
                self.lock().remove(&Name::of(target, id.trim()));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn of(target: &Target, id: &str) -> Self {
        let (region, endpoint) = (target.region.clone(), target.endpoint.clone());
        Self { region, endpoint, id: id.to_owned() }
    }
}

/// Whether the call asks for a session.
pub(crate) fn is_new(call: &Call) -> bool {
    named(call) == Some(NEW)
}

fn named(call: &Call) -> Option<&str> {
    let found = call.headers.iter().find(|(name, _)| *name == SESSION_ID);
    found.map(|(_, id)| id.as_str())
}

/// The variant that `instance` is of, if it takes calls and is the one that the call wants.
pub(crate) fn variant_of<'r>(
    route: &'r EndpointRoute,
    instance: &Arc<Instance>,
    wanted: Option<&str>,
) -> Option<&'r VariantRoute> {
    let has_it = |variant: &&VariantRoute| {
        wanted.is_none_or(|wanted| *wanted == *variant.name)
            && variant.instances.iter().any(|one| Arc::ptr_eq(one, instance))
    };
    route.variants.iter().find(has_it)
}

/// That the session of a call is not there.
pub(crate) fn gone(target: &Target, call: &Call) -> InvokeError {
    InvokeError::Invalid(format!(
        "Session {} of endpoint {} not found: it was closed, it has expired, or the instance that \
         held it is gone. Create another one with the SessionId {NEW}.",
        named(call).unwrap_or_default(),
        target.endpoint
    ))
}

/// `<id>; Expires=yyyy-mm-ddThh:mm:ssZ`.
fn parse(text: &str, now: Timestamp) -> (&str, Timestamp) {
    let (id, rest) = text.split_once(';').unwrap_or((text, ""));
    let expires = rest.split(';').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("expires").then_some(value.trim())
    });
    let expires = expires.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    let usual = i64::try_from(USUAL.as_millis()).unwrap_or(i64::MAX);
    let expires = expires.map_or_else(|| now.0.saturating_add(usual), |at| at.as_millisecond());
    (id.trim(), Timestamp(expires))
}

/// Forgets what has expired if there are many, and what expires first if there are too many.
fn make_room(all: &mut HashMap<Name, Held>, now: Timestamp) {
    if all.len() < MOST {
        return;
    }
    all.retain(|_, held| held.expires_at > now && held.by.strong_count() > 0);
    while all.len() >= MOST {
        let first = all.iter().min_by_key(|(_, held)| held.expires_at);
        let Some(first) = first.map(|(name, _)| name.clone()) else { return };
        all.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sagebrush_core::Timestamp;
    use sagebrush_core::clock::FakeClock;
    use sagebrush_core::instance::Instance;
    use sagebrush_core::worker::{Call, Session};

    use super::{MOST, SESSION_ID, Sessions, parse};
    use crate::tests::{Does, call, instance, target};

    /// 2026-02-14T17:25:49Z.
    const NOW: Timestamp = Timestamp(1_771_089_949_000);

    fn in_session(id: &str) -> Call {
        Call { headers: vec![(SESSION_ID, id.to_owned())], ..call() }
    }

    fn begin(sessions: &Sessions, text: &str, by: &Arc<Instance>) {
        let said = Session::New(text.to_owned());
        sessions.note(&target("e", None), &in_session("NEW_SESSION"), &said, by);
    }

    /// `None` if it is refused.
    fn holder(sessions: &Sessions, endpoint: &str, id: &str) -> Option<Arc<Instance>> {
        match sessions.holder(&target(endpoint, None), &in_session(id)) {
            Ok(holder) => holder,
            Err(error) => {
                assert_eq!(error.code().0, "ValidationError");
                assert!(error.to_string().starts_with(&format!("Session {id} of endpoint")));
                None
            }
        }
    }

    #[test]
    fn when_a_session_expires() {
        let hour = Timestamp(NOW.0 + 3_600_000);
        for (text, id, expires_at) in [
            ("s-1; Expires=2026-02-14T17:25:50Z", "s-1", Timestamp(NOW.0 + 1000)),
            (" s-1 ;expires=2026-02-14T17:25:50Z", "s-1", Timestamp(NOW.0 + 1000)),
            ("s-1", "s-1", hour),
            ("s-1; Expires=soon", "s-1", hour),
        ] {
            assert_eq!(parse(text, NOW), (id, expires_at), "{text}");
        }
    }

    #[tokio::test]
    async fn from_its_beginning_to_its_end() {
        let clock = Arc::new(FakeClock::at(NOW));
        let sessions = Sessions::new(clock.clone());
        let by = instance(Does::Echo, 8);
        assert!(holder(&sessions, "e", "s-1").is_none());
        begin(&sessions, "s-1; Expires=2026-02-14T17:26:49Z", &by);
        begin(&sessions, "s-2; Expires=2026-02-14T17:26:49Z", &by);
        assert!(Arc::ptr_eq(&holder(&sessions, "e", "s-1").unwrap(), &by));
        assert!(holder(&sessions, "other", "s-1").is_none(), "it is another endpoint's");
        assert!(sessions.holder(&target("e", None), &call()).unwrap().is_none());

        let closed = Session::Closed("s-1".to_owned());
        sessions.note(&target("e", None), &in_session("s-1"), &closed, &by);
        assert!(holder(&sessions, "e", "s-1").is_none());
        assert!(holder(&sessions, "e", "s-2").is_some());
        clock.advance(Duration::from_secs(60));
        assert!(holder(&sessions, "e", "s-2").is_none());

        begin(&sessions, "s-3", &by);
        drop(by);
        assert!(holder(&sessions, "e", "s-3").is_none(), "with its instance it is gone");
    }

    #[tokio::test]
    async fn one_that_was_not_asked_for_is_not_kept() {
        let sessions = Sessions::default();
        let by = instance(Does::Echo, 8);
        let said = Session::New("s-1".to_owned());
        sessions.note(&target("e", None), &call(), &said, &by);
        assert!(holder(&sessions, "e", "s-1").is_none());
    }

    #[tokio::test]
    async fn there_are_only_so_many() {
        let sessions = Sessions::new(Arc::new(FakeClock::at(NOW)));
        let by = instance(Does::Echo, 8);
        begin(&sessions, "first; Expires=2026-02-14T17:30:00Z", &by);
        begin(&sessions, "over; Expires=2020-02-14T17:30:00Z", &by);
        for n in 0..MOST - 2 {
            begin(&sessions, &format!("s-{n}"), &by);
        }
        begin(&sessions, "last", &by);
        assert!(holder(&sessions, "e", "first").is_some(), "what was over made room");
        begin(&sessions, "one-more", &by);
        assert!(holder(&sessions, "e", "first").is_none());
        assert!(
            holder(&sessions, "e", "s-0").is_some() && holder(&sessions, "e", "last").is_some()
        );
    }
}
