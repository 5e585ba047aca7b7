//! What all List operations share: filters, sorting, pages.

use sagebrush_aws::{ApiError, page_token};
use sagebrush_core::resource::Resource;
use sagebrush_core::store::{Cursor, Query, SortBy};
use sagebrush_core::{Region, Timestamp};
use sagebrush_wire as wire;
use sagebrush_wire::sagemaker::OrderKey;

/// SageMaker API: "this value defaults to 10".
const PAGE: i32 = 10;

/// The members that List requests have in common.
pub(crate) struct Wanted {
    pub(crate) sort_by: SortBy,
    pub(crate) order: Option<OrderKey>,
    pub(crate) max_results: Option<i32>,
    pub(crate) name_contains: Option<String>,
    pub(crate) created_before: Option<wire::Timestamp>,
    pub(crate) created_after: Option<wire::Timestamp>,
}

/// Those that only lists of what changes have.
pub(crate) struct Changed {
    pub(crate) before: Option<wire::Timestamp>,
    pub(crate) after: Option<wire::Timestamp>,
    /// `StatusEquals`.
    pub(crate) status: Option<&'static str>,
}

impl Wanted {
    /// The query of one page in `region`.
    pub(crate) fn query(self, region: &Region) -> Query {
        let limit = self.max_results.unwrap_or(PAGE);
        Query {
            region: Some(region.clone()),
            name_contains: self.name_contains,
            created_before: self.created_before.map(from_wire),
            created_after: self.created_after.map(from_wire),
            sort_by: self.sort_by,
            // SageMaker lists the newest first unless told otherwise.
            descending: self.order != Some(OrderKey::Ascending),
            limit: usize::try_from(limit).unwrap_or(0),
            ..Query::default()
        }
    }

    /// The same of those that changed as it is wanted.
    pub(crate) fn changed(self, region: &Region, changed: Changed) -> Query {
        Query {
            modified_before: changed.before.map(from_wire),
            modified_after: changed.after.map(from_wire),
            status: changed.status.map(str::to_owned),
            ..self.query(region)
        }
    }
}

/// Puts the query behind the page that `token` ended.
///
/// All filters must be in the query by now: a token holds for one query only.
pub(crate) fn after<R: Resource>(mut query: Query, token: Option<&str>) -> Result<Query, ApiError> {
    query.after = token.map(|token| page_token::decode(R::KIND, &query, token)).transpose()?;
    Ok(query)
}

/// The token of the page behind `cursor`.
pub(crate) fn next_token<R: Resource>(query: &Query, next: Option<Cursor>) -> Option<String> {
    next.map(|next| page_token::encode(R::KIND, query, &next))
}

pub(crate) fn to_wire(time: Timestamp) -> wire::Timestamp {
    wire::Timestamp(time.as_seconds())
}

#[expect(clippy::cast_possible_truncation, reason = "a time out of range saturates")]
pub(crate) fn from_wire(time: wire::Timestamp) -> Timestamp {
    Timestamp((time.0 * 1000.0).round() as i64)
}
