//! Which runtime serves which image. Images are names here: nothing is pulled.

use std::sync::Arc;

use sagebrush_core::worker::{LaunchError, Runtime};

/// Maps images to runtimes by patterns of their names. The first pattern that fits counts.
#[derive(Clone, Default)]
pub struct Catalogue {
    entries: Vec<(String, Arc<dyn Runtime>)>,
    fallback: Option<Arc<dyn Runtime>>,
}

impl Catalogue {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves the images that `pattern` fits, unless an earlier one does.
    ///
    /// `*` stands for any characters, `?` for one. A pattern is held against the repository alone,
    /// in any registry and with any tag; or, if it names a registry or has a `:` in it, against
    /// the whole image, as in `process://*`.
    #[must_use]
    pub fn with(mut self, pattern: impl Into<String>, runtime: Arc<dyn Runtime>) -> Self {
        self.entries.push((pattern.into(), runtime));
        self
    }

    /// Serves all images that no pattern fits.
    #[must_use]
    pub fn with_fallback(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.fallback = Some(runtime);
        self
    }

    /// The runtime of `image`.
    ///
    /// # Errors
    /// For an unknown image; says which are known and how to add one.
    pub fn runtime(&self, image: &str) -> Result<Arc<dyn Runtime>, LaunchError> {
        let entry = self.entries.iter().find(|(pattern, _)| fits(pattern, image));
        let runtime = entry.map(|(_, runtime)| runtime).or(self.fallback.as_ref());
        runtime.cloned().ok_or_else(|| self.unknown(image))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<dyn Runtime>> {
        self.entries.iter().map(|(_, runtime)| runtime).chain(&self.fallback)
    }

    fn unknown(&self, image: &str) -> LaunchError {
        let known: Vec<&str> = self.entries.iter().map(|(pattern, _)| pattern.as_str()).collect();
        LaunchError::Permanent {
            reason: format!(
                "The image {image} is not known. Use one of: {}; or add an [[image]] entry with \
                 this pattern to sagebrush.toml (see docs/images.md), or configure a container \
                 socket.",
                known.join(", ")
            ),
        }
    }
}

fn fits(pattern: &str, image: &str) -> bool {
    let is_of_whole_image = pattern.contains(':') || split_host(pattern).0.is_some();
    if is_of_whole_image {
        return glob(pattern.as_bytes(), image.as_bytes());
    }
    repository(image).is_some_and(|name| glob(pattern.as_bytes(), name.as_bytes()))
}

/// The repository of an image: `host:port/team/name:tag@digest` without host, tag and digest.
/// None for what is no image but has a scheme: `process:///opt/serve`.
fn repository(image: &str) -> Option<&str> {
    if image.contains("://") {
        return None;
    }
    let image = image.split_once('@').map_or(image, |(name, _digest)| name);
    let (_, path) = split_host(image);
    Some(path.split_once(':').map_or(path, |(name, _tag)| name))
}

/// The registry's host, if the name begins with one, and the rest.
fn split_host(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        Some(_) | None => (None, image),
    }
}

/// Whether `text` is as `pattern` says. Never takes longer than the product of their lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None; // Behind the last `*`, and where it ends so far.
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if wanted == byte || *wanted == b'?' => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((behind, end)) = star else { return false };
                star = Some((behind, end + 1));
                p = behind;
                t = end + 1;
            }
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Catalogue, fits, repository};
    use crate::testing::FakeRuntime;

    #[test]
    fn repository_of_an_image() {
        let check = |image, wanted| assert_eq!(repository(image), wanted, "{image}");
        check("onnx", Some("onnx"));
        check("onnx:1", Some("onnx"));
        check("sagebrush/onnx:1@sha256:abc", Some("sagebrush/onnx"));
        check(
            "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagebrush/onnx:1",
            Some("sagebrush/onnx"),
        );
        check("localhost:5000/onnx:1", Some("onnx"));
        check("localhost/onnx", Some("onnx"));
        check("process:///opt/serve", None);
    }

    #[test]
    fn patterns() {
        let ecr = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.3-cpu-py311";
        for (pattern, image, wanted) in [
            ("onnx", "onnx:1", true),
            ("onnx", "my/onnx", false),
            ("*onnx", "my/onnx", true),
            ("onnx*", "sagebrush/onnx", false),
            ("pytorch-inference*", ecr, true),
            ("*-inference", ecr, true),
            ("pytorch-?nference", ecr, true),
            ("pytorch-??nference", ecr, false),
            ("*.amazonaws.com/pytorch-*:2.3-*", ecr, true),
            ("*:2.4-*", ecr, false),
            ("*.amazonaws.com/pytorch-inference", ecr, false),
            ("process://*", "process:///opt/app/serve", true),
            ("*", "process:///opt/app/serve", false),
            ("*", ecr, true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXbYY", false),
            ("", "onnx", false),
        ] {
            assert_eq!(fits(pattern, image), wanted, "{pattern} {image}");
        }
    }

    #[test]
    fn the_first_pattern_counts_and_the_fallback_last() {
        let [first, second, other] = [(); 3].map(|()| Arc::new(FakeRuntime::default()));
        let catalogue = Catalogue::new()
            .with("sklearn-mine", first.clone())
            .with("sklearn*".to_owned(), second.clone());
        let same = |image: &str, runtime: &Arc<FakeRuntime>| {
            let found = catalogue.runtime(image).ok().map(|found| Arc::as_ptr(&found).cast::<()>());
            assert_eq!(found, Some(Arc::as_ptr(runtime).cast()), "{image}");
        };
        same("sklearn-mine:1", &first);
        same("sklearn-other", &second);
        let refusal = catalogue.runtime("nginx").err().unwrap().to_string();
        assert!(refusal.contains("nginx is not known. Use one of: sklearn-mine, sklearn*;"));
        assert!(catalogue.with_fallback(other).runtime("nginx").is_ok());
    }
}
