//! Log groups: what is known of them besides their streams. A small file each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The folder of their files, among those of the streams.
pub(super) const FOLDER: &str = "groups";

const DAY: i64 = 24 * 3600 * 1000;

/// A log group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) region: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) created: i64,
    /// How many days events are kept; for ever, as far as there is room, where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retention_days: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
}

impl Group {
    pub(super) fn new(region: &Arc<str>, name: &Arc<str>, created: i64) -> Self {
        let (region, name) = (region.clone(), name.clone());
        Self { region, name, created, retention_days: None, tags: BTreeMap::new() }
    }

    /// Events from before this have expired.
    pub(super) fn expired_before(&self, now: Timestamp) -> Option<i64> {
        self.retention_days.map(|days| now.0.saturating_sub(i64::from(days) * DAY))
    }

    fn key(&self) -> Key {
        (self.region.clone(), self.name.clone())
    }
}

/// All groups by region and name. Changed by the thread that writes, and by nobody else.
pub(super) struct Groups {
    dir: PathBuf,
    all: Mutex<BTreeMap<Key, Group>>,
}

type Key = (Arc<str>, Arc<str>);

impl Groups {
    /// Takes over the groups of an earlier run.
    pub(super) fn open(logs: &Path) -> io::Result<Self> {
        let dir = logs.join(FOLDER);
        fs::create_dir_all(&dir)?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|end| end != "json") {
                fs::remove_file(&path)?; // Half written.
                continue;
            }
            match read(&path) {
                Ok(group) => drop(all.insert(group.key(), group)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "log group is not readable");
                }
            }
        }
        Ok(Self { dir, all: Mutex::new(all) })
    }

    pub(super) fn get(&self, region: &str, name: &str) -> Option<Group> {
        self.lock().get(&(region.into(), name.into())).cloned()
    }

    /// The groups of a region, by name.
    pub(super) fn of_region(&self, region: &str) -> Vec<Group> {
        self.lock().values().filter(|group| *group.region == *region).cloned().collect()
    }

    /// The groups whose events expire.
    pub(super) fn expiring(&self) -> Vec<Group> {
        self.lock().values().filter(|group| group.retention_days.is_some()).cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Group> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Knows a group that has streams and no file, of before there were any.
    pub(super) fn adopt(&self, group: Group) {
        let mut all = self.lock();
        let known = all.entry(group.key()).or_insert_with(|| group.clone());
        known.created = known.created.min(group.created);
    }

    /// Writes a group, new or changed.
    pub(super) fn put(&self, group: Group) -> io::Result<()> {
        let path = self.path(&group);
        let half = path.with_extension("new");
        let mut file = File::create(&half)?;
        file.write_all(&serde_json::to_vec(&group)?)?;
        file.sync_data()?;
        fs::rename(half, path)?;
        self.lock().insert(group.key(), group);
        Ok(())
    }

    pub(super) fn remove(&self, group: &Group) -> io::Result<()> {
        match fs::remove_file(self.path(group)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.lock().remove(&group.key());
        Ok(())
    }

    fn path(&self, group: &Group) -> PathBuf {
        let name = format!("{} {}", group.region, group.name); // No region has a space.
        self.dir.join(format!("{}.json", hex::encode(Sha256::digest(name))))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Group>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<Group> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
