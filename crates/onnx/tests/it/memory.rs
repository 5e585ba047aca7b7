//! Memory that a model took comes back.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::worker::Runtime as _;
use tokio::time::Instant;

use crate::support::{Folder, call, invoke, runtime, spec};

/// The memory of this process, in pages.
fn resident_pages() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn loading_and_unloading_leaves_nothing() {
    const PAGES_OF_8_MIB: usize = 2048;
    let runtime = runtime();
    let folder = Folder::of("iris_forest");
    let rows = "5.1,3.5,1.4,0.2\n".repeat(100);
    let mut after_warm_up = 0;
    for round in 0..300 {
        let worker = runtime.launch(&spec(Some(Arc::clone(&folder)))).await.unwrap();
        invoke(&*worker, call("text/csv", rows.clone())).await.unwrap();
        worker.stop(Instant::now() + Duration::from_secs(10)).await;
        if round == 50 {
            after_warm_up = resident_pages();
        }
    }
    let grown = resident_pages().saturating_sub(after_warm_up);
    // Other tests run beside this one; 250 forests that stayed would be far more.
    assert!(grown < 4 * PAGES_OF_8_MIB, "{grown} pages more after 250 loads");
}
