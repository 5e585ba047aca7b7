//! `SimulatePrincipalPolicy`: what would be said of requests that nobody makes.

use std::sync::Arc;

use http::StatusCode;
use sagebrush_aws::{ApiError, Context, Dispatch};
use sagebrush_core::Timestamp;
use sagebrush_core::access::Asked;
use sagebrush_wire::iam as wire;

use crate::Access;
use crate::book::{Bearer, Book, Named, RoleIs};
use crate::change::{no_such, unserved};
use crate::doorkeeper::role_name;
use crate::policy::{Decision, Facts, Kind, Policy, decide};

pub(super) fn operations(to: Dispatch<Access>) -> Dispatch<Access> {
    to.on::<wire::SimulatePrincipalPolicy, _, _>(simulate)
}

async fn simulate(
    access: Arc<Access>,
    _ctx: Context,
    input: wire::SimulatePrincipalPolicyRequest,
) -> Result<wire::SimulatePolicyResponse, ApiError> {
    let boundary = input.permissions_boundary_policy_input_list.as_ref();
    unserved("PermissionsBoundaryPolicyInputList", boundary)?;
    unserved("PolicyExclusionList", input.policy_exclusion_list.as_ref())?;
    unserved("ResourcePolicy", input.resource_policy.as_ref())?;
    unserved("ResourceOwner", input.resource_owner.as_ref())?;
    unserved("CallerArn", input.caller_arn.as_ref())?;
    unserved("ResourceHandlingOption", input.resource_handling_option.as_ref())?;
    let book = access.book.load();
    let mut more = Vec::new();
    for entry in input.context_entries.as_deref().unwrap_or_default() {
        let name = entry.context_key_name.as_deref().unwrap_or_default();
        match entry.context_key_values.as_deref().unwrap_or_default() {
            [value] => more.push((name, value.as_str())),
            _ => return Err(ApiError::validation("Each ContextEntry must have one value here.")),
        }
    }
    let simulated = Simulated {
        bearer: bearer(&book, &input.policy_source_arn)?,
        added: added(input.policy_input_list.as_deref().unwrap_or_default())?,
        more: &more,
        account: &access.account.0,
        source_arn: &input.policy_source_arn,
        now: access.clock.now(),
    };
    let all = ["*".to_owned()];
    let resources = input.resource_arns.as_deref().filter(|arns| !arns.is_empty());
    let resources = resources.unwrap_or(&all);
    let results = input.action_names.iter().map(|action| simulated.result(action, resources));
    Ok(wire::SimulatePolicyResponse {
        evaluation_results: Some(results.collect()),
        is_truncated: Some(false),
        marker: None,
    })
}

/// `None`: a role that nobody made, which may do everything.
fn bearer(book: &Book, arn: &str) -> Result<Option<Arc<Bearer>>, ApiError> {
    let missing = || no_such(format!("{arn} cannot be found."));
    if let Some(name) = role_name(arn) {
        return match book.role_is(name) {
            RoleIs::Made(role) => Ok(Some(role.clone())),
            RoleIs::Unmade => Ok(None),
            RoleIs::Deleted => Err(missing()),
        };
    }
    let name = arn.rsplit('/').next().filter(|_| arn.contains(":user/"));
    let user = name.and_then(|name| book.user_bearer(name)).filter(|user| user.arn == arn);
    user.cloned().map(Some).ok_or_else(missing)
}

fn added(documents: &[String]) -> Result<Vec<Policy>, ApiError> {
    let parse = |text: &String| Policy::parse(text, Kind::Identity);
    documents
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map_err(|error| ApiError::new("InvalidInput", StatusCode::BAD_REQUEST, error.to_string()))
}

struct Simulated<'a> {
    bearer: Option<Arc<Bearer>>,
    added: Vec<Policy>,
    more: &'a [(&'a str, &'a str)],
    account: &'a str,
    source_arn: &'a str,
    now: Timestamp,
}

type Decided = (wire::PolicyEvaluationDecisionType, Vec<wire::Statement>);

impl Simulated<'_> {
    fn result(&self, action: &str, resources: &[String]) -> wire::EvaluationResult {
        let decided: Vec<(&String, Decided)> =
            resources.iter().map(|arn| (arn, self.decided(action, arn))).collect();
        // An action is allowed where it is allowed on all of them.
        let is_allowed = |(_, (decision, _)): &&(_, Decided)| {
            *decision == wire::PolicyEvaluationDecisionType::Allowed
        };
        let told = decided.iter().find(|one| !is_allowed(one)).or_else(|| decided.first());
        let (resource, (decision, statements)) = match told {
            Some((arn, decided)) => (arn.as_str(), decided.clone()),
            None => ("*", self.decided(action, "*")),
        };
        let specific =
            |(arn, (decision, statements)): (&String, Decided)| wire::ResourceSpecificResult {
                eval_resource_name: arn.clone(),
                eval_resource_decision: decision,
                matched_statements: Some(statements),
                missing_context_values: Some(Vec::new()),
                permissions_boundary_decision_detail: None,
                eval_decision_details: None,
            };
        let has_several = decided.len() > 1;
        wire::EvaluationResult {
            eval_action_name: action.to_owned(),
            eval_resource_name: Some(resource.to_owned()),
            eval_decision: decision,
            matched_statements: Some(statements),
            missing_context_values: Some(Vec::new()),
            organizations_decision_detail: None,
            permissions_boundary_decision_detail: None,
            eval_decision_details: None,
            resource_specific_results: has_several
                .then(|| decided.into_iter().map(specific).collect()),
        }
    }

    fn decided(&self, action: &str, resource: &str) -> Decided {
        use wire::PolicyEvaluationDecisionType as Type;
        let Some(bearer) = &self.bearer else { return (Type::Allowed, Vec::new()) };
        if bearer.is_broken {
            return (Type::ExplicitDeny, Vec::new());
        }
        let is_user = self.source_arn.contains(":user/");
        let asked = Asked { more: self.more, ..Asked::new(action, resource) };
        let facts = Facts {
            user_name: is_user.then_some(bearer.name.as_str()),
            ..Facts::new(&asked, self.account, &bearer.arn, self.now)
        };
        match decide(bearer.all().chain(&self.added), &facts) {
            Decision::Allowed => (Type::Allowed, Vec::new()),
            Decision::ImplicitDeny => (Type::ImplicitDeny, Vec::new()),
            Decision::ExplicitDeny { policy, .. } => {
                (Type::ExplicitDeny, vec![statement(bearer.policies.get(policy))])
            }
        }
    }
}

/// The policy that a statement is of; `None` for those of the input.
fn statement(policy: Option<&Named>) -> wire::Statement {
    let name = policy.map_or("PolicyInputList", |policy| policy.name.as_str());
    wire::Statement { source_policy_id: Some(name.to_owned()), ..wire::Statement::default() }
}
