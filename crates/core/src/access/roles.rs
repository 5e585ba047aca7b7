//! What the server does on behalf of roles.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Asked, Authorizer, Caller};
use crate::artifact::{ArtifactError, ArtifactLease, Artifacts, ModelData};
use crate::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};

/// Knows roles, and makes keys for the code that acts in one.
pub trait Roles: Authorizer {
    /// The variables that AWS's SDKs find their keys, their region and this server in. They stay
    /// the same while the server runs and the keys are good for long enough.
    fn environment(&self, role_arn: &str, region: &str) -> BTreeMap<String, String>;
}

/// The object store, as a role may use it.
pub struct RoleObjects {
    pub objects: Arc<dyn ObjectStore>,
    pub authorizer: Arc<dyn Authorizer>,
    /// `None`: nobody said in which role. It may do everything.
    pub role_arn: Option<String>,
}

impl RoleObjects {
    fn check(&self, action: &str, at: &ObjectRef) -> Result<(), ObjectError> {
        let ObjectRef { bucket, key } = at;
        self.ask(&Asked::new(action, &format!("arn:aws:s3:::{bucket}/{key}")))
    }

    fn ask(&self, asked: &Asked<'_>) -> Result<(), ObjectError> {
        let Some(role) = &self.role_arn else { return Ok(()) };
        // What stays in this process goes over no wire that could be tapped.
        let asked = Asked { is_secure: true, ..*asked };
        let allowed = self.authorizer.check(&Caller::Role { arn: role }, &asked);
        allowed.map_err(|denied| {
            ObjectError::Io(io::Error::new(io::ErrorKind::PermissionDenied, denied))
        })
    }
}

#[async_trait]
impl ObjectStore for RoleObjects {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        self.check("s3:GetObject", at)?;
        self.objects.head(at).await
    }

    async fn get(
        &self,
        at: &ObjectRef,
        range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        self.check("s3:GetObject", at)?;
        self.objects.get(at, range).await
    }

    async fn put(
        &self,
        at: &ObjectRef,
        content_type: Option<&str>,
        body: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        self.check("s3:PutObject", at)?;
        self.objects.put(at, content_type, body).await
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ObjectError> {
        self.check("s3:DeleteObject", at)?;
        self.objects.delete(at).await
    }

    async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let resource = format!("arn:aws:s3:::{bucket}");
        let more = [("s3:prefix", prefix)];
        self.ask(&Asked { more: &more, ..Asked::new("s3:ListBucket", &resource) })?;
        self.objects.list(bucket, prefix, after, limit).await
    }

    fn changes(&self) -> u64 {
        self.objects.changes()
    }
}

/// Model data, as a role may read it. What is on the disk already is asked for again: another
/// role may have brought it.
pub struct RoleArtifacts {
    pub artifacts: Arc<dyn Artifacts>,
    pub authorizer: Arc<dyn Authorizer>,
    pub role_arn: String,
}

impl RoleArtifacts {
    /// Of a prefix, whether all below it may be read.
    fn check(&self, source: &ModelData) -> Result<(), ArtifactError> {
        let Some(ObjectRef { bucket, key }) = ObjectRef::parse(source.uri()) else {
            return Ok(()); // It is refused, by its own name.
        };
        let below = match source {
            ModelData::Prefix { .. } => "*",
            ModelData::Archive { .. } | ModelData::File { .. } => "",
        };
        let resource = format!("arn:aws:s3:::{bucket}/{key}{below}");
        let asked = Asked { is_secure: true, ..Asked::new("s3:GetObject", &resource) };
        let allowed = self.authorizer.check(&Caller::Role { arn: &self.role_arn }, &asked);
        allowed.map_err(|denied| ArtifactError::Refused {
            uri: source.uri().to_owned(),
            reason: denied.to_string(),
        })
    }
}

#[async_trait]
impl Artifacts for RoleArtifacts {
    async fn fetch(&self, source: &ModelData) -> Result<Arc<dyn ArtifactLease>, ArtifactError> {
        self.check(source)?;
        self.artifacts.fetch(source).await
    }

    async fn version(&self, source: &ModelData) -> Result<String, ArtifactError> {
        self.check(source)?;
        self.artifacts.version(source).await
    }
}
