//! A loaded model: its inputs and outputs, and running it on tensors.

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ort::environment::Environment;
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::Outlet;
use smallvec::SmallVec;

use crate::find;
use crate::graphs::{self, Graphs};
use crate::inspect::{self, Inspection};
use crate::port::{Kind, Port};
use crate::rows::Rows;
use crate::run::SharedSession;
use crate::tensor::{Data, Shape, Tensor, Values, volume};
pub use crate::values::{Output, Outputs};

/// A model in memory. Any number of threads may run it.
#[derive(Debug)]
pub struct Model {
    pub name: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    session: SharedSession,
    /// Whether its rows may be computed together; found out once for all workers.
    pub(crate) rows: OnceLock<Rows>,
}

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Threads within one run.
    pub intra_op_threads: usize,
}

/// Why a model could not be loaded. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    NotFound(#[from] find::FindError),
    #[error("The model {file} cannot be served: {reason}.")]
    Unreadable { file: String, reason: String },
    #[error(
        "The model {file} reads weights from {location:?}, which lies outside its folder. Pack the \
         weights beside the model."
    )]
    OutsideData { file: String, location: String },
    #[error(
        "The model {file} reads weights from {location:?}, which is not in the archive. Pack the \
         weights beside the model."
    )]
    MissingData { file: String, location: String },
    #[error(
        "The model {file} uses {what}, which this ONNX Runtime does not know: {reason}. Export it \
         again with an older opset."
    )]
    TooNew { file: String, what: String, reason: String },
    #[error("ONNX Runtime could not load the model {file}: {reason}.")]
    Refused { file: String, reason: String },
    #[error(
        "The model {file} has {end} {name:?} of the type {dtype}, which is not served. For a \
         classifier of skl2onnx, convert with zipmap=False."
    )]
    UnservedType { file: String, end: &'static str, name: String, dtype: String },
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// ONNX Runtime says that the input does not fit the model.
    #[error("the model does not take this input: {0}")]
    BadInput(String),
    #[error("the model failed: {0}")]
    Failed(String),
}

impl Model {
    /// Loads the model in `dir`. Takes long: call it where blocking is fine.
    ///
    /// # Errors
    /// When there is none, it reaches for files outside, or ONNX Runtime cannot load it.
    pub fn load(env: &Environment, dir: &Path, options: Options) -> Result<Self, ModelError> {
        Self::load_with(env, dir, options, None)
    }

