//! ONNX Runtime's shared library: opened once in a process, at the first launch.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;

/// Why ONNX Runtime is not to be had. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "ONNX Runtime's library is not at {0}. Run `sagebrush setup`, which fetches it, or set its \
         path in the configuration."
    )]
    Missing(PathBuf),
    #[error(
        "ONNX Runtime's library at {path} could not be loaded: {reason}. Run `sagebrush setup`, \
         which fetches one that fits."
    )]
    Refused { path: PathBuf, reason: String },
    #[error("The system gives no threads to compute on: {0}.")]
    Threads(#[source] std::io::Error),
}

/// Opens the library at `path`, or returns what an earlier call opened, whatever its path: a
/// process holds one ONNX Runtime. A failure is not remembered.
///
/// # Errors
/// When there is no library, or it is too old or for another machine.
pub fn open(path: &Path) -> Result<Environment, LoadError> {
    static OPENED: Mutex<Option<Environment>> = Mutex::new(None);

    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*opened {
        return Ok(environment.clone());
    }
    let environment = open_first(path)?;
    *opened = Some(environment.clone());
    Ok(environment)
}

fn open_first(path: &Path) -> Result<Environment, LoadError> {
    if !path.is_file() {
        return Err(LoadError::Missing(path.to_owned()));
    }
    let refused = |reason: String| LoadError::Refused { path: path.to_owned(), reason };
    let builder = ort::init_from(path).map_err(|error| refused(error.to_string()))?;
    let environment = builder
        .with_name("sagebrush")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| refused(error.to_string()))?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

/// Passes on what ONNX Runtime logs. Its errors come back as errors too, and are handled there.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => tracing::trace!(location, message, "onnxruntime"),
        LogLevel::Warning | LogLevel::Error => tracing::debug!(location, message, "onnxruntime"),
        LogLevel::Fatal => tracing::error!(location, message, "onnxruntime"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::open_first;

    #[test]
    fn says_how_to_get_the_library() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so");
        let said = open_first(&path).err().unwrap().to_string();
        assert!(said.starts_with("ONNX Runtime's library is not at "), "{said}");
        assert!(said.contains("Run `sagebrush setup`"), "{said}");

        fs::write(&path, b"not a library").unwrap();
        let said = open_first(&path).err().unwrap().to_string();
        assert!(said.contains("could not be loaded"), "{said}");
        assert!(said.contains("Run `sagebrush setup`"), "{said}");
    }
}
