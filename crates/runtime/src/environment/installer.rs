//! Runs uv, or pip where there is none.
//!
//! In the sandbox, as packages may bring code that runs when they are built; with the network, and
//! with nothing to write to but its own home.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::logs::{LogSink, LogStream};
use sagebrush_core::task;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::shelf::{Part, Shelf};
use super::wanted::Wanted;
use super::{EnvironmentError, Interpreter, Options, settings};
use crate::output;
use crate::sandbox::{Confinement, Program, executable};
use crate::tree::{Exit, Tree};

/// How many of the installer's last lines say why it failed.
const LINES: usize = 15;
/// Packages that are built for longer do not come to an end.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Plain lines, and no Python but the one that is named.
const QUIET: &[(&str, &str)] = &[
    ("NO_COLOR", "1"),
    ("UV_NO_PROGRESS", "1"),
    ("UV_NO_CONFIG", "1"),
    ("UV_PYTHON_DOWNLOADS", "never"),
    ("PIP_NO_COLOR", "1"),
    ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
    ("PIP_ROOT_USER_ACTION", "ignore"),
];

pub(super) struct Installer<'a> {
    interpreter: &'a Interpreter,
    /// Pip of the interpreter if `None`.
    uv: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    no_index: bool,
}

impl<'a> Installer<'a> {
    pub(super) async fn new(options: &Options, interpreter: &'a Interpreter) -> Self {
        let given = options.uv.as_deref().and_then(|uv| executable(uv).ok());
        let uv = given.or_else(|| executable(Path::new("uv")).ok());
        let pip = settings::read(&interpreter.path, &options.environment).await;
        let environment = match uv {
            Some(_) => settings::for_uv(&pip, &options.environment),
            None => settings::for_pip(&pip, &options.environment),
        };
        Self { interpreter, uv, environment, no_index: settings::has_no_index(&pip) }
    }

    /// Installs what is wanted, and keeps it under that name.
    pub(super) async fn run(
        &self,
        shelf: &Shelf,
        wanted: &Wanted,
        name: &str,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<PathBuf, EnvironmentError> {
        let machine = |error| EnvironmentError::machine("The installer cannot be run", error);
        let part = shelf.part(name).await?;
        let (wanted, code) = (wanted.clone(), part.code());
        let files = task::blocking(move || wanted.copy(&code)).await;
        let files = files.map_err(std::io::Error::other).flatten().map_err(machine)?;
        let home = shelf.sandbox.home().map_err(machine)?;
        let readable = [self.interpreter.readable.clone(), settings::paths(&self.environment)];
        let confinement = Confinement {
            readable: readable.concat(),
            writable: vec![part.path().to_owned()],
            network: true,
            ..Confinement::default()
        };
        let program = self.program(&part, &files);
        let tree = shelf.sandbox.start(program, &confinement, home).await.map_err(machine)?;
        let Ok((exit, said)) = timeout(LONGEST, follow(&tree, progress)).await else {
            tree.kill().await;
            shelf.discard(part).await?;
            let reason = format!("the installer took longer than {} s", LONGEST.as_secs());
            return Err(EnvironmentError::Install { reason });
        };
        if exit == Exit::Code(0) {
            return shelf.keep(part).await;
        }
        shelf.discard(part).await?;
        let reason = if said.is_empty() { format!("the installer {exit}") } else { said };
        Err(EnvironmentError::Install { reason })
    }

    fn program(&self, part: &Part, files: &[PathBuf]) -> Program {
        let python = &self.interpreter.path;
        let mut arguments: Vec<OsString> = Vec::new();
        if self.uv.is_some() {
            arguments.extend(["pip", "install", "--compile-bytecode", "--python"].map(Into::into));
            arguments.push(python.into());
        } else {
            arguments.extend(["-m", "pip", "install", "--no-input"].map(Into::into));
            arguments.extend(["--progress-bar", "off"].map(Into::into));
        }
        if self.no_index {
            arguments.push("--no-index".into());
        }
        arguments.extend(["--target".into(), part.site().into_os_string()]);
        for file in files {
            arguments.extend(["-r".into(), file.into()]);
        }
        let mut environment = self.environment.clone();
        for (name, value) in QUIET {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let cache = part.cache().to_string_lossy().into_owned();
        environment.insert("UV_CACHE_DIR".to_owned(), cache);
        Program {
            path: self.uv.as_ref().unwrap_or(python).clone(),
            arguments,
            environment,
            directory: Some(part.code()),
            input: None,
        }
    }
}

/// Gives `progress` each line; returns how the installer ended and its last lines.
async fn follow(tree: &Tree, progress: &(dyn Fn(&str) + Sync)) -> (Exit, String) {
    let (sender, mut lines) = mpsc::unbounded_channel();
    let sink: Arc<dyn LogSink> = Arc::new(Progress(sender));
    let tail = output::follow(tree, &sink, &nowhere());
    let mut ended = std::pin::pin!(async {
        let exit = tree.ended().await;
        (exit, tail.complete().await)
    });
    let (exit, said) = loop {
        tokio::select! {
            Some(line) = lines.recv() => progress(&line),
            ended = &mut ended => break ended,
        }
    };
    while let Ok(line) = lines.try_recv() {
        progress(&line);
    }
    let said: Vec<String> =
        said.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    (exit, said[said.len().saturating_sub(LINES)..].join("\n"))
}

/// Takes the installer's lines to who waits for it.
struct Progress(mpsc::UnboundedSender<String>);

impl LogSink for Progress {
    fn write(&self, _: &LogStream, line: &str) {
        let line = plain(line);
        if !line.trim().is_empty() {
            // Nobody waits any more.
            let _unheard = self.0.send(line);
        }
    }
}

/// Lines go to who waits, to no stream.
fn nowhere() -> LogStream {
    let none: Arc<str> = Arc::from("");
    LogStream { region: none.clone(), group: none.clone(), stream: none }
}

/// A line without the control sequences that colour it.
fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            plain.push(letter);
        } else if letters.next() == Some('[') {
            // Ends with its first letter, which belongs to it.
            let _sequence = letters.by_ref().find(|letter| ('@'..='~').contains(letter));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn colours_go() {
        let cases = [
            ("\u{1b}[1m\u{1b}[31merror\u{1b}[39m\u{1b}[0m: no \u{e9}", "error: no \u{e9}"),
            ("plain [x] text", "plain [x] text"),
            ("cut \u{1b}[1", "cut "),
        ];
        for (line, wanted) in cases {
            assert_eq!(plain(line), wanted);
        }
    }
}
