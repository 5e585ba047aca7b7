//! STS `GetCallerIdentity`, `AssumeRole`; IAM `GetRole`, `SimulatePrincipalPolicy`.

use std::sync::Arc;

use sagebrush_aws::sigv4::Session;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::{Arn, Timestamp};
use sagebrush_wire::{iam, sts};

use crate::Control;
use crate::list::to_wire;

/// The role that callers act in. SageMaker's SDKs look for its name in the caller's ARN.
const ROLE: &str = "SageMakerRole";
const SESSION: &str = "sagebrush";
/// STS API: AssumeRole's `DurationSeconds` is 3600 unless given.
const SESSION_SECONDS: i32 = 3600;
/// All roles came into being at once, so that `GetRole` answers the same each time.
const CREATED: Timestamp = Timestamp(1_735_689_600_000);

/// What SageMaker's SDKs want to see: the service may act in this role.
const TRUST_POLICY: &str = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22\
    Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Service%22%3A%22sagemaker.amazonaws.com\
    %22%7D%2C%22Action%22%3A%22sts%3AAssumeRole%22%7D%5D%7D";

pub(crate) async fn get_caller_identity(
    _control: Arc<Control>,
    ctx: Context,
    _input: sts::GetCallerIdentityRequest,
) -> Result<sts::GetCallerIdentityResponse, ApiError> {
    let assumed = ctx.session.as_deref();
    let role = assumed.and_then(|session| role_name(&session.role_arn).ok());
    let role = role.unwrap_or_else(|| ROLE.to_owned());
    let session = assumed.map_or(SESSION, |session| session.name.as_str());
    Ok(sts::GetCallerIdentityResponse {
        user_id: Some(format!("{}:{session}", role_id(&role))),
        account: Some(ctx.account.to_string()),
        arn: Some(assumed_role_arn(&ctx, &role, session)),
    })
}

pub(crate) async fn assume_role(
    control: Arc<Control>,
    ctx: Context,
    input: sts::AssumeRoleRequest,
) -> Result<sts::AssumeRoleResponse, ApiError> {
    let role = role_name(&input.role_arn)?;
    let session = input.role_session_name;
    let lasts = i64::from(input.duration_seconds.unwrap_or(SESSION_SECONDS)) * 1000;
    let expires_at = Timestamp(control.clock.now().0 + lasts);
    let assumed = Session { role_arn: input.role_arn, name: session.clone() };
    let keys = control.temporary_keys.issue(&assumed, expires_at);
    Ok(sts::AssumeRoleResponse {
        credentials: Some(sts::Credentials {
            access_key_id: keys.access_key,
            secret_access_key: keys.secret,
            session_token: keys.token,
            expiration: to_wire(keys.expires_at),
        }),
        assumed_role_user: Some(sts::AssumedRoleUser {
            assumed_role_id: format!("{}:{session}", role_id(&role)),
            arn: assumed_role_arn(&ctx, &role, &session),
        }),
        packed_policy_size: None,
        source_identity: input.source_identity,
        session_token_utilization: None,
        session_token_size: None,
    })
}

pub(crate) async fn get_role(
    _control: Arc<Control>,
    ctx: Context,
    input: iam::GetRoleRequest,
) -> Result<iam::GetRoleResponse, ApiError> {
    let name = input.role_name;
    let role = iam::Role {
        path: "/".to_owned(),
        role_id: role_id(&name),
        arn: format!("arn:aws:iam::{}:role/{name}", ctx.account),
        role_name: name,
        create_date: to_wire(CREATED),
        assume_role_policy_document: Some(TRUST_POLICY.to_owned()),
        description: None,
        max_session_duration: Some(SESSION_SECONDS),
        permissions_boundary: None,
        tags: None,
        role_last_used: None,
        source_role_template: None,
    };
    Ok(iam::GetRoleResponse { role })
}

pub(crate) async fn simulate_principal_policy(
    _control: Arc<Control>,
    _ctx: Context,
    input: iam::SimulatePrincipalPolicyRequest,
) -> Result<iam::SimulatePolicyResponse, ApiError> {
    let resource = input.resource_arns.and_then(|arns| arns.into_iter().next());
    let allowed = |action: String| iam::EvaluationResult {
        eval_action_name: action,
        eval_resource_name: Some(resource.clone().unwrap_or_else(|| "*".to_owned())),
        eval_decision: iam::PolicyEvaluationDecisionType::Allowed,
        matched_statements: None,
        missing_context_values: None,
        organizations_decision_detail: None,
        permissions_boundary_decision_detail: None,
        eval_decision_details: None,
        resource_specific_results: None,
    };
    Ok(iam::SimulatePolicyResponse {
        evaluation_results: Some(input.action_names.into_iter().map(allowed).collect()),
        is_truncated: Some(false),
        marker: None,
    })
}

/// `arn:aws:iam::123456789012:role/path/name` names the role `name`.
fn role_name(arn: &str) -> Result<String, ApiError> {
    let parsed = arn.parse::<Arn>().ok().filter(|arn| arn.service == "iam");
    let name = parsed.and_then(|arn| {
        let path = arn.resource.strip_prefix("role/")?;
        path.rsplit('/').next().map(str::to_owned)
    });
    name.filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::validation(format!("{arn} is invalid")))
}

fn assumed_role_arn(ctx: &Context, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{}:assumed-role/{role}/{session}", ctx.account)
}

/// `AROA` and 17 letters or digits that follow from the name.
fn role_id(name: &str) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d; // FNV-1a, 128 bits.
    for byte in name.bytes() {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let digit = |place: u32| char::from(DIGITS[(hash >> (5 * place)) as usize % 32]);
    format!("AROA{}", (0..17).map(digit).collect::<String>())
}
