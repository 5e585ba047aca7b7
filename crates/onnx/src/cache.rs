//! One copy of a model in memory for all workers that serve it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ort::environment::Environment;

use crate::graphs::Graphs;
use crate::model::{Model, ModelError, Options};

/// The models that some worker holds, by folder and options. Holds none of them itself.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Key, Slot>>);

type Key = (PathBuf, Options);
/// Its lock is held while the model is loaded, so that two launches do not load it twice.
type Slot = Arc<Mutex<Weak<Model>>>;

impl Cache {
    /// Returns the model in `dir`, loaded now if no worker holds it. Takes long: call it where
    /// blocking is fine.
    pub(crate) fn load(
        &self,
        env: &Environment,
        dir: &Path,
        options: Options,
        graphs: Option<&Graphs>,
    ) -> Result<Arc<Model>, ModelError> {
        let slot = self.slot((dir.to_owned(), options));
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(model) = held.upgrade() {
            return Ok(model);
        }
        let model = Arc::new(Model::load_with(env, dir, options, graphs)?);
        *held = Arc::downgrade(&model);
        Ok(model)
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || is_held(slot));
        Arc::clone(slots.entry(key).or_default())
    }
}

fn is_held(slot: &Slot) -> bool {
    slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::Cache;
    use crate::library;
    use crate::model::Options;

    #[test]
    fn workers_of_one_model_share_it_while_one_holds_it() {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
        let path = std::env::var("SAGEBRUSH_ONNXRUNTIME").expect("it names libonnxruntime.so");
        let environment = library::open(Path::new(&path)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/iris_forest.onnx");
        std::fs::copy(model, dir.path().join("model.onnx")).unwrap();
        let cache = Cache::default();
        let load = |intra_op_threads| {
            cache.load(&environment, dir.path(), Options { intra_op_threads }, None).unwrap()
        };
        let (one, other) = (load(1), load(1));
        assert!(Arc::ptr_eq(&one, &other));
        assert!(!Arc::ptr_eq(&one, &load(2)), "a session has its own number of threads");
        let held = Arc::downgrade(&one);
        drop((one, other));
        assert!(held.upgrade().is_none(), "the cache holds none");
    }
}
