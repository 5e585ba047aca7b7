//! `TargetModel`: its name, and where such a model is.

use std::sync::Arc;

use sagebrush_core::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use sagebrush_core::objects::ObjectRef;
use sagebrush_core::worker::WorkerError;

/// SageMaker Runtime API: the longest `TargetModel`.
const LONGEST: usize = 1024;

/// The models below a prefix of the object store.
pub(crate) struct Models {
    artifacts: Arc<dyn Artifacts>,
    /// Ends in a slash.
    prefix: String,
}

/// One model as it is now.
pub(super) struct Found {
    pub(super) source: ModelData,
    pub(super) version: String,
}

impl Models {
    /// A prefix without a slash at its end stands for the folder of that name.
    pub(crate) fn new(artifacts: Arc<dyn Artifacts>, prefix: &str) -> Self {
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        Self { artifacts, prefix: format!("{prefix}{slash}") }
    }

    /// Finds what `target` names now.
    pub(super) async fn find(&self, target: &str) -> Result<Found, ArtifactError> {
        let mut missing = None;
        for source in self.sources(target) {
            match self.artifacts.version(&source).await {
                Ok(version) => return Ok(Found { source, version }),
                Err(error @ ArtifactError::Missing { .. }) => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| ArtifactError::Missing { uri: self.uri(target) }))
    }

    pub(super) async fn version(&self, source: &ModelData) -> Result<String, ArtifactError> {
        self.artifacts.version(source).await
    }

    pub(super) async fn fetch(
        &self,
        source: &ModelData,
    ) -> Result<Arc<dyn ArtifactLease>, ArtifactError> {
        self.artifacts.fetch(source).await
    }

    /// What a name may stand for: an archive by its ending; a folder if it ends in a slash; else
    /// one file, or a folder if there is no such object.
    fn sources(&self, target: &str) -> Vec<ModelData> {
        let uri = self.uri(target);
        if target.ends_with(".tar.gz") || target.ends_with(".tgz") {
            return vec![ModelData::Archive { uri }];
        }
        if target.ends_with('/') {
            return vec![ModelData::Prefix { uri }];
        }
        vec![ModelData::File { uri: uri.clone() }, ModelData::Prefix { uri: format!("{uri}/") }]
    }

    /// The name is part of a key and never of a path: nothing in it is decoded.
    fn uri(&self, target: &str) -> String {
        format!("{}{target}", self.prefix)
    }
}

/// Refuses names that no client means well with, before anything is looked up.
pub(super) fn check(target: &str) -> Result<(), WorkerError> {
    let below = target.strip_suffix('/').unwrap_or(target);
    let is_plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let is_good = target.chars().count() <= LONGEST
        && below.split('/').all(is_plain)
        && !target.contains(|c: char| c == '\\' || c.is_control());
    if is_good {
        return Ok(());
    }
    let shown: String = target.chars().take(256).collect();
    Err(WorkerError::Invalid {
        message: format!(
            "TargetModel {shown:?} must be the key of a model, relative to the ModelDataUrl of its \
             container: 1 to {LONGEST} characters, without empty segments, \".\", \"..\" or \
             backslashes."
        ),
    })
}

/// What SageMaker says of a model that is not there.
pub(super) fn missing(uri: &str) -> String {
    let at = ObjectRef::parse(uri);
    let (bucket, key) =
        at.map_or_else(|| (String::new(), uri.to_owned()), |at| (at.bucket, at.key));
    format!(
        "Failed to download model data(bucket: {bucket}, key: {key}). Please ensure that there is \
         an object located at the URL and that the role passed to CreateModel has permissions to \
         download the model."
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sagebrush_core::artifact::ModelData;

    use super::{Models, check};
    use crate::testing::FakeArtifacts;

    #[test]
    fn names_that_are_refused() {
        for good in ["a.tar.gz", "a/b/c.tar.gz", "model.onnx", "folder/", "%2e%2e/a", "a..b", "ä b"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "a".repeat(1025);
        for bad in [
            "", "/", "/a", "a//b", "a//", "..", "../a", "a/..", "a/../b", ".", "./a", "a/.",
            "a\\b", "a\0b", "a\nb", &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn where_a_model_may_be() {
        let uri = |name: &str| format!("s3://b/models/{name}");
        for prefix in ["s3://b/models", "s3://b/models/"] {
            let models = Models::new(Arc::new(FakeArtifacts), prefix);
            assert_eq!(models.sources("a.tar.gz"), [ModelData::Archive { uri: uri("a.tar.gz") }]);
            assert_eq!(models.sources("a/"), [ModelData::Prefix { uri: uri("a/") }]);
            assert_eq!(
                models.sources("a.onnx"),
                [ModelData::File { uri: uri("a.onnx") }, ModelData::Prefix { uri: uri("a.onnx/") }]
            );
        }
    }
}
