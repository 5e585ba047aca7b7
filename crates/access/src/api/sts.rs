//! STS: `GetCallerIdentity`, `AssumeRole`.

use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::sigv4::Session;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_core::access::Asked;
use sagebrush_wire::sts as wire;

use super::{role_id, to_wire};
use crate::Access;
use crate::change::unserved;
use crate::doorkeeper::role_name;
use crate::policy::{Kind, Policy};

/// The role that the key of the settings acts in. SageMaker's SDKs look for its name in the ARN.
const ROLE: &str = "SageMakerRole";
const SESSION: &str = "sagebrush";
/// STS API: AssumeRole's `DurationSeconds` is 3600 unless given.
const SESSION_SECONDS: i32 = 3600;
/// STS API: the longest session policy. It travels in the token.
const LONGEST_POLICY: usize = 2048;

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::GetCallerIdentity, _, _>(get_caller_identity)
        .on::<wire::AssumeRole, _, _>(assume_role)
}

async fn get_caller_identity(
    access: Arc<Access>,
    ctx: Context,
    _input: wire::GetCallerIdentityRequest,
) -> Result<wire::GetCallerIdentityResponse, ApiError> {
    let account = Some(ctx.account.to_string());
    let book = access.book.load();
    if let Some(key) = book.key(&ctx.access_key) {
        let user = book.user(&key.user.name).map(|user| user.spec.id.clone());
        let arn = Some(key.user.arn.clone());
        return Ok(wire::GetCallerIdentityResponse { user_id: user, account, arn });
    }
    let assumed = ctx.session.as_deref();
    let role = assumed.and_then(|session| role_name(&session.role_arn)).unwrap_or(ROLE);
    let session = assumed.map_or(SESSION, |session| session.name.as_str());
    Ok(wire::GetCallerIdentityResponse {
        user_id: Some(format!("{}:{session}", role_id(role))),
        account,
        arn: Some(assumed_role_arn(&ctx, role, session)),
    })
}

async fn assume_role(
    access: Arc<Access>,
    ctx: Context,
    input: wire::AssumeRoleRequest,
) -> Result<wire::AssumeRoleResponse, ApiError> {
    unserved("PolicyArns", input.policy_arns.as_ref().filter(|arns| !arns.is_empty()))?;
    let invalid = || ApiError::validation(format!("{} is invalid", input.role_arn));
    let role = role_name(&input.role_arn).ok_or_else(invalid)?.to_owned();
    check_policy(input.policy.as_deref())?;
    check_trust(&access, &ctx, &role, &input)?;
    let seconds = input.duration_seconds.unwrap_or(SESSION_SECONDS);
    check_duration(&access, &role, seconds)?;
    let session = input.role_session_name;
    let expires_at = Timestamp(access.clock.now().0 + i64::from(seconds) * 1000);
    let assumed = Session { role_arn: input.role_arn, name: session.clone(), policy: input.policy };
    let keys = access.temporary.issue(&assumed, expires_at);
    Ok(wire::AssumeRoleResponse {
        credentials: Some(wire::Credentials {
            access_key_id: keys.access_key,
            secret_access_key: keys.secret,
            session_token: keys.token,
            expiration: to_wire(keys.expires_at),
        }),
        assumed_role_user: Some(wire::AssumedRoleUser {
            assumed_role_id: format!("{}:{session}", role_id(&role)),
            arn: assumed_role_arn(&ctx, &role, &session),
        }),
        packed_policy_size: None,
        source_identity: input.source_identity,
        session_token_utilization: None,
        session_token_size: None,
    })
}

fn check_policy(policy: Option<&str>) -> Result<(), ApiError> {
    let Some(policy) = policy else { return Ok(()) };
    let malformed = |message: String| {
        ApiError::new("MalformedPolicyDocument", StatusCode::BAD_REQUEST, message)
    };
    if policy.len() > LONGEST_POLICY {
        return Err(malformed(format!("Policy is longer than {LONGEST_POLICY} bytes.")));
    }
    Policy::parse(policy, Kind::Identity).map_err(|error| malformed(error.to_string()))?;
    Ok(())
}

/// A role that somebody made says itself who may assume it.
fn check_trust(
    access: &Access,
    ctx: &Context,
    role: &str,
    input: &wire::AssumeRoleRequest,
) -> Result<(), ApiError> {
    let caller = ctx.principal();
    let mut more = vec![("sts:RoleSessionName", input.role_session_name.as_str())];
    more.extend(input.external_id.as_deref().map(|id| ("sts:ExternalId", id)));
    more.extend(input.source_identity.as_deref().map(|id| ("sts:SourceIdentity", id)));
    let asked = Asked {
        region: ctx.region.as_str(),
        source_ip: ctx.source_ip,
        is_secure: ctx.is_secure,
        more: &more,
        ..Asked::new("sts:AssumeRole", &input.role_arn)
    };
    if access.is_root(&caller) || access.trusts(role, &caller, &asked) {
        return Ok(());
    }
    let arn = &input.role_arn;
    Err(ApiError::new(
        "AccessDenied",
        StatusCode::FORBIDDEN,
        format!("The caller is not authorized to perform: sts:AssumeRole on resource: {arn}"),
    ))
}

fn check_duration(access: &Access, role: &str, seconds: i32) -> Result<(), ApiError> {
    let book = access.book.load();
    match book.role(role) {
        Some(role) if seconds > role.spec.max_session_s => Err(ApiError::validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )),
        Some(_) | None => Ok(()),
    }
}

fn assumed_role_arn(ctx: &Context, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{}:assumed-role/{role}/{session}", ctx.account)
}
