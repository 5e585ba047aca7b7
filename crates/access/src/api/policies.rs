//! What the policies of users and of roles have in common.

use http::StatusCode;
use sagebrush_aws::ApiError;
use sagebrush_wire::iam as wire;

use crate::book::Book;
use crate::change::{no_such, too_many};
use crate::policy::{Kind, Policy};
use crate::records::Policies;

/// IAM: the longest documents, without their white space.
pub(super) const LONGEST_MANAGED: usize = 6144;
pub(super) const LONGEST_TRUST: usize = 4096;
pub(super) const LONGEST_OF_USER: usize = 6144;
pub(super) const LONGEST_OF_ROLE: usize = 10_240;
/// How many policies of each sort a user or a role may have.
const MAX_POLICIES: usize = 20;

/// A document that is good for its purpose, and not too long.
pub(super) fn check_document(text: &str, kind: Kind, longest: usize) -> Result<(), ApiError> {
    if text.chars().filter(|character| !character.is_whitespace()).count() > longest {
        return Err(too_many(format!("Cannot exceed quota for PolicySize: {longest}")));
    }
    Policy::parse(text, kind).map_err(|error| {
        ApiError::new("MalformedPolicyDocument", StatusCode::BAD_REQUEST, error.to_string())
    })?;
    Ok(())
}

pub(super) fn put(policies: &mut Policies, name: String, document: String) -> Result<(), ApiError> {
    policies.inline.insert(name, document);
    check_count(policies.inline.len())
}

fn check_count(count: usize) -> Result<(), ApiError> {
    if count > MAX_POLICIES {
        return Err(too_many(format!("Cannot exceed quota for PoliciesPerEntity: {MAX_POLICIES}")));
    }
    Ok(())
}

pub(super) fn inline<'p>(policies: &'p Policies, name: &str) -> Result<&'p str, ApiError> {
    let found = policies.inline.get(name).map(String::as_str);
    found.ok_or_else(|| no_inline(name))
}

pub(super) fn delete(policies: &mut Policies, name: &str) -> Result<(), ApiError> {
    policies.inline.remove(name).map(drop).ok_or_else(|| no_inline(name))
}

fn no_inline(name: &str) -> ApiError {
    no_such(format!("The policy with name {name} cannot be found."))
}

pub(super) fn attach(policies: &mut Policies, book: &Book, arn: String) -> Result<(), ApiError> {
    if book.document(&arn).is_none() {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    policies.attached.insert(arn);
    check_count(policies.attached.len())
}

pub(super) fn detach(policies: &mut Policies, arn: &str) -> Result<(), ApiError> {
    if policies.attached.remove(arn) {
        return Ok(());
    }
    Err(no_such(format!("Policy {arn} was not found.")))
}

pub(super) fn attached(arn: String) -> wire::AttachedPolicy {
    let name = arn.rsplit('/').next().map(str::to_owned);
    wire::AttachedPolicy { policy_name: name, policy_arn: Some(arn) }
}
