//! The objects of a job, and where the output of each goes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{ObjectError, ObjectMeta, ObjectRef, ObjectStore};

use super::{Source, Work};

/// How many objects are listed at once.
const PAGE: usize = 1000;
/// The largest manifest, in bytes.
const LARGEST_MANIFEST: u64 = 64 << 20;
/// SageMaker: what the key of an output ends with.
const SUFFIX: &str = ".out";

/// An object and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) at: ObjectRef,
    pub(super) output: ObjectRef,
    /// What their keys have in common.
    pub(super) relative: String,
}

/// All inputs of a job, in an order that stays.
pub(super) enum Inputs {
    Listed(Listing),
    Named(Vec<Input>),
}

/// The objects below a prefix.
pub(super) struct Listing {
    objects: Arc<dyn ObjectStore>,
    prefix: ObjectRef,
    /// What the keys of outputs have in place of `base`.
    output: ObjectRef,
    /// The part of a key that outputs do not have.
    base: String,
    /// Outputs that are there since then are the job's own, and no input.
    since: Timestamp,
}

impl Inputs {
    /// Finds out where the inputs of a job are that was created at `since`.
    pub(super) async fn look(
        objects: &Arc<dyn ObjectStore>,
        work: &Work,
        since: Timestamp,
    ) -> Result<Self, InputError> {
        let output = output_path(&work.output_path)?;
        match &work.source {
            Source::Prefix(uri) => {
                let prefix = parse(uri)?;
                let base = prefix.key.clone();
                let objects = objects.clone();
                let mut listing = Listing { objects, prefix, output, base, since };
                listing.base = listing.found_base().await?;
                Ok(Self::Listed(listing))
            }
            Source::Manifest(uri) => {
                let text = manifest(&**objects, uri).await?;
                let bad = |reason| InputError::Manifest { uri: uri.clone(), reason };
                named(&text, &output).map(Self::Named).map_err(bad)
            }
        }
    }

    pub(super) fn stream(self) -> BoxStream<'static, Result<Input, InputError>> {
        match self {
            Self::Listed(listing) => listing.stream(),
            Self::Named(inputs) => stream::iter(inputs).map(Ok).boxed(),
        }
    }
}

impl Listing {
    /// Outputs have the part of a key that is behind the prefix; where the prefix ends within a
    /// name, the whole name.
    async fn found_base(&self) -> Result<String, InputError> {
        let prefix = self.prefix.key.as_str();
        let as_folder = format!("{prefix}/");
        let is_whole = prefix.is_empty() || prefix.ends_with('/');
        let mut after = None;
        let (mut n_objects, mut all_below) = (0, true);
        loop {
            let page = self.page(after.as_deref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let inputs = page.iter().filter(|object| self.is_input(object));
            for object in inputs {
                n_objects += 1;
                all_below &= object.key.starts_with(&as_folder);
            }
            if n_objects > 0 && (is_whole || !all_below) {
                break;
            }
        }
        if n_objects == 0 {
            return Err(InputError::Empty { uri: self.prefix.to_string() });
        }
        Ok(if is_whole {
            prefix.to_owned()
        } else if all_below {
            as_folder
        } else {
            prefix.rsplit_once('/').map_or_else(String::new, |(folder, _)| format!("{folder}/"))
        })
    }

    fn stream(self) -> BoxStream<'static, Result<Input, InputError>> {
        let listed = (Arc::new(self), VecDeque::<ObjectMeta>::new(), None::<String>);
        let inputs = stream::try_unfold(listed, |(listing, mut page, after)| async move {
            if page.is_empty() {
                page = listing.page(after.as_deref()).await?.into();
            }
            let Some(object) = page.pop_front() else { return Ok(None) };
            let after = Some(object.key.clone());
            let input = listing.is_input(&object).then(|| listing.input(object));
            Ok(Some((input, (listing, page, after))))
        });
        inputs.try_filter_map(async |input| Ok(input)).boxed()
    }

    async fn page(&self, after: Option<&str>) -> Result<Vec<ObjectMeta>, InputError> {
        let ObjectRef { bucket, key } = &self.prefix;
        self.objects
            .list(bucket, key, after, PAGE)
            .await
            .map_err(|source| InputError::Unreadable { uri: self.prefix.to_string(), source })
    }

    /// Not a folder's marker, and no output that this job has written.
    fn is_input(&self, object: &ObjectMeta) -> bool {
        let is_marker = object.size == 0 && object.key.ends_with('/');
        let is_own = object.modified_at >= self.since
            && self.output.bucket == self.prefix.bucket
            && object.key.starts_with(&self.output.key)
            && object.key.ends_with(SUFFIX);
        !is_marker && !is_own
    }

    fn input(&self, object: ObjectMeta) -> Input {
        let relative = object.key.strip_prefix(&self.base).unwrap_or(&object.key).to_owned();
        let bucket = self.prefix.bucket.clone();
        Input::new(ObjectRef { bucket, key: object.key }, &self.output, &relative)
    }
}

