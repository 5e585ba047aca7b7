//! Names of images, and what is behind them on this machine.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::engine::{Engine, EngineError};

/// What a name may have in a query beside letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// `repository[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) repository: String,
    /// A tag or a digest.
    pub(super) version: String,
}

/// An image of this machine.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// `repository@sha256:...`.
    pub(super) digest: String,
    /// It keeps the contract of multi-model containers.
    pub(super) hosts_models: bool,
}

/// By this label an image says that it does.
pub(super) const HOSTS_MODELS: &str = "com.amazonaws.sagemaker.capabilities.multi-models";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    repo_digests: Option<Vec<String>>,
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

impl Reference {
    /// `None` if `image` is no name of an image.
    pub(super) fn parse(image: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !image.bytes().all(is_plain) || !image.split('/').all(is_part) {
            return None;
        }
        let (tagged, digest) = match image.split_once('@') {
            Some((tagged, digest)) => (tagged, Some(digest)),
            None => (image, None),
        };
        let (repository, tag) = match tagged.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (tagged, "latest"), // What stands before a slash is a port.
        };
        let version = digest.unwrap_or(tag);
        let whole = !repository.is_empty() && !version.is_empty();
        whole.then(|| Self {
            name: image.to_owned(),
            repository: repository.to_owned(),
            version: version.to_owned(),
        })
    }

    /// What is there under this name. `None` if nothing is.
    pub(super) async fn find(&self, engine: &Engine) -> Result<Option<Found>, EngineError> {
        match engine.get::<Inspected>(&format!("/images/{}/json", self.name)).await {
            Ok(found) => {
                let digest = self.resolved(&found);
                Ok(Some(Found { digest, hosts_models: found.has(HOSTS_MODELS) }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An image that was built here has no digest of a registry, but an id.
    fn resolved(&self, found: &Inspected) -> String {
        let digests = found.repo_digests.as_deref().unwrap_or_default();
        let ours = digests.iter().find(|digest| {
            digest.split_once('@').is_some_and(|(repository, _)| repository == self.repository)
        });
        let id = || format!("{}@{}", self.repository, found.id);
        ours.or_else(|| digests.first()).cloned().unwrap_or_else(id)
    }

    /// The query of a pull.
    pub(super) fn query(&self) -> String {
        let [repository, version] =
            [&self.repository, &self.version].map(|part| utf8_percent_encode(part, PLAIN));
        format!("fromImage={repository}&tag={version}")
    }
}

impl Inspected {
    /// True if the label says so.
    fn has(&self, label: &str) -> bool {
        let labels = self.config.as_ref().and_then(|config| config.labels.as_ref());
        labels.and_then(|labels| labels.get(label)).is_some_and(|value| value == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_repository_and_a_version() {
        let check = |image: &str, want: Option<(&str, &str)>| {
            let found = Reference::parse(image);
            let found = found.as_ref().map(|it| (it.repository.as_str(), it.version.as_str()));
            assert_eq!(found, want, "{image}");
        };
        check("app", Some(("app", "latest")));
        check("app:1.2", Some(("app", "1.2")));
        check("localhost:5000/team/app", Some(("localhost:5000/team/app", "latest")));
        check("localhost:5000/app:1", Some(("localhost:5000/app", "1")));
        check("app:1@sha256:ab", Some(("app", "sha256:ab")));
        check("", None);
        check("a//b", None);
        check("../containers/x", None);
        check("app?x", None);
        check("app:", None);
        check(":1", None);
    }

    #[test]
    fn a_pull_asks_for_one_version() {
        let query = Reference::parse("localhost:5000/a/b@sha256:ab").unwrap().query();
        assert_eq!(query, "fromImage=localhost%3A5000%2Fa%2Fb&tag=sha256%3Aab");
    }

    #[test]
    fn the_digest_of_the_own_repository_counts() {
        let check = |digests: Option<&[&str]>, want: &str| {
            let digests = digests.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
            let found =
                Inspected { id: "sha256:id".to_owned(), repo_digests: digests, config: None };
            assert_eq!(Reference::parse("b/app:1").unwrap().resolved(&found), want);
        };
        check(Some(&["a/app@sha256:1", "b/app@sha256:2"]), "b/app@sha256:2");
        check(Some(&["a/app@sha256:1"]), "a/app@sha256:1");
        check(Some(&[]), "b/app@sha256:id");
        check(None, "b/app@sha256:id");
    }
}
