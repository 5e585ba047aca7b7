//! `If-Match` and its kin: on reads, on copies, on writes.

use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};
use sagebrush_core::objects::{Condition, ObjectVersion};

use super::errors::{not_modified, precondition_failed};
use super::time;

/// The conditions of a read.
#[derive(Default)]
pub(super) struct Conditions<'a> {
    pub if_match: Option<&'a ETagCondition>,
    pub if_none_match: Option<&'a ETagCondition>,
    pub if_modified_since: Option<&'a Timestamp>,
    pub if_unmodified_since: Option<&'a Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    NotModified,
    Fails,
}

impl Conditions<'_> {
    /// For GET and HEAD: 412 or 304.
    pub(super) fn check(&self, version: &ObjectVersion) -> S3Result<()> {
        match self.verdict(version) {
            Verdict::Holds => Ok(()),
            Verdict::Fails => Err(precondition_failed()),
            Verdict::NotModified => {
                Err(not_modified(&version.etag, &http_date(&time(version.modified_at))))
            }
        }
    }

    /// For the source of a copy: always 412.
    pub(super) fn check_source(&self, version: &ObjectVersion) -> S3Result<()> {
        match self.verdict(version) {
            Verdict::Holds => Ok(()),
            Verdict::Fails | Verdict::NotModified => Err(precondition_failed()),
        }
    }

    /// An `ETag`'s condition outranks the one on time beside it, whichever way it comes out.
    fn verdict(&self, version: &ObjectVersion) -> Verdict {
        // HTTP knows no fractions of a second, so neither may the comparison.
        let modified = time(sagebrush_core::Timestamp(version.modified_at.0 / 1000 * 1000));
        let as_wanted = match (self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) => matches(wanted, &version.etag),
            (None, Some(since)) => modified <= *since,
            (None, None) => true,
        };
        if !as_wanted {
            return Verdict::Fails;
        }
        let is_news = match (self.if_none_match, self.if_modified_since) {
            (Some(known), _) => !matches(known, &version.etag),
            (None, Some(since)) => modified > *since,
            (None, None) => true,
        };
        if is_news { Verdict::Holds } else { Verdict::NotModified }
    }
}

/// The condition of a write.
pub(super) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.value().to_owned())),
        (Some(_), _) | (None, Some(ETagCondition::ETag(_))) => Err(s3_error!(
            NotImplemented,
            "A write takes either If-None-Match: * or If-Match with an ETag"
        )),
    }
}

fn matches(wanted: &ETagCondition, etag: &str) -> bool {
    match wanted {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

pub(super) fn http_date(at: &Timestamp) -> String {
    let mut text = Vec::new();
    match at.format(TimestampFormat::HttpDate, &mut text) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(), // A year beyond 9999.
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::{ETag, ETagCondition};
    use sagebrush_core::Timestamp;
    use sagebrush_core::objects::{Attributes, ObjectVersion};

    use super::{Conditions, Verdict, time};

    /// `if_match`, `if_none_match`: whether the `ETag` given is the right one; the times lie this
    /// many seconds behind the object's.
    fn check(
        if_match: Option<bool>,
        if_none_match: Option<bool>,
        modified_since: Option<i64>,
        unmodified_since: Option<i64>,
        expected: Verdict,
    ) {
        let at = 1_700_000_000_700;
        let version = ObjectVersion {
            bucket: String::new(),
            key: String::new(),
            version_id: String::new(),
            is_delete_marker: false,
            size: 0,
            etag: "e".to_owned(),
            modified_at: Timestamp(at),
            blobs: Vec::new(),
            attributes: Attributes::default(),
        };
        let etag = |right: bool| {
            ETagCondition::ETag(ETag::Strong(if right { "e" } else { "x" }.to_owned()))
        };
        let when = |after: i64| time(Timestamp(at - 700 + after * 1000));
        let conditions = Conditions {
            if_match: if_match.map(etag).as_ref(),
            if_none_match: if_none_match.map(etag).as_ref(),
            if_modified_since: modified_since.map(when).as_ref(),
            if_unmodified_since: unmodified_since.map(when).as_ref(),
        }
        .verdict(&version);
        assert_eq!(conditions, expected);
    }

    #[test]
    fn precedence() {
        check(None, None, None, None, Verdict::Holds);
        check(Some(true), None, None, None, Verdict::Holds);
        check(Some(false), None, None, None, Verdict::Fails);
        check(None, Some(true), None, None, Verdict::NotModified);
        check(None, Some(false), None, None, Verdict::Holds);
        check(None, None, Some(0), None, Verdict::NotModified); // The same second.
        check(None, None, Some(-1), None, Verdict::Holds);
        check(None, None, None, Some(0), Verdict::Holds);
        check(None, None, None, Some(-1), Verdict::Fails);
        check(Some(true), None, None, Some(-1), Verdict::Holds); // The ETag outranks the time.
        check(None, Some(true), Some(-1), None, Verdict::NotModified);
        check(None, Some(false), Some(0), None, Verdict::Holds);
        check(Some(false), Some(true), None, None, Verdict::Fails);
    }
}
