//! ACLs are switched off, as they are for every new bucket of AWS: the owner has it all.

use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Answer, Front};

pub(super) fn check_canned(acl: Option<&str>) -> S3Result<()> {
    match acl {
        None | Some("private" | "bucket-owner-full-control") => Ok(()),
        Some(_) => Err(s3_error!(AccessControlListNotSupported, "The bucket does not allow ACLs")),
    }
}

impl Front {
    pub(super) async fn get_bucket_acl(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> Answer<GetBucketAclOutput> {
        let input = request.input;
        self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        let (grants, owner) = (Some(self.grants()), Some(self.owner()));
        Ok(S3Response::new(GetBucketAclOutput { grants, owner }))
    }

    pub(super) async fn get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> Answer<GetObjectAclOutput> {
        let input = request.input;
        let bucket = self.bucket(&input.bucket, input.expected_bucket_owner.as_deref()).await?;
        self.version(&bucket, &input.key, input.version_id.as_deref()).await?;
        let (grants, owner) = (Some(self.grants()), Some(self.owner()));
        Ok(S3Response::new(GetObjectAclOutput { grants, owner, request_charged: None }))
    }

    fn grants(&self) -> Vec<Grant> {
        let grantee = Grantee {
            display_name: Some(self.account.clone()),
            email_address: None,
            id: Some(self.account.clone()),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        };
        let permission = Permission::from_static(Permission::FULL_CONTROL);
        vec![Grant { grantee: Some(grantee), permission: Some(permission) }]
    }
}
