//! Queries must not read what they do not show.

use sqlx::AssertSqlSafe;

use crate::SqliteStore;

async fn check(query: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("store.db")).await.unwrap();
    let sql = AssertSqlSafe(format!("explain query plan {query}"));
    let plan: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(sql).fetch_all(&store.readers).await.unwrap();
    let plan: Vec<String> = plan.into_iter().map(|(_, _, _, step)| step).collect();
    assert_eq!(plan, [expected], "{query}");
}

#[tokio::test]
async fn a_page_of_a_bucket_is_one_seek() {
    check(
        "select * from versions where bucket = 'b' and key >= 'k' and (key > 'k' or seq < 9) \
         and is_latest = 1 and is_delete_marker = 0 order by key limit 8",
        "SEARCH versions USING INDEX versions_listed (bucket=? AND key>?)",
    )
    .await;
    check(
        "select * from versions where bucket = 'b' and key >= 'k' and (key > 'k' or seq < 9) \
         order by key, seq desc limit 8",
        "SEARCH versions USING INDEX versions_newest_first (bucket=? AND key>?)",
    )
    .await;
}

#[tokio::test]
async fn a_page_of_records_is_one_seek() {
    for (column, index) in [
        ("name", "records_by_name"),
        ("created_at", "records_by_creation"),
        ("modified_at", "records_by_modification"),
    ] {
        check(
            &format!(
                "select * from records where kind = 'k' and ({column}, region, key) > (1, 'r', 'k') \
                 order by {column}, region, key limit 8"
            ),
            &format!("SEARCH records USING INDEX {index} (kind=? AND ({column},region,key)>(?,?,?))"),
        )
        .await;
    }
}
