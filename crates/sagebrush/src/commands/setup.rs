//! `sagebrush setup`.

use super::output;
use crate::failure::Failure;
use crate::setup;

pub(crate) fn run() -> Result<(), Failure> {
    let spinner = output::spinner("fetching ONNX Runtime");
    let library = setup::fetch();
    spinner.finish_and_clear();
    output::line(&library?.display().to_string())
}
