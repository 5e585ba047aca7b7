//! The names of the classes.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::PostError;
use crate::serving_json::ConfigError;

const MAX_FILE_BYTES: u64 = 1 << 20;

/// A label a class, each as a JSON string.
#[derive(Debug)]
pub(super) struct Labels(Vec<String>);

impl Labels {
    /// Reads a file with a label a line. Empty lines at the end do not count.
    pub(super) fn read(dir: &Path, file: &str) -> Result<Self, ConfigError> {
        let text =
            text(dir, file).map_err(|why| ConfigError::Labels { file: file.to_owned(), why })?;
        let labels = text.trim_start_matches('\u{FEFF}').trim_end().lines().map(quoted);
        Ok(Self(labels.collect()))
    }

    /// Checks that there is a label for each class of a model, and none besides.
    pub(super) fn check(labels: Option<&Self>, classes: usize) -> Result<(), PostError> {
        match labels {
            Some(Self(labels)) if labels.len() != classes => {
                Err(PostError::LabelCount { labels: labels.len(), classes })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The label as a JSON string: without labels, the class's number.
    pub(super) fn of(labels: Option<&Self>, class: u32) -> Result<String, PostError> {
        let Some(Self(labels)) = labels else {
            return Ok(format!("\"{class}\""));
        };
        let label = usize::try_from(class).ok().and_then(|class| labels.get(class));
        label.cloned().ok_or(PostError::NoLabel { class, labels: labels.len() })
    }
}

fn quoted(label: &str) -> String {
    serde_json::Value::from(label.trim_end()).to_string()
}

/// The text of a file that lies in the folder, links followed.
fn text(dir: &Path, file: &str) -> Result<String, String> {
    let cannot = |error| format!("cannot be read: {error}");
    let path = fs::canonicalize(dir.join(file)).map_err(cannot)?;
    if !path.starts_with(fs::canonicalize(dir).map_err(cannot)?) {
        return Err("lies outside the archive".to_owned());
    }
    if !path.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut text = String::new();
    let mut limited = File::open(path).map_err(cannot)?.take(MAX_FILE_BYTES + 1);
    let bytes = limited.read_to_string(&mut text).map_err(cannot)?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(format!("has more than {MAX_FILE_BYTES} bytes"));
    }
    if text.trim().is_empty() {
        return Err("has no labels".to_owned());
    }
    Ok(text)
}
