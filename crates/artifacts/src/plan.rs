//! What is to be fetched, as the object store has it now.

use sagebrush_core::artifact::{ArtifactError, ModelData};
use sagebrush_core::objects::{ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use sha2::{Digest as _, Sha256};

use crate::Limits;
use crate::gunzip::too_large;
use crate::names::{EntryName, Kind, Names};

/// How many objects one call lists.
const PAGE: usize = 1000;

/// The objects that make up a model, in the versions that were there.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) uri: String,
    /// Names the entry: another version of any object gives another key.
    pub(crate) key: String,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Archive(Part),
    /// Files as they are, with their names.
    Files(Vec<(EntryName, Part)>),
}

/// One object in one version.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) at: ObjectRef,
    pub(crate) etag: String,
    pub(crate) size: u64,
}

impl Plan {
    fn new(source: &ModelData, content: Content) -> Self {
        let mut hash = Sha256::new();
        let mut add = |field: &str| {
            hash.update(field.len().to_le_bytes()); // So that no two lists run together.
            hash.update(field);
        };
        let parts: Vec<&Part> = match &content {
            Content::Archive(part) => {
                add("archive");
                vec![part]
            }
            Content::Files(files) => {
                add("files");
                files.iter().map(|(_, part)| part).collect()
            }
        };
        add(source.uri());
        for part in parts {
            add(&part.at.key);
            add(&part.etag);
        }
        let key = hex::encode(hash.finalize());
        Self { uri: source.uri().to_owned(), key, content }
    }

    /// The bytes to download; unpacked they are hardly ever fewer.
    pub(crate) fn packed_bytes(&self) -> u64 {
        match &self.content {
            Content::Archive(part) => part.size,
            Content::Files(files) => {
                files.iter().fold(0, |sum, (_, part)| sum.saturating_add(part.size))
            }
        }
    }
}

/// Asks the object store what `source` is now.
pub(crate) async fn resolve(
    objects: &dyn ObjectStore,
    source: &ModelData,
    limits: &Limits,
) -> Result<Plan, ArtifactError> {
    let uri = source.uri();
    let bad = || ArtifactError::BadUri { uri: uri.to_owned() };
    let at = ObjectRef::parse(uri).ok_or_else(bad)?;
    let content = match source {
        ModelData::Archive { .. } => {
            base_name(&at.key).ok_or_else(bad)?;
            Content::Archive(head(objects, at, uri).await?)
        }
        ModelData::File { .. } => {
            let base = base_name(&at.key).ok_or_else(bad)?;
            let name = EntryName::parse(base.as_bytes());
            let name = name.ok().filter(|name| !name.is_top()).ok_or_else(bad)?;
            let part = head(objects, at, uri).await?;
            within(part.size, uri, limits)?;
            Content::Files(vec![(name, part)])
        }
        ModelData::Prefix { .. } => Content::Files(list(objects, at, uri, limits).await?),
    };
    Ok(Plan::new(source, content))
}

/// What stands behind the last slash of a key; `None` for a folder.
fn base_name(key: &str) -> Option<&str> {
    key.rsplit('/').next().filter(|name| !name.is_empty())
}

async fn head(objects: &dyn ObjectStore, at: ObjectRef, uri: &str) -> Result<Part, ArtifactError> {
    let meta = objects.head(&at).await.map_err(|error| explain(&error, uri))?;
    Ok(Part { at, etag: meta.etag, size: meta.size })
}

/// Lists the objects below a prefix under their names below it.
async fn list(
    objects: &dyn ObjectStore,
    at: ObjectRef,
    uri: &str,
    limits: &Limits,
) -> Result<Vec<(EntryName, Part)>, ArtifactError> {
    let is_whole = at.key.is_empty() || at.key.ends_with('/');
    let prefix = if is_whole { at.key } else { at.key + "/" };
    let mut files = Files { names: Names::new(limits.entries), files: Vec::new(), bytes: 0 };
    let mut after: Option<String> = None;
    loop {
        let page = objects.list(&at.bucket, &prefix, after.as_deref(), PAGE).await;
        let page = page.map_err(|error| explain(&error, uri))?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for meta in page {
            let refuse = |reason| ArtifactError::Refused { uri: uri.to_owned(), reason };
            files.add(&at.bucket, &prefix, meta).map_err(refuse)?;
        }
        within(files.bytes, uri, limits)?;
    }
    if files.files.is_empty() {
        return Err(ArtifactError::Missing { uri: uri.to_owned() });
    }
    Ok(files.files)
}

/// The files found below a prefix so far.
struct Files {
    names: Names,
    files: Vec<(EntryName, Part)>,
    bytes: u64,
}

impl Files {
    fn add(&mut self, bucket: &str, prefix: &str, meta: ObjectMeta) -> Result<(), String> {
        let below = meta.key.strip_prefix(prefix).unwrap_or(&meta.key);
        let marks_a_folder = meta.size == 0 && (below.is_empty() || below.ends_with('/'));
        if marks_a_folder {
            return Ok(()); // Consoles make these.
        }
        let name = EntryName::parse(below.as_bytes())?;
        let names_a_folder = name.is_top() || below.ends_with('/');
        if names_a_folder {
            return Err(crate::names::refuse(
                below.as_bytes(),
                "is a file with the name of a folder",
            ));
        }
        self.names.count()?;
        self.names.take(&name, Kind::File)?;
        self.bytes = self.bytes.saturating_add(meta.size);
        let at = ObjectRef { bucket: bucket.to_owned(), key: meta.key };
        self.files.push((name, Part { at, etag: meta.etag, size: meta.size }));
        Ok(())
    }
}

fn within(bytes: u64, uri: &str, limits: &Limits) -> Result<(), ArtifactError> {
    if bytes <= limits.unpacked_bytes {
        return Ok(());
    }
    let reason = too_large(limits.unpacked_bytes);
    Err(ArtifactError::Refused { uri: uri.to_owned(), reason })
}

/// What a failure of the object store means to whoever wants a model. Its cause goes to the log
/// here, for the answer has no room for it.
pub(crate) fn explain(error: &ObjectError, uri: &str) -> ArtifactError {
    let uri = uri.to_owned();
    match error {
        ObjectError::NoSuchBucket(_) | ObjectError::NoSuchKey(_) => ArtifactError::Missing { uri },
        ObjectError::Full | ObjectError::Io(_) | ObjectError::Index(_) => {
            tracing::warn!(%uri, ?error, "reading model data failed");
            ArtifactError::Unavailable { uri, reason: "the object store failed".to_owned() }
        }
    }
}
