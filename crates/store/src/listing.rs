//! How keys become a page: folding at the delimiter, and where a page begins and ends.

use sagebrush_core::objects::{ListMarker, ListQuery, ListedVersion, Listing};

/// Where the rows of a page begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// The first key that may be on the page.
    pub(crate) key: String,
    /// Of `key` itself, only what comes behind this version.
    pub(crate) behind: Option<String>,
}

/// What to offer a [`Pager`] after a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The row that follows.
    Next,
    /// The first row whose key is not below this one.
    SkipTo(String),
    /// Nothing: the page is done.
    Done,
}

/// Makes a page of the rows that it is offered in their order.
#[derive(Debug)]
pub(crate) struct Pager<'q> {
    query: &'q ListQuery,
    /// True for a page of all versions.
    versions: bool,
    listing: Listing,
    last: Option<ListMarker>,
}

impl<'q> Pager<'q> {
    pub(crate) fn new(query: &'q ListQuery, versions: bool) -> Self {
        Self { query, versions, listing: Listing::default(), last: None }
    }

    /// Where to begin; `None` if nothing can be on the page.
    pub(crate) fn start(&self) -> Option<Start> {
        let prefix = &self.query.prefix;
        let at = |key| Start { key, behind: None };
        if self.query.limit == 0 {
            return None;
        }
        let Some(after) = self.query.after.as_ref().filter(|after| *after >= prefix) else {
            return Some(at(prefix.clone()));
        };
        if !after.starts_with(prefix) {
            return None;
        }
        if let Some(folded) = self.fold(after) {
            return behind_prefix(folded).map(at);
        }
        match self.query.after_version.as_ref().filter(|_| self.versions) {
            Some(version) => Some(Start { key: after.clone(), behind: Some(version.clone()) }),
            None => Some(at(format!("{after}\0"))), // The least string behind `after`.
        }
    }

    /// Takes a row, whose key starts with the prefix, and says which one to offer next.
    pub(crate) fn offer(&mut self, row: ListedVersion) -> Step {
        let count = self.listing.versions.len() + self.listing.common_prefixes.len();
        if count >= self.query.limit {
            self.listing.next = self.last.take();
            return Step::Done;
        }
        let Some(folded) = self.fold(&row.version.key).map(str::to_owned) else {
            let version_id = self.versions.then(|| row.version.version_id.clone());
            self.last = Some(ListMarker { key: row.version.key.clone(), version_id });
            self.listing.versions.push(row);
            return Step::Next;
        };
        let behind = behind_prefix(&folded);
        self.last = Some(ListMarker { key: folded.clone(), version_id: None });
        self.listing.common_prefixes.push(folded);
        behind.map_or(Step::Done, Step::SkipTo)
    }

    pub(crate) fn finish(self) -> Listing {
        self.listing
    }

    /// The common prefix that stands for `key`: up to the first delimiter behind the prefix.
    fn fold<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.query.delimiter.as_ref().filter(|text| !text.is_empty())?;
        let from = self.query.prefix.len();
        let at = key.get(from..)?.find(delimiter)?;
        key.get(..from + at + delimiter.len())
    }
}

/// The least string behind all those that start with `prefix`; `None` if there is none.
///
/// Bytes of UTF-8 sort as their characters do, so the last character is what moves.
pub(crate) fn behind_prefix(prefix: &str) -> Option<String> {
    let mut chars = prefix.chars();
    while let Some(last) = chars.next_back() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            return Some(format!("{}{next}", chars.as_str()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::behind_prefix;

    fn check(prefix: &str, expected: Option<&str>) {
        assert_eq!(behind_prefix(prefix).as_deref(), expected, "{prefix:?}");
    }

    #[test]
    fn what_sorts_behind_a_prefix() {
        check("", None);
        check("a/", Some("a0"));
        check("a\u{7f}", Some("a\u{80}"));
        check("\u{d7ff}", Some("\u{e000}")); // Over the surrogates.
        check("a\u{10ffff}\u{10ffff}", Some("b"));
        check("\u{10ffff}", None);
    }
}
