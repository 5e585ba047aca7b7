//! Which runtime serves which image. Images are names here: nothing is pulled.

use std::sync::Arc;

use sagebrush_core::worker::{LaunchError, Runtime};

/// Maps images to runtimes by the name of their repository.
#[derive(Clone, Default)]
pub struct Catalogue {
    entries: Vec<(String, Arc<dyn Runtime>)>,
}

impl Catalogue {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves images whose repository is `repository`, in any registry and with any tag.
    #[must_use]
    pub fn with(mut self, repository: impl Into<String>, runtime: Arc<dyn Runtime>) -> Self {
        self.entries.push((repository.into(), runtime));
        self
    }

    /// The runtime of `image`.
    ///
    /// # Errors
    /// For an unknown image, with the names of those that are known.
    pub fn runtime(&self, image: &str) -> Result<Arc<dyn Runtime>, LaunchError> {
        let wanted = repository(image);
        let entry = self.entries.iter().find(|(repository, _)| *repository == wanted);
        entry.map(|(_, runtime)| runtime.clone()).ok_or_else(|| self.unknown(image))
    }

    fn unknown(&self, image: &str) -> LaunchError {
        let known: Vec<&str> =
            self.entries.iter().map(|(repository, _)| repository.as_str()).collect();
        LaunchError::Permanent {
            reason: format!("The image {image} is not known. Use one of: {}.", known.join(", ")),
        }
    }
}

/// The repository of an image: `host:port/team/name:tag@digest` without host, tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _digest)| name);
    let image = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => image,
    };
    image.split_once(':').map_or(image, |(name, _tag)| name)
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn repository_of_an_image() {
        let check = |image, wanted| assert_eq!(repository(image), wanted, "{image}");
        check("onnx", "onnx");
        check("onnx:1", "onnx");
        check("sagebrush/onnx:1@sha256:abc", "sagebrush/onnx");
        check("123456789012.dkr.ecr.us-east-1.amazonaws.com/sagebrush/onnx:1", "sagebrush/onnx");
        check("localhost:5000/onnx:1", "onnx");
        check("localhost/onnx", "onnx");
    }
}
