//! Optimized graphs, kept on disk. ONNX Runtime spends most of a load on optimizing; a session
//! of what came of it starts some times faster, and computes the same.

use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Smaller models load at once anyway; larger ones ONNX Runtime cannot write.
const LEAST_BYTES: u64 = 64 << 10;
const MOST_BYTES: u64 = 1 << 30;
/// All of them together; the oldest go first.
const ALL_BYTES: u64 = 8 << 30;

const KEPT: &str = "onnx";

#[derive(Debug)]
pub(crate) struct Graphs {
    dir: PathBuf,
    /// What graphs are optimized for.
    machine: String,
    least_bytes: u64,
    n_begun: AtomicU64,
    /// Held while some are removed.
    pruning: Mutex<()>,
}

impl Graphs {
    /// Keeps graphs in `dir`. What a crash left half written goes.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != KEPT) {
                fs::remove_file(path)?;
            }
        }
        let (n_begun, pruning) = (AtomicU64::new(0), Mutex::new(()));
        Ok(Self { dir, machine: machine(), least_bytes: LEAST_BYTES, n_begun, pruning })
    }

    /// Where the graph of the model file at `path` is, or will be; `None` if it is not worth it.
    pub(crate) fn place(&self, path: &Path) -> Option<PathBuf> {
        let file = fs::metadata(path).ok()?;
        if !(self.least_bytes..=MOST_BYTES).contains(&file.len()) {
            return None;
        }
        let mut hash = DefaultHasher::new();
        (path, file.len(), file.modified().ok()?, &self.machine, ort::info()).hash(&mut hash);
        Some(self.dir.join(format!("{:016x}.{KEPT}", hash.finish())))
    }

    /// A path to write to before [`Graphs::keep`].
    pub(crate) fn draft(&self) -> PathBuf {
        self.dir.join(format!("{}.new", self.n_begun.fetch_add(1, Ordering::Relaxed)))
    }

    /// Keeps what was written to `draft`. Failing is no harm: the model loads without.
    pub(crate) fn keep(&self, draft: &Path, place: &Path) {
        let kept = fs::rename(draft, place).and_then(|()| self.prune(ALL_BYTES));
        if let Err(error) = kept {
            tracing::debug!(%error, "an optimized graph is not kept");
            discard(draft);
        }
    }

    /// Removes the oldest until the others take no more than `most` bytes.
    fn prune(&self, most: u64) -> io::Result<()> {
        let _one_at_a_time = self.pruning.lock();
        let kept = |entry: io::Result<fs::DirEntry>| -> io::Result<(PathBuf, Metadata)> {
            let entry = entry?;
            Ok((entry.path(), entry.metadata()?))
        };
        let mut all = fs::read_dir(&self.dir)?.map(kept).collect::<io::Result<Vec<_>>>()?;
        all.sort_by_key(|(_, file)| file.modified().ok());
        let mut bytes: u64 = all.iter().map(|(_, file)| file.len()).sum();
        for (path, file) in all {
            if bytes <= most {
                break;
            }
            fs::remove_file(path)?;
            bytes -= file.len();
        }
        Ok(())
    }
}

/// Removes a file that is of no use, if it is there.
pub(crate) fn discard(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, path = %path.display(), "a graph stays that is of no use");
        }
        Ok(()) | Err(_) => {}
    }
}

/// The processor: graphs are laid out for its registers.
fn machine() -> String {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let says = |line: &&str| {
        ["model name", "flags", "Features", "CPU part"].iter().any(|name| line.starts_with(name))
    };
    let first = all.split("\n\n").next().unwrap_or_default();
    first.lines().filter(says).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::Graphs;
    use crate::library;
    use crate::model::{Model, Options};
    use crate::tensor::{Data, Tensor};

    fn kept(dir: &Path) -> Vec<PathBuf> {
        let mut kept: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        kept.sort();
        kept
    }

    /// What a model says of a row of four numbers.
    fn said(model: &Model) -> String {
        let data = Data::F64(vec![5.1, 3.5, 1.4, 0.2]).convert(model.inputs[0].dtype()).unwrap();
        let name = model.inputs[0].name.clone();
        let outputs = model.run(&[Tensor { name, shape: vec![1, 4], data }]).unwrap();
        format!("{:?}", outputs.views().unwrap())
    }

    #[test]
    fn a_model_says_the_same_from_its_optimized_graph() {
        #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
        let path = std::env::var("SAGEBRUSH_ONNXRUNTIME").expect("it names libonnxruntime.so");
        let environment = library::open(Path::new(&path)).unwrap();
        for name in ["iris_forest", "iris_logistic", "iris_zipmap"] {
            let (models, graphs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let model = format!("tests/models/{name}.onnx");
            let model = Path::new(env!("CARGO_MANIFEST_DIR")).join(model);
            fs::copy(model, models.path().join("model.onnx")).unwrap();
            let mut keeper = Graphs::open(graphs.path().to_owned()).unwrap();
            let load = |keeper: &Graphs| {
                let options = Options { intra_op_threads: 1 };
                let loaded = Model::load_with(&environment, models.path(), options, Some(keeper));
                said(&loaded.unwrap())
            };
            let without = load(&keeper);
            assert_eq!(kept(graphs.path()).len(), 0, "it is too small to be worth it");
            keeper.least_bytes = 0;
            assert_eq!(load(&keeper), without);
            let [graph] = kept(graphs.path()).try_into().unwrap();
            let written = fs::read(&graph).unwrap();
            assert_eq!(load(&keeper), without, "{name}: from its graph");
            // One that is broken is made anew.
            fs::write(&graph, "no graph").unwrap();
            assert_eq!(load(&keeper), without);
            assert_eq!(fs::read(&graph).unwrap().len(), written.len());
            // Where nothing can be written it is served all the same.
            fs::remove_dir_all(graphs.path()).unwrap();
            assert_eq!(load(&keeper), without);
        }
    }

    #[test]
    fn drafts_of_a_crash_go_and_the_oldest_make_room() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("3.new"), "half").unwrap();
        let graphs = Graphs::open(dir.path().to_owned()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        for (name, seconds) in [("b.onnx", 20), ("a.onnx", 10), ("c.onnx", 30)] {
            let draft = graphs.draft();
            fs::write(&draft, [0; 100]).unwrap();
            graphs.keep(&draft, &dir.path().join(name));
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options()
                .write(true)
                .open(dir.path().join(name))
                .unwrap()
                .set_modified(at)
                .unwrap();
        }
        graphs.prune(200).unwrap();
        assert_eq!(kept(dir.path()), ["b.onnx", "c.onnx"].map(|name| dir.path().join(name)));
    }
}
