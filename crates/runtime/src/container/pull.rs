//! Brings an image onto this machine; the engine says how far it is.

use std::time::Duration;

use http::Method;
use sagebrush_core::worker::{LaunchError, LaunchSpec};
use serde::Deserialize;
use tokio::time::timeout;

use super::engine::{Engine, EngineError};
use super::image::Reference;
use super::{failed, permanent};

/// The longest line of progress.
const LONGEST: usize = 1 << 20;
/// How long an engine may say nothing; some are silent while they fetch a large layer.
const SILENCE: Duration = Duration::from_secs(60 * 60);

#[derive(Deserialize)]
struct Progress {
    status: Option<String>,
    id: Option<String>,
    /// A bar; it changes many times a second.
    progress: Option<String>,
    error: Option<String>,
}

/// Pulls an image; its progress goes to the log of the worker that wants it.
pub(super) async fn pull(
    engine: &Engine,
    image: &Reference,
    spec: &LaunchSpec,
) -> Result<(), LaunchError> {
    let fault =
        |error: EngineError| failed(&format!("The image {} cannot be pulled", image.name), &error);
    let path = format!("/images/create?{}", image.query());
    let silent = |_late| LaunchError::Transient {
        reason: format!("The engine said nothing for {} s.", SILENCE.as_secs()),
    };
    let flow = timeout(SILENCE, engine.flow(Method::POST, &path)).await;
    let mut flow = flow.map_err(silent)?.map_err(fault)?;
    let mut rest = Vec::new();
    while let Some(chunk) = timeout(SILENCE, flow.next()).await.map_err(silent)?.map_err(fault)? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            report(&line, image, spec)?;
        }
        if rest.len() > LONGEST {
            return Err(fault(EngineError::Nonsense("a line without an end".to_owned())));
        }
    }
    report(&rest, image, spec)
}

fn report(line: &[u8], image: &Reference, spec: &LaunchSpec) -> Result<(), LaunchError> {
    let Ok(line) = serde_json::from_slice::<Progress>(line) else { return Ok(()) };
    if let Some(error) = line.error {
        let reason = format!("The image {} cannot be pulled: {error}.", image.name);
        return Err(if names_the_image(&error) {
            permanent(reason)
        } else {
            LaunchError::Transient { reason }
        });
    }
    if let (Some(status), None) = (line.status, line.progress) {
        let of = line.id.map(|id| format!("{id}: ")).unwrap_or_default();
        spec.log.write(&spec.log_stream, &format!("Pulling {}: {of}{status}", image.name));
    }
    Ok(())
}

/// The registry knows no such image, or not for us. Engines say it in words only.
fn names_the_image(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["not found", "unknown", "denied", "unauthorized"].iter().any(|word| error.contains(word))
}
