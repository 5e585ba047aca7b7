//! May the caller do this? What each operation of S3 asks for, in the words of policies.

use std::sync::Arc;

use async_trait::async_trait;
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};
use sagebrush_aws::Peer;
use sagebrush_aws::guard::caller;
use sagebrush_core::access::{Asked, Authorizer};

use super::GrantOf;
use super::call::CALL;

/// Asks whether callers may do what they ask for.
pub(super) struct Gate {
    pub(super) grant_of: GrantOf,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

/// An action, its resource, and what conditions may ask for.
struct Ask<'a> {
    action: &'static str,
    resource: String,
    more: Vec<(&'static str, &'a str)>,
}

impl<'a> Ask<'a> {
    fn root(action: &'static str) -> Self {
        Self { action, resource: "*".to_owned(), more: Vec::new() }
    }

    fn bucket(action: &'static str, bucket: &str) -> Self {
        Self { action, resource: format!("arn:aws:s3:::{bucket}"), more: Vec::new() }
    }

    fn object(action: &'static str, bucket: &str, key: &str) -> Self {
        Self { action, resource: format!("arn:aws:s3:::{bucket}/{key}"), more: Vec::new() }
    }

    fn list(
        action: &'static str,
        bucket: &str,
        prefix: Option<&'a str>,
        delimiter: Option<&'a str>,
    ) -> Self {
        let prefix = prefix.map(|prefix| ("s3:prefix", prefix));
        let delimiter = delimiter.map(|delimiter| ("s3:delimiter", delimiter));
        Self { more: prefix.into_iter().chain(delimiter).collect(), ..Self::bucket(action, bucket) }
    }
}

/// One action for the newest version, another for one that is named.
fn of_version(version: Option<&String>, newest: &'static str, named: &'static str) -> &'static str {
    if version.is_some() { named } else { newest }
}

/// Who copies must be allowed to read.
fn source(source: &CopySource) -> Option<Ask<'_>> {
    match source {
        CopySource::Bucket { bucket, key, version_id } => {
            let action = if version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
            Some(Ask::object(action, bucket, key))
        }
        // There are none here: the operation refuses them.
        CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => None,
    }
}

/// What an operation asks for. One that is not listed is for those who may do everything.
macro_rules! ask {
    ($($operation:ident: $input:ident => |$it:ident| $asks:expr,)*) => {
        const LISTED: &[&str] = &[$(stringify!($input)),*];

        #[async_trait]
        impl S3Access for Gate {
            async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
                let Some(credentials) = context.credentials() else {
                    return Err(s3_error!(AccessDenied, "Signature is required"));
                };
                let access_key = &credentials.access_key;
                let session = || self.grant(access_key).ok()?.session;
                // There is a call as long as the door has it answered.
                let _told = CALL.try_with(|call| call.admit(context, session));
                let name = context.s3_op().name();
                let is_listed =
                    LISTED.iter().any(|input| input.strip_suffix("Input") == Some(name));
                if is_listed || self.is_unlimited(access_key)? {
                    return Ok(());
                }
                Err(s3_error!(AccessDenied, "Access Denied"))
            }

            $(
                async fn $operation(&self, request: &mut S3Request<$input>) -> S3Result<()> {
                    let $it = &request.input;
                    let asks = || -> Vec<Ask<'_>> { $asks };
                    self.allow(request, asks)
                }
            )*
        }
    };
}

