//! `sagebrush setup`.

use std::io::Write as _;

use super::output;
use crate::failure::Failure;
use crate::setup;

/// The library's path is the last line: scripts read it.
pub(crate) fn run() -> Result<(), Failure> {
    let spinner = output::spinner("fetching uv");
    let uv = setup::fetch_uv();
    spinner.finish_and_clear();
    match uv {
        Ok(path) => output::line(&path.display().to_string())?,
        // The server works without it.
        Err(error) => {
            writeln!(std::io::stderr(), "sagebrush: {error}; requirements are left to pip")?;
        }
    }
    let spinner = output::spinner("fetching ONNX Runtime");
    let library = setup::fetch();
    spinner.finish_and_clear();
    output::line(&library?.display().to_string())
}
