//! Templates of serverless variants that have no worker now: a call that comes finds the code
//! imported. They compute nothing, but have memory; so there are few, and not for ever.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagebrush_core::artifact::ArtifactLease;
use sagebrush_core::task;
use sagebrush_core::worker::{LaunchSpec, Resources};
use tokio::time::{Instant, sleep};

use super::crew::CrewPlan;
use super::template::Template;

/// How many there are at most; the one that was parked first goes first.
const MOST: usize = 4;
/// How long one stays.
const LONGEST: Duration = Duration::from_secs(15 * 60);

#[derive(Default)]
pub(super) struct Parked {
    places: Mutex<Vec<Place>>,
}

struct Place {
    key: Key,
    kept: Kept,
    since: Instant,
}

/// What a template was started from, as far as a launch says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    region: Arc<str>,
    /// Templates are shared by nobody: each variant has its own.
    log_group: Arc<str>,
    variant: String,
    image: String,
    /// Of one version of the files each: another version is another folder.
    folders: [Option<PathBuf>; 2],
    environment: BTreeMap<String, String>,
    hostname: String,
    network_isolation: bool,
    resources: Resources,
}

/// A template, and what its workers are started with.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) template: Arc<Template>,
    pub(super) plan: CrewPlan,
    pub(super) image: String,
    /// The files stay while the template may read them.
    pub(super) files: Vec<Arc<dyn ArtifactLease>>,
}

impl Key {
    /// `None` for what is never parked.
    pub(super) fn of(spec: &LaunchSpec) -> Option<Self> {
        spec.resources.concurrency?;
        let (variant, _instance) = spec.name.split_once('/')?;
        let folder = |files: &Option<Arc<dyn ArtifactLease>>| files.as_ref().map(|it| it.dir());
        Some(Self {
            region: spec.log_stream.region.clone(),
            log_group: spec.log_stream.group.clone(),
            variant: variant.to_owned(),
            image: spec.image.clone(),
            folders: [folder(&spec.model), folder(&spec.code)],
            environment: spec.environment.clone(),
            hostname: spec.hostname.clone(),
            network_isolation: spec.network_isolation,
            resources: spec.resources,
        })
    }
}

impl Parked {
    /// The template that was parked with this key, unless it has ended meanwhile.
    pub(super) fn take(&self, key: &Key) -> Option<Kept> {
        let mut places = self.places();
        let at = places.iter().rposition(|place| place.key == *key)?;
        let kept = places.remove(at).kept;
        kept.template.set_rests(false);
        drop(places);
        (!kept.template.is_over()).then_some(kept)
    }

    /// Keeps a template for some time. Others may have to go.
    pub(super) fn park(self: &Arc<Self>, key: Key, kept: Kept) {
        let mut places = self.places();
        places.push(Place { key, kept, since: Instant::now() });
        let n_surplus = places.len().saturating_sub(MOST);
        let surplus: Vec<Place> = places.drain(..n_surplus).collect();
        drop(places);
        end(surplus);
        let parked = self.clone();
        task::spawn("parked-template", async move {
            sleep(LONGEST).await;
            end(parked.take_where(|place| place.since.elapsed() >= LONGEST));
        });
    }

    /// The workers of a parked template have ended: it is not looked after while it stays.
    pub(super) fn settle(&self, template: &Arc<Template>) {
        let places = self.places(); // Held, so that nobody takes it meanwhile.
        if places.iter().any(|place| Arc::ptr_eq(&place.kept.template, template)) {
            template.set_rests(true);
        }
    }

    /// Ends those of an endpoint.
    pub(super) fn forget(&self, region: &str, log_group: &str) {
        let is_its =
            |place: &Place| *place.key.region == *region && *place.key.log_group == *log_group;
        end(self.take_where(is_its));
    }

    fn take_where(&self, which: impl Fn(&Place) -> bool) -> Vec<Place> {
        self.places().extract_if(.., |place| which(place)).collect()
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends templates in the background; their files stay until they have ended.
fn end(places: Vec<Place>) {
    for Place { kept, .. } in places {
        task::spawn("parked-template", async move {
            kept.template.stop(Instant::now() + LONGEST).await;
            drop(kept.files);
        });
    }
}
