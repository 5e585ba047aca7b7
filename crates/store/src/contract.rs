//! What every store must do, as tests over any of them.
//!
//! `meta_store_contract!(name, new())` and `object_index_contract!(name, new())` make a module of
//! tests. `new()` is a future of a store and of what must outlive it, such as its directory.

#![expect(
    clippy::cognitive_complexity,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests, which share one form"
)]

mod index_listings;
mod index_uploads;
mod index_versions;
mod meta_records;
mod meta_queries;
mod patient;

use std::fmt::Debug;
use std::future::{Ready, ready};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

pub use index_listings::*;
pub use index_uploads::*;
pub use index_versions::*;
pub use meta_queries::*;
pub use meta_records::*;
pub use patient::Patient;

/// Tests a `MetaStore`.
#[macro_export]
macro_rules! meta_store_contract {
    ($name:ident, $new:expr) => {
        $crate::contract_tests!($name, $new;
            creates_reads_updates_removes,
            a_conflict_changes_nothing,
            one_of_64_creators_succeeds,
            no_update_is_lost,
            keeps_records_apart,
            sorts,
            filters,
            refuses_a_cursor_that_is_no_time,
            pages_as_the_model,
        );
    };
}

/// Tests an `ObjectIndex`.
#[macro_export]
macro_rules! object_index_contract {
    ($name:ident, $new:expr) => {
        $crate::contract_tests!($name, $new;
            keeps_buckets,
            wants_a_bucket,
            a_bucket_goes_when_it_is_empty,
            keeps_versions_and_markers,
            replaces_the_version_of_the_same_id,
            checks_conditions,
            one_of_32_conditional_puts_succeeds,
            replaces_attributes,
            keeps_uploads_and_parts,
            completes_uploads,
            refuses_parts_that_are_gone,
            one_of_16_ends_an_upload,
            knows_what_is_unreferenced,
            counts_shared_blobs,
            lists_markers_and_limits,
            lists_as_the_model,
        );
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! contract_tests {
    ($name:ident, $new:expr; $($test:ident,)+) => {
        mod $name {
            #[allow(unused_imports, reason = "the constructor may need none")]
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (store, _guard) = $new.await;
                    $crate::contract::$test(std::sync::Arc::new(store)).await;
                }
            )+
        }
    };
}

/// Runs `check` on inputs of `strategy`, and shrinks the one that fails.
fn for_all<T: Debug>(strategy: impl Strategy<Value = T>, check: impl AsyncFn(T)) -> Ready<()> {
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let run = |input| {
        Handle::current().block_on(check(input));
        Ok(())
    };
    block_in_place(|| TestRunner::new(config).run(&strategy, run)).unwrap();
    ready(())
}
