//! Changes: one at a time, and over when the book says the same as the records.

use std::collections::BTreeMap;

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_core::resource::{Resource, Stored, Table};
use sagebrush_core::store::StoreError;

use crate::Access;
use crate::book::Book;
use crate::records::region;

impl Access {
    /// Changes the record `name`, which is there unless `missing` says how it is not.
    pub(crate) async fn change<R: Resource, T>(
        &self,
        table: &Table<R>,
        name: &str,
        missing: impl Fn() -> ApiError,
        change: impl FnOnce(&mut Stored<R>, &Book) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut stored = table.get(&region(), name).await?.ok_or_else(&missing)?;
        let outcome = change(&mut stored, &self.book.load())?;
        table.update(stored).await?;
        self.reload().await?;
        Ok(outcome)
    }

    /// Makes a new record; `taken` if there is one of that name.
    pub(crate) async fn make<R: Resource>(
        &self,
        table: &Table<R>,
        name: &str,
        spec: R::Spec,
        tags: BTreeMap<String, String>,
        taken: impl Fn() -> ApiError,
    ) -> Result<Stored<R>, ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        let made = table.create(&region(), name, spec, tags).await;
        let made = made.map_err(|error| match error {
            StoreError::Conflict { .. } => taken(),
            error @ (StoreError::Corrupt { .. } | StoreError::Full | StoreError::Io(_)) => {
                error.into()
            }
        })?;
        self.reload().await?;
        Ok(made)
    }

    /// Removes the record `name`, if `may_go` lets it.
    pub(crate) async fn unmake<R: Resource>(
        &self,
        table: &Table<R>,
        name: &str,
        missing: impl Fn() -> ApiError,
        may_go: impl FnOnce(&Stored<R>, &Book) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let _one_at_a_time = self.changing.lock().await;
        let stored = table.get(&region(), name).await?.ok_or_else(&missing)?;
        may_go(&stored, &self.book.load())?;
        table.remove(&stored).await?;
        self.reload().await?;
        Ok(())
    }
}

/// IAM API: `NoSuchEntity`.
pub(crate) fn no_such(message: String) -> ApiError {
    ApiError::new("NoSuchEntity", StatusCode::NOT_FOUND, message)
}

/// IAM API: `EntityAlreadyExists`.
pub(crate) fn exists(message: String) -> ApiError {
    ApiError::new("EntityAlreadyExists", StatusCode::CONFLICT, message)
}

/// IAM API: `DeleteConflict`.
pub(crate) fn in_use(message: &str) -> ApiError {
    ApiError::new("DeleteConflict", StatusCode::CONFLICT, message)
}

/// IAM API: `LimitExceeded`.
pub(crate) fn too_many(message: String) -> ApiError {
    ApiError::new("LimitExceeded", StatusCode::CONFLICT, message)
}

/// A member of the input that is not served.
pub(crate) fn unserved<T>(member: &str, given: Option<&T>) -> Result<(), ApiError> {
    given.map_or(Ok(()), |_| Err(ApiError::validation(format!("{member} is not served here."))))
}
