//! Configurations of a bucket that are stored and returned, and change nothing.

use http::StatusCode;
use s3s::dto::*;
use s3s::xml::{Deserialize, Deserializer, SerializeContent, Serializer};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::Bucket as BucketRow;

use super::errors::{custom, index_error};
use super::{Answer, Front};

/// A kind of configuration: its name among a bucket's documents, its XML, its absence.
pub(super) struct Kind {
    name: &'static str,
    element: &'static str,
    missing: (&'static str, &'static str),
}

pub(super) const TAGGING: Kind = Kind {
    name: "tagging",
    element: "Tagging",
    missing: ("NoSuchTagSet", "The TagSet does not exist"),
};
const CORS: Kind = Kind {
    name: "cors",
    element: "CORSConfiguration",
    missing: ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
};
const LIFECYCLE: Kind = Kind {
    name: "lifecycle",
    element: "LifecycleConfiguration",
    missing: ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
};
const POLICY: Kind = Kind {
    name: "policy",
    element: "", // It is JSON.
    missing: ("NoSuchBucketPolicy", "The bucket policy does not exist"),
};
const ENCRYPTION: Kind = Kind {
    name: "encryption",
    element: "ServerSideEncryptionConfiguration",
    missing: (
        "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found",
    ),
};
const PUBLIC_ACCESS: Kind = Kind {
    name: "public-access-block",
    element: "PublicAccessBlockConfiguration",
    missing: (
        "NoSuchPublicAccessBlockConfiguration",
        "The public access block configuration was not found",
    ),
};
const OWNERSHIP: Kind = Kind {
    name: "ownership",
    element: "OwnershipControls",
    missing: ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
};

/// AWS's most for a bucket policy.
const MAX_POLICY: usize = 20 << 10;

/// The operations on one kind of XML document: get it, put it, delete it.
macro_rules! document {
    (
        $kind:ident,
        $get:ident($get_input:ident) -> $get_output:ident,
        $put:ident($put_input:ident . $field:ident) -> $put_output:ident,
        $delete:ident($delete_input:ident) -> $delete_output:ident,
        |$stored:ident: $document:ty| $shown:expr
    ) => {
        impl Front {
            pub(super) async fn $get(&self, request: S3Request<$get_input>) -> Answer<$get_output> {
                let input = request.input;
                let owner = input.expected_bucket_owner.as_deref();
                let $stored: $document = self.document(&input.bucket, owner, &$kind).await?;
                Ok(S3Response::new($shown))
            }

            pub(super) async fn $put(&self, request: S3Request<$put_input>) -> Answer<$put_output> {
                let input = request.input;
                let owner = input.expected_bucket_owner.as_deref();
                self.put_document(&input.bucket, owner, &$kind, &input.$field).await?;
                Ok(S3Response::new($put_output::default()))
            }

            pub(super) async fn $delete(
                &self,
                request: S3Request<$delete_input>,
            ) -> Answer<$delete_output> {
                let input = request.input;
                let owner = input.expected_bucket_owner.as_deref();
                self.delete_document(&input.bucket, owner, &$kind).await?;
                Ok(S3Response::new($delete_output::default()))
            }
        }
    };
}

document!(
    CORS,
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput,
    put_bucket_cors(PutBucketCorsInput.cors_configuration) -> PutBucketCorsOutput,
    delete_bucket_cors(DeleteBucketCorsInput) -> DeleteBucketCorsOutput,
    |stored: CORSConfiguration| GetBucketCorsOutput { cors_rules: Some(stored.cors_rules) }
);
document!(
    ENCRYPTION,
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput,
    put_bucket_encryption(PutBucketEncryptionInput.server_side_encryption_configuration)
        -> PutBucketEncryptionOutput,
    delete_bucket_encryption(DeleteBucketEncryptionInput) -> DeleteBucketEncryptionOutput,
    |stored: ServerSideEncryptionConfiguration| GetBucketEncryptionOutput {
        server_side_encryption_configuration: Some(stored),
    }
);
document!(
    PUBLIC_ACCESS,
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput,
    put_public_access_block(PutPublicAccessBlockInput.public_access_block_configuration)
        -> PutPublicAccessBlockOutput,
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput,
    |stored: PublicAccessBlockConfiguration| GetPublicAccessBlockOutput {
        public_access_block_configuration: Some(stored),
    }
);
document!(
    OWNERSHIP,
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput)
        -> GetBucketOwnershipControlsOutput,
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput.ownership_controls)
        -> PutBucketOwnershipControlsOutput,
    delete_bucket_ownership_controls(DeleteBucketOwnershipControlsInput)
        -> DeleteBucketOwnershipControlsOutput,
    |stored: OwnershipControls| GetBucketOwnershipControlsOutput {
        ownership_controls: Some(stored),
    }
);