ask! {
    list_buckets: ListBucketsInput => |_it| vec![Ask::root("s3:ListAllMyBuckets")],
    create_bucket: CreateBucketInput => |it| vec![Ask::bucket("s3:CreateBucket", &it.bucket)],
    head_bucket: HeadBucketInput => |it| vec![Ask::bucket("s3:ListBucket", &it.bucket)],
    delete_bucket: DeleteBucketInput => |it| vec![Ask::bucket("s3:DeleteBucket", &it.bucket)],
    get_bucket_location: GetBucketLocationInput =>
        |it| vec![Ask::bucket("s3:GetBucketLocation", &it.bucket)],

    put_object: PutObjectInput => |it| {
        let tags = it.tagging.as_ref().map(|_| "s3:PutObjectTagging");
        let acl = it.acl.as_ref().map(|_| "s3:PutObjectAcl");
        let all = ["s3:PutObject"].into_iter().chain(tags).chain(acl);
        all.map(|action| Ask::object(action, &it.bucket, &it.key)).collect()
    },
    post_object: PostObjectInput => |it| vec![Ask::object("s3:PutObject", &it.bucket, &it.key)],
    get_object: GetObjectInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:GetObject", "s3:GetObjectVersion");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    head_object: HeadObjectInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:GetObject", "s3:GetObjectVersion");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    get_object_attributes: GetObjectAttributesInput => |it| {
        let version = it.version_id.as_ref();
        let read = of_version(version, "s3:GetObject", "s3:GetObjectVersion");
        let look =
            of_version(version, "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes");
        vec![Ask::object(read, &it.bucket, &it.key), Ask::object(look, &it.bucket, &it.key)]
    },
    copy_object: CopyObjectInput => |it| {
        let to = Ask::object("s3:PutObject", &it.bucket, &it.key);
        source(&it.copy_source).into_iter().chain([to]).collect()
    },
    delete_object: DeleteObjectInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:DeleteObject", "s3:DeleteObjectVersion");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    delete_objects: DeleteObjectsInput => |it| {
        let ask = |object: &ObjectIdentifier| {
            let version = object.version_id.as_ref();
            let action = of_version(version, "s3:DeleteObject", "s3:DeleteObjectVersion");
            Ask::object(action, &it.bucket, &object.key)
        };
        it.delete.objects.iter().map(ask).collect()
    },

    list_objects: ListObjectsInput => |it| vec![Ask::list(
        "s3:ListBucket", &it.bucket, it.prefix.as_deref(), it.delimiter.as_deref(),
    )],
    list_objects_v2: ListObjectsV2Input => |it| vec![Ask::list(
        "s3:ListBucket", &it.bucket, it.prefix.as_deref(), it.delimiter.as_deref(),
    )],
    list_object_versions: ListObjectVersionsInput => |it| vec![Ask::list(
        "s3:ListBucketVersions", &it.bucket, it.prefix.as_deref(), it.delimiter.as_deref(),
    )],

    create_multipart_upload: CreateMultipartUploadInput => |it| {
        let tags = it.tagging.as_ref().map(|_| "s3:PutObjectTagging");
        let acl = it.acl.as_ref().map(|_| "s3:PutObjectAcl");
        let all = ["s3:PutObject"].into_iter().chain(tags).chain(acl);
        all.map(|action| Ask::object(action, &it.bucket, &it.key)).collect()
    },
    upload_part: UploadPartInput => |it| vec![Ask::object("s3:PutObject", &it.bucket, &it.key)],
    upload_part_copy: UploadPartCopyInput => |it| {
        let to = Ask::object("s3:PutObject", &it.bucket, &it.key);
        source(&it.copy_source).into_iter().chain([to]).collect()
    },
    complete_multipart_upload: CompleteMultipartUploadInput =>
        |it| vec![Ask::object("s3:PutObject", &it.bucket, &it.key)],
    abort_multipart_upload: AbortMultipartUploadInput =>
        |it| vec![Ask::object("s3:AbortMultipartUpload", &it.bucket, &it.key)],
    list_parts: ListPartsInput =>
        |it| vec![Ask::object("s3:ListMultipartUploadParts", &it.bucket, &it.key)],
    list_multipart_uploads: ListMultipartUploadsInput => |it| vec![Ask::list(
        "s3:ListBucketMultipartUploads", &it.bucket, it.prefix.as_deref(), it.delimiter.as_deref(),
    )],

    get_bucket_versioning: GetBucketVersioningInput =>
        |it| vec![Ask::bucket("s3:GetBucketVersioning", &it.bucket)],
    put_bucket_versioning: PutBucketVersioningInput =>
        |it| vec![Ask::bucket("s3:PutBucketVersioning", &it.bucket)],

    get_object_tagging: GetObjectTaggingInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:GetObjectTagging", "s3:GetObjectVersionTagging");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    put_object_tagging: PutObjectTaggingInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:PutObjectTagging", "s3:PutObjectVersionTagging");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    delete_object_tagging: DeleteObjectTaggingInput => |it| {
        let version = it.version_id.as_ref();
        let action =
            of_version(version, "s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
    get_bucket_tagging: GetBucketTaggingInput =>
        |it| vec![Ask::bucket("s3:GetBucketTagging", &it.bucket)],
    put_bucket_tagging: PutBucketTaggingInput =>
        |it| vec![Ask::bucket("s3:PutBucketTagging", &it.bucket)],
    delete_bucket_tagging: DeleteBucketTaggingInput =>
        |it| vec![Ask::bucket("s3:PutBucketTagging", &it.bucket)],

    get_bucket_cors: GetBucketCorsInput => |it| vec![Ask::bucket("s3:GetBucketCORS", &it.bucket)],
    put_bucket_cors: PutBucketCorsInput => |it| vec![Ask::bucket("s3:PutBucketCORS", &it.bucket)],
    delete_bucket_cors: DeleteBucketCorsInput =>
        |it| vec![Ask::bucket("s3:PutBucketCORS", &it.bucket)],
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput =>
        |it| vec![Ask::bucket("s3:GetLifecycleConfiguration", &it.bucket)],
    put_bucket_lifecycle_configuration: PutBucketLifecycleConfigurationInput =>
        |it| vec![Ask::bucket("s3:PutLifecycleConfiguration", &it.bucket)],
    delete_bucket_lifecycle: DeleteBucketLifecycleInput =>
        |it| vec![Ask::bucket("s3:PutLifecycleConfiguration", &it.bucket)],
    get_bucket_policy: GetBucketPolicyInput =>
        |it| vec![Ask::bucket("s3:GetBucketPolicy", &it.bucket)],
    put_bucket_policy: PutBucketPolicyInput =>
        |it| vec![Ask::bucket("s3:PutBucketPolicy", &it.bucket)],
    delete_bucket_policy: DeleteBucketPolicyInput =>
        |it| vec![Ask::bucket("s3:DeleteBucketPolicy", &it.bucket)],
    get_bucket_encryption: GetBucketEncryptionInput =>
        |it| vec![Ask::bucket("s3:GetEncryptionConfiguration", &it.bucket)],
    put_bucket_encryption: PutBucketEncryptionInput =>
        |it| vec![Ask::bucket("s3:PutEncryptionConfiguration", &it.bucket)],
    delete_bucket_encryption: DeleteBucketEncryptionInput =>
        |it| vec![Ask::bucket("s3:PutEncryptionConfiguration", &it.bucket)],
    get_public_access_block: GetPublicAccessBlockInput =>
        |it| vec![Ask::bucket("s3:GetBucketPublicAccessBlock", &it.bucket)],
    put_public_access_block: PutPublicAccessBlockInput =>
        |it| vec![Ask::bucket("s3:PutBucketPublicAccessBlock", &it.bucket)],
    delete_public_access_block: DeletePublicAccessBlockInput =>
        |it| vec![Ask::bucket("s3:PutBucketPublicAccessBlock", &it.bucket)],
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput =>
        |it| vec![Ask::bucket("s3:GetBucketOwnershipControls", &it.bucket)],
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput =>
        |it| vec![Ask::bucket("s3:PutBucketOwnershipControls", &it.bucket)],
    delete_bucket_ownership_controls: DeleteBucketOwnershipControlsInput =>
        |it| vec![Ask::bucket("s3:PutBucketOwnershipControls", &it.bucket)],
    get_bucket_acl: GetBucketAclInput => |it| vec![Ask::bucket("s3:GetBucketAcl", &it.bucket)],
    get_object_acl: GetObjectAclInput => |it| {
        let version = it.version_id.as_ref();
        let action = of_version(version, "s3:GetObjectAcl", "s3:GetObjectVersionAcl");
        vec![Ask::object(action, &it.bucket, &it.key)]
    },
}

impl Gate {
    fn is_unlimited(&self, access_key: &str) -> S3Result<bool> {
        let grant = self.grant(access_key)?;
        Ok(self.authorizer.is_unlimited(&caller(access_key, grant.session.as_deref())))
    }

    /// Whether the caller may do all of it.
    fn allow<'r, T>(
        &self,
        request: &'r S3Request<T>,
        asks: impl FnOnce() -> Vec<Ask<'r>>,
    ) -> S3Result<()> {
        let Some(credentials) = &request.credentials else {
            return Err(s3_error!(AccessDenied, "Signature is required"));
        };
        let region = request.region.as_ref().map_or("", |region| region.as_str());
        if !region.is_empty() {
            let _told = CALL.try_with(|call| call.is_in(region));
        }
        let grant = self.grant(&credentials.access_key)?;
        let caller = caller(&credentials.access_key, grant.session.as_deref());
        if self.authorizer.is_unlimited(&caller) {
            return Ok(());
        }
        let peer = request.extensions.get::<Peer>();
        let source_ip = peer.map(|peer| peer.ip);
        let is_secure = peer.is_some_and(|peer| peer.is_secure);
        for Ask { action, resource, more } in asks() {
            let asked = Asked::new(action, &resource);
            let asked = Asked { region, source_ip, is_secure, more: &more, ..asked };
            let allowed = self.authorizer.check(&caller, &asked);
            allowed.map_err(|denied| s3_error!(AccessDenied, "{denied}"))?;
        }
        Ok(())
    }

    fn grant(&self, access_key: &str) -> S3Result<sagebrush_aws::sigv4::Grant<'static>> {
        let token = CALL.try_with(|call| call.session_token.clone()).ok().flatten();
        (self.grant_of)(access_key, token.as_deref())
            .ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))
    }
}