    /// As [`Model::load`], from an optimized graph of `graphs` if it is there; else it is then.
    pub(crate) fn load_with(
        env: &Environment,
        dir: &Path,
        options: Options,
        graphs: Option<&Graphs>,
    ) -> Result<Self, ModelError> {
        let path = find::find(dir)?;
        let file = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        let inspection = inspect(&path, &file)?;
        check_external_data(&path, &file, &inspection)?;
        // A graph that was written elsewhere would not find weights beside it.
        let graphs = graphs.filter(|_| inspection.external.is_empty());
        let keeps_memory = !inspection.external.is_empty() || is_large(&path);
        let session = Build { env, options, keeps_memory }
            .open(&path, graphs)
            .map_err(|error| explain(&file, &inspection, error.message()))?;

        let ports = |outlets: &[Outlet], end: &'static str| {
            let read = |outlet: &Outlet| {
                Port::read(outlet).map_err(|dtype| unserved(&file, end, outlet.name(), dtype))
            };
            outlets.iter().map(read).collect::<Result<Vec<_>, _>>()
        };
        let inputs = ports(session.session().inputs(), "an input")?;
        let outputs = ports(session.session().outputs(), "an output")?;
        let zipmap = inputs.iter().find(|port| matches!(port.kind, Kind::ZipMap { .. }));
        if let Some(port) = zipmap {
            return Err(unserved(&file, "an input", &port.name, port.kind.to_string()));
        }
        Ok(Self {
            name: find::name_of(dir, &path),
            inputs,
            outputs,
            session,
            rows: OnceLock::new(),
        })
    }

    /// Runs the model on one tensor for each input, in the order of `inputs`.
    ///
    /// # Errors
    /// When the model does not take the tensors, or fails on them.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Outputs<'_>, RunError> {
        let lent: SmallVec<[_; 4]> = inputs
            .iter()
            .map(|tensor| (tensor.shape.as_slice().into(), tensor.data.values()))
            .collect();
        self.compute(&lent)
    }

    /// As [`Model::run`], on shapes and values that are lent.
    pub(crate) fn compute(&self, inputs: &[(Shape, Values<'_>)]) -> Result<Outputs<'_>, RunError> {
        let lend = |(shape, values): &(Shape, _)| self.session.input(shape, *values);
        let inputs: SmallVec<[_; 4]> =
            inputs.iter().map(lend).collect::<Result<_, ort::Error>>()?;
        let values = self.session.run(&inputs)?;
        Ok(Outputs::new(&self.outputs, values)?)
    }

    /// Runs the model once on zeros, so that the first call need not pay for what the first run
    /// sets up. Returns how much of this thread's time it took, or `None` if the shapes of the
    /// inputs are not known.
    ///
    /// # Errors
    /// When the model fails on zeros, which says little about other inputs.
    pub fn warm_up(&self) -> Result<Option<Duration>, RunError> {
        let Some(inputs) = self.inputs.iter().map(zeros).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let before = cpu_time();
        self.run(&inputs)?;
        Ok(Some(cpu_time().saturating_sub(before)))
    }
}

/// What this thread has computed so far. Other than time that passes, it does not count what
/// neighbours take.
pub(crate) fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(spent).unwrap_or_default()
}

/// A tensor of zeros with one row, if all other dimensions are fixed and it is not huge.
fn zeros(port: &Port) -> Option<Tensor> {
    const MOST: usize = 64 << 20;
    let first = port.dims().first().map(|dim| dim.fixed().unwrap_or(1));
    let shape: Vec<usize> = first.into_iter().chain(port.tail()?).collect();
    let n = volume(&shape).filter(|n| *n <= MOST)?;
    Some(Tensor { name: port.name.clone(), shape, data: Data::zeros(port.dtype(), n) })
}

fn inspect(path: &Path, file: &str) -> Result<Inspection, ModelError> {
    let unreadable = |reason: String| ModelError::Unreadable { file: file.to_owned(), reason };
    let opened = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    inspect::inspect(opened).map_err(|error| unreadable(error.to_string()))
}

/// Sees that all weights lie below the model's own folder.
fn check_external_data(path: &Path, file: &str, found: &Inspection) -> Result<(), ModelError> {
    let folder = path.parent().unwrap_or(path);
    for location in &found.external {
        let (file, location) = (file.to_owned(), location.clone());
        if !inspect::stays_inside(&location) {
            return Err(ModelError::OutsideData { file, location });
        }
        if !folder.join(&location).is_file() {
            return Err(ModelError::MissingData { file, location });
        }
    }
    Ok(())
}

/// How sessions of one model are made.
struct Build<'e> {
    env: &'e Environment,
    options: Options,
    /// ONNX Runtime keeps the memory of runs for the next ones.
    keeps_memory: bool,
}

impl Build<'_> {
    fn open(&self, path: &Path, graphs: Option<&Graphs>) -> Result<SharedSession, ort::Error> {
        let all = GraphOptimizationLevel::All;
        let Some((graphs, place)) = graphs.and_then(|graphs| Some((graphs, graphs.place(path)?)))
        else {
            return SharedSession::new(self.builder(all)?.commit_from_file(path)?);
        };
        if place.is_file() {
            let mut builder = self.builder(GraphOptimizationLevel::Disable)?;
            match builder.commit_from_file(&place) {
                Ok(session) => return SharedSession::new(session),
                Err(error) => tracing::debug!(%error, "an optimized graph is of no use"),
            }
            graphs::discard(&place);
        }
        let draft = graphs.draft();
        let writing = self.builder(all)?.with_optimized_model_path(&draft)?;
        let session = { writing }.commit_from_file(path);
        match session {
            Ok(session) => {
                graphs.keep(&draft, &place);
                SharedSession::new(session)
            }
            Err(_) => {
                // If it was for the writing, it loads without.
                graphs::discard(&draft);
                SharedSession::new(self.builder(all)?.commit_from_file(path)?)
            }
        }
    }

    fn builder(&self, level: GraphOptimizationLevel) -> Result<SessionBuilder, ort::Error> {
        // Only the CPU's provider: `SharedSession` relies on it.
        let cpu = ep::CPU::default().with_arena_allocator(self.keeps_memory).build();
        let builder = Session::builder(self.env)?
            .with_execution_providers([cpu])?
            .with_memory_pattern(self.keeps_memory)?
            .with_optimization_level(level)?
            .with_intra_threads(self.options.intra_op_threads)?
            .with_intra_op_spinning(false)? // Idle threads must not eat the cores of other models.
            .with_inter_op_spinning(false)?
            .with_log_level(LogLevel::Warning)?;
        Ok(builder)
    }
}