impl Front {
    pub(super) async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Answer<GetBucketLifecycleConfigurationOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        let stored: BucketLifecycleConfiguration =
            self.document(&input.bucket, owner, &LIFECYCLE).await?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(stored.rules),
            transition_default_minimum_object_size: None,
        }))
    }

    pub(super) async fn put_bucket_lifecycle_configuration(
        &self,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Answer<PutBucketLifecycleConfigurationOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        let config = input
            .lifecycle_configuration
            .ok_or_else(|| s3_error!(MalformedXML, "The request has no lifecycle configuration"))?;
        self.put_document(&input.bucket, owner, &LIFECYCLE, &config).await?;
        Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn delete_bucket_lifecycle(
        &self,
        request: S3Request<DeleteBucketLifecycleInput>,
    ) -> Answer<DeleteBucketLifecycleOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        self.delete_document(&input.bucket, owner, &LIFECYCLE).await?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }

    pub(super) async fn get_bucket_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> Answer<GetBucketPolicyOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let policy = Some(stored(&bucket, &POLICY)?.to_owned());
        Ok(S3Response::new(GetBucketPolicyOutput { policy }))
    }

    pub(super) async fn put_bucket_policy(
        &self,
        request: S3Request<PutBucketPolicyInput>,
    ) -> Answer<PutBucketPolicyOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let fits = input.policy.len() <= MAX_POLICY;
        let is_json = serde_json::from_str::<serde_json::Map<_, _>>(&input.policy).is_ok();
        if !(fits && is_json) {
            return Err(s3_error!(MalformedPolicy, "Policies must be valid JSON of at most 20 KB"));
        }
        self.store(bucket, &POLICY, Some(input.policy)).await?;
        Ok(S3Response::new(PutBucketPolicyOutput {}))
    }

    pub(super) async fn delete_bucket_policy(
        &self,
        request: S3Request<DeleteBucketPolicyInput>,
    ) -> Answer<DeleteBucketPolicyOutput> {
        let input = request.input;
        let owner = input.expected_bucket_owner.as_deref();
        self.delete_document(&input.bucket, owner, &POLICY).await?;
        Ok(S3Response::new(DeleteBucketPolicyOutput {}))
    }

    pub(super) async fn document<T>(
        &self,
        bucket: &str,
        owner: Option<&str>,
        kind: &Kind,
    ) -> S3Result<T>
    where
        T: for<'xml> Deserialize<'xml>,
    {
        let bucket = self.bucket(bucket, owner).await?;
        let mut xml = Deserializer::new(stored(&bucket, kind)?.as_bytes());
        T::deserialize(&mut xml).map_err(S3Error::internal_error)
    }

    pub(super) async fn put_document<T: SerializeContent + Sync>(
        &self,
        bucket: &str,
        owner: Option<&str>,
        kind: &Kind,
        document: &T,
    ) -> S3Result<()> {
        let bucket = self.bucket(bucket, owner).await?;
        let mut xml = Vec::new();
        let written = Serializer::new(&mut xml).content(kind.element, document);
        written.map_err(S3Error::internal_error)?;
        let xml = String::from_utf8(xml).map_err(S3Error::internal_error)?;
        self.store(bucket, kind, Some(xml)).await
    }

    pub(super) async fn delete_document(
        &self,
        bucket: &str,
        owner: Option<&str>,
        kind: &Kind,
    ) -> S3Result<()> {
        let bucket = self.bucket(bucket, owner).await?;
        self.store(bucket, kind, None).await
    }

    async fn store(
        &self,
        mut bucket: BucketRow,
        kind: &Kind,
        document: Option<String>,
    ) -> S3Result<()> {
        match document {
            Some(document) => bucket.documents.insert(kind.name.to_owned(), document),
            None => bucket.documents.remove(kind.name),
        };
        self.objects.index.update_bucket(bucket).await.map_err(index_error)
    }
}

fn stored<'a>(bucket: &'a BucketRow, kind: &Kind) -> S3Result<&'a str> {
    let document = bucket.documents.get(kind.name).map(String::as_str);
    let (code, message) = kind.missing;
    document.ok_or_else(|| custom(code, StatusCode::NOT_FOUND, message))
}
