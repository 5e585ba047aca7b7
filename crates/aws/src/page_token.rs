//! The opaque `NextToken` of lists: where the page before ended, and in which list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sagebrush_core::Region;
use sagebrush_core::store::{Cursor, Query};
use sha2::{Digest as _, Sha256};

use crate::ApiError;

/// The token of the page that follows `next` in the list of `kind` by `query`.
#[must_use]
pub fn encode(kind: &str, query: &Query, next: &Cursor) -> String {
    let list = fingerprint(kind, query);
    let fields = (list, &next.value, next.region.as_str(), &next.key);
    // Strings and numbers always serialize.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&fields).unwrap_or_default())
}

/// The place that `token` names. It must come from a list of the same `kind`, filters and order;
/// only the size of the page may change.
pub fn decode(kind: &str, query: &Query, token: &str) -> Result<Cursor, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
    let (list, value, region, key): (u64, String, String, String) =
        serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    if list != fingerprint(kind, query) {
        return Err(invalid());
    }
    Ok(Cursor { value, region: Region::new(&region), key })
}

fn invalid() -> ApiError {
    ApiError::validation(
        "Invalid pagination token. Use the NextToken of the previous response with unchanged parameters.",
    )
}

/// Tells lists apart. Not a secret: a forged token reads nothing that its caller may not list.
fn fingerprint(kind: &str, query: &Query) -> u64 {
    let list = Query { limit: 0, after: None, ..query.clone() };
    let hash = Sha256::digest(format!("{kind} {list:?}"));
    hash.iter().take(8).fold(0, |sum, &byte| (sum << 8) | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sagebrush_core::store::SortBy;

    use super::*;

    fn query(sort_by: SortBy, limit: usize) -> Query {
        Query { sort_by, limit, region: Some(Region::new("eu-west-1")), ..Query::default() }
    }

    proptest! {
        #[test]
        fn round_trips(value: String, region: String, key: String) {
            let next = Cursor { value, region: Region::new(&region), key };
            let token = encode("model", &query(SortBy::Name, 10), &next);
            let read = decode("model", &query(SortBy::Name, 20), &token).unwrap();
            prop_assert_eq!(read, next);
        }

        #[test]
        fn garbage_is_refused(token: String) {
            prop_assert!(decode("model", &query(SortBy::Name, 10), &token).is_err());
        }
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let next = Cursor { value: "a".to_owned(), region: Region::new("r"), key: "a".to_owned() };
        let token = encode("model", &query(SortBy::Name, 10), &next);
        for (kind, sort_by) in [("endpoint", SortBy::Name), ("model", SortBy::Status)] {
            let error = decode(kind, &query(sort_by, 10), &token).unwrap_err();
            assert_eq!(error.code, "ValidationException");
            assert!(error.message.starts_with("Invalid pagination token"), "{}", error.message);
        }
    }
}