/// Whether its runs take so much memory that it is worth keeping. The memory is kept behind locks,
/// at which the threads that run a small model would meet with every call.
fn is_large(path: &Path) -> bool {
    const LARGE: u64 = 2 << 20;
    path.metadata().map_or(true, |file| file.len() > LARGE)
}

/// Turns ONNX Runtime's reason into one that says what to do.
fn explain(file: &str, found: &Inspection, message: &str) -> ModelError {
    let (file, reason) = (file.to_owned(), plain(message));
    if message.contains("Unsupported model IR version") {
        return ModelError::TooNew {
            file,
            what: format!("IR version {}", found.ir_version),
            reason,
        };
    }
    let about_opsets = message.contains("official released onnx opset versions")
        || message.contains("No Op registered for");
    if about_opsets {
        let opsets = found.opsets.iter().map(|(domain, version)| match domain.as_str() {
            "" => format!("opset {version}"),
            domain => format!("opset {version} of {domain}"),
        });
        let what = opsets.collect::<Vec<_>>().join(" and ");
        return ModelError::TooNew { file, what, reason };
    }
    ModelError::Refused { file, reason }
}

fn unserved(file: &str, end: &'static str, name: &str, dtype: String) -> ModelError {
    ModelError::UnservedType { file: file.to_owned(), end, name: name.to_owned(), dtype }
}

impl From<ort::Error> for RunError {
    fn from(error: ort::Error) -> Self {
        let message = plain(error.message());
        if error.code() == ort::ErrorCode::InvalidArgument {
            Self::BadInput(message)
        } else {
            Self::Failed(message)
        }
    }
}

/// What ONNX Runtime says, without the places in its source and the paths of this machine.
fn plain(message: &str) -> String {
    const LONGEST: usize = 400;
    // "Load model from <path> failed:<what is wrong>".
    let said = message.split_once(" failed:").map_or(message, |(_, reason)| reason);
    // "<what failed> /onnxruntime_src/<file>:<line> <function with its types> <what is wrong>".
    let said = match said.split_once("/onnxruntime_src/") {
        Some((before, located)) => {
            let reason = located.rsplit_once(") ").map_or(located, |(_, reason)| reason);
            format!("{before}{reason}")
        }
        None => said.to_owned(),
    };
    let first_line = said.trim().lines().next().unwrap_or("no reason given");
    let short: String = first_line.chars().take(LONGEST).collect();
    short.trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn keeps_the_reason_and_drops_the_places() {
        let of_a_load = "Load model from /data/m/model.onnx failed:/onnxruntime_src/onnxruntime/core/\
            graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&, bool) Unsupported \
            model IR version: 99, max supported IR version: 13\n";
        assert_eq!(
            plain(of_a_load),
            "Unsupported model IR version: 99, max supported IR version: 13"
        );
        let of_a_run = "Non-zero status code returned while running Reshape node. Status Message: \
            /onnxruntime_src/onnxruntime/reshape_helper.h:47 onnxruntime::ReshapeHelper(bool) The \
            input tensor cannot be reshaped.";
        assert_eq!(
            plain(of_a_run),
            "Non-zero status code returned while running Reshape node. Status Message: The input \
             tensor cannot be reshaped"
        );
    }
}
