//! The objects whose output is written, so that a job that goes on does not do them again.

use std::collections::{BTreeMap, BTreeSet};

use sagebrush_core::Region;
use sagebrush_core::resource::{Resource, Table};
use sagebrush_core::store::{Query, StoreError};

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

    /// Forgets the outputs of all jobs but those `in_progress`: an end may have cut off the
    /// forgetting.
    pub(super) async fn forget_all_but(
        &self,
        in_progress: &BTreeSet<&str>,
    ) -> Result<(), StoreError> {
        self.remove(None, |of| !in_progress.contains(of)).await
    }

    async fn remove(
        &self,
        name_contains: Option<&str>,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let name_contains = name_contains.map(str::to_owned);
        let (noted, _) = self.0.list(&Query { name_contains, ..Query::default() }).await?;
        for output in noted {
            let revision = output.name.split_once('/').map(|(revision, _)| revision);
            if revision.is_some_and(&is_gone) {
                match self.0.remove(&output).await {
                    Ok(()) | Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn name(revision: &str, output: &str) -> String {
    format!("{revision}/{output}")
}
