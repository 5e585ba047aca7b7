//! A collector in memory.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;

use super::{Collector, Untold};

/// Answers as it is told, and else takes everything.
#[derive(Default)]
pub(crate) struct FakeCollector {
    pub(crate) answers: Mutex<Vec<Untold>>,
    pub(crate) taken: Mutex<Vec<Value>>,
    pub(crate) asked: Mutex<usize>,
}

#[async_trait]
impl Collector for FakeCollector {
    async fn post(&self, body: Bytes) -> Result<(), Untold> {
        *self.asked.lock().unwrap() += 1;
        if let Some(untold) = self.answers.lock().unwrap().pop() {
            return Err(untold);
        }
        self.taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        Ok(())
    }
}