fn parse(uri: &str) -> Result<ObjectRef, InputError> {
    // A bucket alone may be named without the slash behind it.
    ObjectRef::parse(uri)
        .or_else(|| ObjectRef::parse(&format!("{uri}/")))
        .ok_or_else(|| InputError::Uri { uri: uri.to_owned() })
}

/// `S3OutputPath` as a prefix that ends with a slash, or as the whole bucket.
pub(super) fn output_path(uri: &str) -> Result<ObjectRef, InputError> {
    let mut path = parse(uri)?;
    if !path.key.is_empty() && !path.key.ends_with('/') {
        path.key.push('/');
    }
    Ok(path)
}

impl Input {
    fn new(at: ObjectRef, path: &ObjectRef, relative: &str) -> Self {
        let relative = relative.trim_start_matches('/').to_owned();
        let key = format!("{}{relative}{SUFFIX}", path.key);
        Self { at, output: ObjectRef { bucket: path.bucket.clone(), key }, relative }
    }
}

async fn manifest(objects: &dyn ObjectStore, uri: &str) -> Result<Vec<u8>, InputError> {
    let at = parse(uri)?;
    let unreadable = |source| InputError::Unreadable { uri: uri.to_owned(), source };
    let (meta, mut body) = objects.get(&at, None).await.map_err(unreadable)?;
    if meta.size > LARGEST_MANIFEST {
        let reason = format!("it is longer than {LARGEST_MANIFEST} bytes");
        return Err(InputError::Manifest { uri: uri.to_owned(), reason });
    }
    let mut text = Vec::new();
    while let Some(piece) = body.next().await {
        text.extend_from_slice(&piece.map_err(|error| unreadable(error.into()))?);
    }
    Ok(text)
}

/// SageMaker: `[{"prefix": "s3://bucket/folder/"}, "relative/key", ...]`.
fn named(text: &[u8], path: &ObjectRef) -> Result<Vec<Input>, String> {
    let entries: Vec<serde_json::Value> =
        serde_json::from_slice(text).map_err(|error| format!("it is no JSON list: {error}"))?;
    let mut entries = entries.iter();
    let prefix = entries.next().and_then(|first| first.get("prefix")?.as_str());
    let prefix = prefix.ok_or(r#"it does not begin with {"prefix": "s3://..."}"#)?;
    let mut seen = BTreeSet::new();
    let mut inputs = Vec::new();
    for entry in entries {
        let relative = entry.as_str().ok_or_else(|| format!("{entry} is no text"))?;
        if !seen.insert(relative) {
            return Err(format!("it names {relative} twice"));
        }
        let uri = format!("{prefix}{relative}");
        let at = ObjectRef::parse(&uri).ok_or_else(|| format!("{uri} is no S3 location"))?;
        inputs.push(Input::new(at, path, relative));
    }
    if inputs.is_empty() { Err("it names no objects".to_owned()) } else { Ok(inputs) }
}

/// Why the inputs of a job cannot be found. Display is fit for a `FailureReason`.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("{uri} is not an S3 location of the form s3://bucket/key")]
    Uri { uri: String },
    #[error(
        "No S3 objects found under S3 URL \"{uri}\" given in input data source. Please ensure that \
         objects exist under that S3 prefix."
    )]
    Empty { uri: String },
    #[error("The input at {uri} cannot be read: {source}")]
    Unreadable { uri: String, source: ObjectError },
    #[error("Outputs cannot be written to {uri}: {source}")]
    Unwritable { uri: String, source: ObjectError },
    #[error("The manifest {uri} cannot be used: {reason}")]
    Manifest { uri: String, reason: String },
}

#[cfg(test)]
mod tests {
    use sagebrush_core::objects::ObjectRef;

    use super::{named, output_path};

    #[test]
    fn a_manifest_names_objects_below_its_prefix() {
        let path = output_path("s3://out/here").unwrap();
        let inputs = named(br#"[{"prefix": "s3://b/in/"}, "x.csv", "a/y.csv"]"#, &path).unwrap();
        let told: Vec<_> =
            inputs.iter().map(|input| format!("{} {}", input.at, input.output)).collect();
        assert_eq!(
            told,
            [
                "s3://b/in/x.csv s3://out/here/x.csv.out",
                "s3://b/in/a/y.csv s3://out/here/a/y.csv.out"
            ]
        );
        for (text, wanted) in [
            ("{", "it is no JSON list"),
            ("[\"x\"]", "it does not begin with"),
            (r#"[{"prefix": "s3://b/"}]"#, "it names no objects"),
            (r#"[{"prefix": "s3://b/"}, 7]"#, "7 is no text"),
            (r#"[{"prefix": "s3://b/"}, "x", "x"]"#, "it names x twice"),
            (r#"[{"prefix": "http://b/"}, "x"]"#, "http://b/x is no S3 location"),
        ] {
            let error = named(text.as_bytes(), &path).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn outputs_are_below_their_path() {
        for (uri, key) in [("s3://b", ""), ("s3://b/", ""), ("s3://b/o", "o/"), ("s3://b/o/", "o/")]
        {
            let path = output_path(uri).unwrap();
            assert_eq!(path, ObjectRef { bucket: "b".to_owned(), key: key.to_owned() });
        }
        assert!(output_path("http://b/o").is_err());
    }
}
