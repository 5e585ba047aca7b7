//! Rules, in memory and in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sagebrush_core::resource::{Resource, Stored, Table};
use sagebrush_core::store::{MetaStore, StoreError};
use sagebrush_core::{AccountId, Arn, Clock, Region};
use serde::{Deserialize, Serialize};

use super::error::EventError;
use super::pattern::Pattern;
use super::transform::Input;

/// How many rules a region may have, and how many targets a rule.
const MAX_RULES: usize = 300;
const MAX_TARGETS: usize = 5;

#[derive(Debug, Clone)]
pub(super) struct RuleKind;

impl Resource for RuleKind {
    const KIND: &'static str = "event-rule";
    type Spec = RuleSpec;
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleSpec {
    /// As it was given.
    pub(super) pattern: String,
    pub(super) is_enabled: bool,
    pub(super) description: Option<String>,
    pub(super) role_arn: Option<String>,
    /// By id.
    pub(super) targets: BTreeMap<String, Target>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) arn: String,
    pub(super) role_arn: Option<String>,
    pub(super) input: Input,
}

/// A rule, ready to be asked.
pub(super) struct Rule {
    pub(super) stored: Stored<RuleKind>,
    pattern: Pattern,
}

impl Rule {
    fn new(stored: Stored<RuleKind>) -> Result<Arc<Self>, EventError> {
        let pattern = Pattern::parse(&stored.spec.pattern)?;
        Ok(Arc::new(Self { stored, pattern }))
    }

    pub(super) fn wants(&self, event: &serde_json::Value) -> bool {
        self.stored.spec.is_enabled && self.pattern.matches(event)
    }

    fn may_want(&self, source: &str) -> bool {
        let RuleSpec { is_enabled, targets, .. } = &self.stored.spec;
        *is_enabled && !targets.is_empty() && self.pattern.may_want(source)
    }
}

pub(super) struct Rules {
    table: Table<RuleKind>,
    account: AccountId,
    known: Mutex<Known>,
    /// Held by who changes anything.
    changing: tokio::sync::Mutex<()>,
}

type Known = BTreeMap<(Region, String), Arc<Rule>>;

impl Rules {
    pub(super) async fn open(
        store: Arc<dyn MetaStore>,
        clock: Arc<dyn Clock>,
        account: AccountId,
    ) -> Result<Self, StoreError> {
        let table: Table<RuleKind> = Table::new(store, clock);
        let mut known = Known::new();
        for stored in table.all().await? {
            let key = (stored.region.clone(), stored.name.clone());
            match Rule::new(stored) {
                Ok(rule) => drop(known.insert(key, rule)),
                Err(error) => tracing::warn!(rule = key.1, %error, "a rule is not readable"),
            }
        }
        let changing = tokio::sync::Mutex::default();
        Ok(Self { table, account, known: Mutex::new(known), changing })
    }

    pub(super) fn arn(&self, region: &Region, name: &str) -> String {
        let arn = Arn {
            service: "events".to_owned(),
            region: region.to_string(),
            account: self.account.to_string(),
            resource: format!("rule/{name}"),
        };
        arn.to_string()
    }

    pub(super) fn get(&self, region: &Region, name: &str) -> Result<Arc<Rule>, EventError> {
        let found = self.known().get(&(region.clone(), name.to_owned())).cloned();
        found.ok_or_else(|| EventError::NoRule(name.to_owned()))
    }

    /// Whether a rule of any region may want events of this source.
    pub(super) fn may_want(&self, source: &str) -> bool {
        self.known().values().any(|rule| rule.may_want(source))
    }

    /// The rules of a region, by name.
    pub(super) fn of_region(&self, region: &Region) -> Vec<Arc<Rule>> {
        let known = self.known();
        let of_region = known.iter().filter(|((place, _), _)| place == region);
        of_region.map(|(_, rule)| rule.clone()).collect()
    }

    /// Makes a rule, or changes all of it but its targets.
    pub(super) async fn put(
        &self,
        region: &Region,
        name: &str,
        spec: RuleSpec,
    ) -> Result<(), EventError> {
        Pattern::parse(&spec.pattern)?;
        let _changing = self.changing.lock().await;
        let stored = match self.get(region, name) {
            Ok(rule) => {
                let mut stored = rule.stored.clone();
                let targets = std::mem::take(&mut stored.spec.targets);
                stored.spec = RuleSpec { targets, ..spec };
                self.table.update(stored).await?
            }
            Err(_) if self.of_region(region).len() >= MAX_RULES => {
                return Err(EventError::TooManyRules(MAX_RULES));
            }
            Err(_) => self.table.create(region, name, spec, BTreeMap::new()).await?,
        };
        self.keep(stored)
    }

    pub(super) async fn change(
        &self,
        region: &Region,
        name: &str,
        change: impl FnOnce(&mut RuleSpec) + Send,
    ) -> Result<(), EventError> {
        let _changing = self.changing.lock().await;
        let mut stored = self.get(region, name)?.stored.clone();
        change(&mut stored.spec);
        if stored.spec.targets.len() > MAX_TARGETS {
            return Err(EventError::TooManyTargets(MAX_TARGETS));
        }
        let stored = self.table.update(stored).await?;
        self.keep(stored)
    }

    /// Removes a rule; none is fine.
    pub(super) async fn delete(&self, region: &Region, name: &str) -> Result<(), EventError> {
        let _changing = self.changing.lock().await;
        let Ok(rule) = self.get(region, name) else { return Ok(()) };
        if !rule.stored.spec.targets.is_empty() {
            return Err(EventError::HasTargets);
        }
        self.table.remove(&rule.stored).await?;
        self.known().remove(&(region.clone(), name.to_owned()));
        Ok(())
    }

    fn keep(&self, stored: Stored<RuleKind>) -> Result<(), EventError> {
        let key = (stored.region.clone(), stored.name.clone());
        let rule = Rule::new(stored)?;
        self.known().insert(key, rule);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
