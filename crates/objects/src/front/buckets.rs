use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};
use sagebrush_core::objects::{Bucket as BucketRow, IndexError};

use super::errors::index_error;
use super::{Answer, Front, time};

/// AWS's most for one page of buckets.
const MAX_BUCKETS: usize = 10_000;

/// The region that S3 does not name.
const UNNAMED_REGION: &str = "us-east-1";

impl Front {
    pub(super) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> Answer<ListBucketsOutput> {
        let input = request.input;
        let limit = input.max_buckets.map_or(Ok(MAX_BUCKETS), usize::try_from);
        let limit = limit.map_err(|_| s3_error!(InvalidArgument, "max-buckets is not a count"))?;
        let wanted = |bucket: &BucketRow| {
            let in_region = input.bucket_region.as_ref().is_none_or(|at| *at == bucket.region);
            let prefixed = bucket.name.starts_with(input.prefix.as_deref().unwrap_or_default());
            let behind = input.continuation_token.as_ref().is_none_or(|at| bucket.name > *at);
            in_region && prefixed && behind
        };
        let mut rows = self.objects.index.buckets().await.map_err(index_error)?;
        rows.retain(wanted);
        let is_truncated = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().map(|bucket| bucket.name.clone());
        let buckets = rows.into_iter().map(|bucket| Bucket {
            bucket_region: Some(bucket.region),
            creation_date: Some(time(bucket.created_at)),
            name: Some(bucket.name),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: last.filter(|_| is_truncated),
            owner: Some(self.owner()),
            prefix: input.prefix,
        }))
    }

    pub(super) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> Answer<CreateBucketOutput> {
        let input = request.input;
        if input.object_lock_enabled_for_bucket == Some(true) {
            return Err(s3_error!(NotImplemented, "Object lock is not implemented"));
        }
        super::acl::check_canned(input.acl.as_ref().map(BucketCannedACL::as_str))?;
        let constraint =
            input.create_bucket_configuration.and_then(|config| config.location_constraint);
        let region = match constraint {
            Some(constraint) => read_region(constraint.as_str())?,
            None => request.region.map_or_else(|| self.region.clone(), |at| at.as_str().to_owned()),
        };
        let is_unnamed = region == UNNAMED_REGION;
        let bucket = BucketRow {
            name: input.bucket.clone(),
            region,
            created_at: self.objects.clock.now(),
            versioning: Default::default(),
            documents: Default::default(),
        };
        match self.objects.index.create_bucket(bucket).await {
            // S3 API: in us-east-1, and only there, making a bucket twice is no error.
            Err(IndexError::BucketExists(_)) if is_unnamed => {}
            outcome => outcome.map_err(index_error)?,
        }
        let location = Some(format!("/{}", input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    pub(super) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> Answer<HeadBucketOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let bucket_region = Some(bucket.region);
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
    }

    pub(super) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> Answer<DeleteBucketOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        self.objects.index.delete_bucket(&input.bucket).await.map_err(index_error)?;
        Ok(S3Response::new(DeleteBucketOutput {}))
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> Answer<GetBucketLocationOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let named = bucket.region != UNNAMED_REGION;
        let location_constraint = named.then(|| BucketLocationConstraint::from(bucket.region));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }
}

/// Reads a location constraint: a region, or S3's old name of one.
fn read_region(constraint: &str) -> S3Result<String> {
    let region = match constraint {
        "" => UNNAMED_REGION,
        "EU" => "eu-west-1",
        other => other,
    };
    let bytes = region.as_bytes();
    let well_formed =
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if !well_formed || region.split('-').count() < 3 {
        return Err(s3_error!(
            InvalidLocationConstraint,
            "The specified location-constraint is not valid"
        ));
    }
    Ok(region.to_owned())
}
