//! The objects whose output is written, so that a job that goes on does not do them again.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use futures::stream;
use sagebrush_core::Region;
use sagebrush_core::resource::{Resource, Table};
use sagebrush_core::store::{Query, StoreError};

/// How many rows are looked at together, and removed at once: writers share commits.
const PAGE: usize = 1000;
const AT_ONCE: usize = 64;

/// An output that this job has written. It says nothing of outputs of other jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WrittenOutput;

impl Resource for WrittenOutput {
    const KIND: &'static str = "transform-output";
    type Spec = ();
    type Status = ();

    fn status_word((): &()) -> &'static str {
        ""
    }
}

/// The written outputs of all jobs in progress.
#[derive(Clone)]
pub(super) struct Done(pub(super) Table<WrittenOutput>);

impl Done {
    pub(super) async fn is_noted(
        &self,
        region: &Region,
        revision: &str,
        output: &str,
    ) -> Result<bool, StoreError> {
        Ok(self.0.get(region, &name(revision, output)).await?.is_some())
    }

    pub(super) async fn note(
        &self,
        region: &Region,
        revision: &str,
        output: &str,
    ) -> Result<(), StoreError> {
        match self.0.create(region, &name(revision, output), (), BTreeMap::new()).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forgets what a job has written, once it has ended.
    pub(super) async fn forget(&self, revision: &str) -> Result<(), StoreError> {
        self.remove(Some(revision), |of| of == revision).await
    }

    /// Forgets the outputs of all jobs of revisions `before` but those `in_progress`: an end may
    /// have cut off the forgetting.
    pub(super) async fn forget_all_but(
        &self,
        in_progress: &BTreeSet<String>,
        before: &str,
    ) -> Result<(), StoreError> {
        self.remove(None, |of| of < before && !in_progress.contains(of)).await
    }

    async fn remove(
        &self,
        name_contains: Option<&str>,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let name_contains = name_contains.map(str::to_owned);
        let mut query = Query { name_contains, limit: PAGE, ..Query::default() };
        loop {
            let (noted, next) = self.0.list(&query).await?;
            let gone = noted.into_iter().filter(|output| {
                output.name.split_once('/').is_some_and(|(revision, _)| is_gone(revision))
            });
            let removals = gone.map(|output| async move { self.0.remove(&output).await });
            let mut removals = stream::iter(removals).buffer_unordered(AT_ONCE);
            while let Some(removed) = removals.next().await {
                match removed {
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            query.after = next;
            if query.after.is_none() {
                return Ok(());
            }
        }
    }
}

fn name(revision: &str, output: &str) -> String {
    format!("{revision}/{output}")
}
