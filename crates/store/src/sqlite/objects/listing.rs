//! Pages of a bucket. A common prefix costs one seek, however many keys it stands for.

use sagebrush_core::objects::{IndexError, ListQuery, ListedVersion, Listing};
use sqlx::{SqliteConnection, SqlitePool};

use super::require_bucket;
use super::versions::Row;
use crate::listing::{Pager, Start, Step};
use crate::sqlite::error::failed;

/// How many rows are read at first, and at most, before they are looked at.
///
/// Behind a seek the next key may well fall into a common prefix too, and what was read with it
/// would be for nothing; a run of rows that are wanted doubles what is read.
const CHUNK: (usize, usize) = (8, 1000);

pub(super) async fn list(
    db: &SqlitePool,
    bucket: &str,
    query: &ListQuery,
    versions: bool,
) -> Result<Listing, IndexError> {
    // One transaction: the page shows one moment.
    let mut db = db.begin().await.map_err(failed)?;
    require_bucket(&mut *db, bucket).await?;
    let mut pager = Pager::new(query, versions);
    if let Some(start) = pager.start() {
        let from = Place::of(&mut db, bucket, start).await?;
        let mut rows = Rows { bucket, versions, from, chunk: CHUNK.0 };
        while rows.offer_some(&mut db, &query.prefix, &mut pager).await? {}
    }
    Ok(pager.finish())
}

/// Where the rows that were not seen yet begin: at `key`, in it below `seq`.
struct Place {
    key: String,
    seq: i64,
}

impl Place {
    fn at(key: String) -> Self {
        Self { key, seq: i64::MAX }
    }

    async fn of(db: &mut SqliteConnection, bucket: &str, start: Start) -> Result<Self, IndexError> {
        let Start { key, behind } = start;
        let Some(version_id) = behind else {
            return Ok(Self::at(key));
        };
        let seq: Option<i64> = sqlx::query_scalar(
            "select seq from versions where bucket = $1 and key = $2 and version_id = $3",
        )
        .bind(bucket)
        .bind(&key)
        .bind(version_id)
        .fetch_optional(db)
        .await
        .map_err(failed)?;
        Ok(Self { key, seq: seq.unwrap_or(i64::MAX) })
    }
}

struct Rows<'a> {
    bucket: &'a str,
    versions: bool,
    from: Place,
    chunk: usize,
}

impl Rows<'_> {
    /// Offers the rows of one chunk; false if there are no more, or no more are wanted.
    async fn offer_some(
        &mut self,
        db: &mut SqliteConnection,
        prefix: &str,
        pager: &mut Pager<'_>,
    ) -> Result<bool, IndexError> {
        let rows = self.read(db).await?;
        let is_last = rows.len() < self.chunk;
        self.chunk = (2 * self.chunk).min(CHUNK.1);
        for row in rows {
            if row.key < self.from.key {
                continue; // It is below a common prefix that was just taken.
            }
            if !row.key.starts_with(prefix) {
                return Ok(false);
            }
            self.from = Place { key: row.key.clone(), seq: row.seq };
            let is_latest = row.is_latest;
            match pager.offer(ListedVersion { version: row.version()?, is_latest }) {
                Step::Next => {}
                Step::SkipTo(key) => self.from = Place::at(key),
                Step::Done => return Ok(false),
            }
        }
        if self.from.seq == i64::MAX {
            self.chunk = CHUNK.0; // The chunk ended below a common prefix.
        }
        Ok(!is_last)
    }

    async fn read(&self, db: &mut SqliteConnection) -> Result<Vec<Row>, IndexError> {
        let sql = if self.versions {
            "select * from versions where bucket = $1 and key >= $2 and (key > $2 or seq < $3) \
             order by key, seq desc limit $4"
        } else {
            "select * from versions where bucket = $1 and key >= $2 and (key > $2 or seq < $3) \
             and is_latest = 1 and is_delete_marker = 0 order by key limit $4"
        };
        let rows = sqlx::query_as(sql)
            .bind(self.bucket)
            .bind(&self.from.key)
            .bind(self.from.seq)
            .bind(i64::try_from(self.chunk).unwrap_or(i64::MAX))
            .fetch_all(db)
            .await
            .map_err(failed)?;
        Ok(rows)
    }
}
