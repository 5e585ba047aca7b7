//! What went wrong, for a person and for a script.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::setup::SetupError;

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot reach the server at {url}: {reason}; is `sagebrush serve` running?")]
    Unreachable { url: String, reason: String },
    /// The server's own answer.
    #[error("{code}: {message}")]
    Refused { status: u16, code: String, message: String },
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Failure {
    /// Says it in one line on standard error; the exit code is the documented one.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell when standard error is closed.
        let _told = writeln!(std::io::stderr(), "sagebrush: {self}");
        ExitCode::from(self.exit_code())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 64,
            Self::Unreachable { .. } => 69,
            Self::Refused { .. } | Self::Setup(_) | Self::Other(_) | Self::Io(_) => 1,
        }
    }
}
