use std::sync::Arc;

use sagebrush_aws::sigv4::Credentials as _;
use sagebrush_aws::{ApiError, Context};
use sagebrush_core::access::{Asked, Authorizer as _, Caller, Roles as _};
use sagebrush_core::clock::FakeClock;
use sagebrush_core::{AccountId, Region, Timestamp};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};

use crate::{Access, KeyPair, Parts, operations};

const NOW: Timestamp = Timestamp(1_767_225_600_000);
const ROLE: &str = "arn:aws:iam::1:role/reader";

struct Fixture {
    store: Arc<MemoryStore>,
    access: Arc<Access>,
}

impl Fixture {
    async fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let access = open(&store).await;
        Self { store, access }
    }

    async fn tried(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        let mut context = Context::new(Region::new("us-east-1"), AccountId("1".into()));
        context.access_key = "root".into();
        let body = input.to_string();
        let all = operations();
        let answer = all.call(self.access.clone(), context, operation, body.as_bytes()).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    async fn call(&self, operation: &str, input: Value) -> Value {
        self.tried(operation, input).await.unwrap()
    }

    async fn refused(&self, operation: &str, input: Value, code: &str) {
        let error = self.tried(operation, input).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }

    /// A user with a key, which is returned.
    async fn user(&self, name: &str) -> String {
        self.call("CreateUser", json!({ "UserName": name })).await;
        let made = self.call("CreateAccessKey", json!({ "UserName": name })).await;
        made["AccessKey"]["AccessKeyId"].as_str().unwrap().to_owned()
    }

    async fn put(&self, user: &str, policy: &str, statement: Value) {
        let document = json!({ "Statement": statement }).to_string();
        let input = json!({"UserName": user, "PolicyName": policy, "PolicyDocument": document});
        self.call("PutUserPolicy", input).await;
    }

    async fn role(&self, name: &str, statement: Value) {
        let trust = json!({"Statement": {
            "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "sts:AssumeRole",
        }});
        let input = json!({"RoleName": name, "AssumeRolePolicyDocument": trust.to_string()});
        self.call("CreateRole", input).await;
        let document = json!({ "Statement": statement }).to_string();
        let input = json!({"RoleName": name, "PolicyName": "p", "PolicyDocument": document});
        self.call("PutRolePolicy", input).await;
    }

    fn may(&self, caller: Caller<'_>, action: &str, resource: &str) -> bool {
        self.access.check(&caller, &Asked::new(action, resource)).is_ok()
    }

    fn why_not(&self, caller: Caller<'_>, action: &str, resource: &str) -> String {
        self.access.check(&caller, &Asked::new(action, resource)).unwrap_err().to_string()
    }
}

async fn open(store: &Arc<MemoryStore>) -> Arc<Access> {
    let root = KeyPair { access_key: "root".to_owned(), secret: "secret".to_owned() };
    let parts = Parts {
        store: store.clone(),
        clock: Arc::new(FakeClock::at(NOW)),
        account: AccountId("1".into()),
        master: [7; 32],
        root,
        endpoint_url: "http://127.0.0.1:9000".to_owned(),
    };
    Access::open(parts).await.unwrap()
}

fn session<'a>(role_arn: &'a str, policy: Option<&'a str>) -> Caller<'a> {
    Caller::Session { role_arn, name: "s", policy }
}

fn allow(action: &str, resource: &str) -> Value {
    json!({"Effect": "Allow", "Action": action, "Resource": resource})
}

#[tokio::test]
async fn who_has_no_policy_may_nothing() {
    let fixture = Fixture::new().await;
    let key = fixture.user("ann").await;
    assert!(fixture.may(Caller::Key("root"), "s3:GetObject", "arn:aws:s3:::b/k"));
    assert!(!fixture.may(Caller::Key("nobody"), "s3:GetObject", "arn:aws:s3:::b/k"));
    assert_eq!(
        fixture.why_not(Caller::Key(&key), "s3:GetObject", "arn:aws:s3:::b/k"),
        "User: arn:aws:iam::1:user/ann is not authorized to perform: s3:GetObject on resource: \
         arn:aws:s3:::b/k because no identity-based policy allows the s3:GetObject action"
    );
}

#[tokio::test]
async fn deny_wins_and_changes_are_seen_at_once() {
    let fixture = Fixture::new().await;
    let key = fixture.user("ann").await;
    let ann = Caller::Key(&key);
    fixture.put("ann", "allow", allow("s3:*", "arn:aws:s3:::${aws:username}/*")).await;
    assert!(fixture.may(ann, "s3:getobject", "arn:aws:s3:::ann/k"));
    assert!(!fixture.may(ann, "s3:GetObject", "arn:aws:s3:::bob/k"));
    let deny = json!({"Effect": "Deny", "Action": "s3:Get*", "Resource": "*"});
    fixture.put("ann", "deny", deny).await;
    let why = fixture.why_not(ann, "s3:GetObject", "arn:aws:s3:::ann/k");
    assert!(why.ends_with("with an explicit deny in an identity-based policy"), "{why}");
    fixture.call("DeleteUserPolicy", json!({"UserName": "ann", "PolicyName": "deny"})).await;
    let arn = "arn:aws:iam::aws:policy/AdministratorAccess";
    let attached = json!({"UserName": "ann", "PolicyArn": arn});
    fixture.call("AttachUserPolicy", attached.clone()).await;
    assert!(fixture.may(ann, "sagemaker:CreateModel", "*"));
    fixture.call("DetachUserPolicy", attached).await;
    assert!(!fixture.may(ann, "sagemaker:CreateModel", "*"));
}

#[tokio::test]
async fn keys_are_good_while_they_are_active() {
    let fixture = Fixture::new().await;
    let key = fixture.user("ann").await;
    let secret = |access: &Access| {
        access.secret(&key, None, NOW).ok().map(|grant| grant.secret.into_owned())
    };
    let first = secret(&fixture.access).unwrap();
    assert_eq!(first.len(), 40);
    assert!(fixture.access.secret(&key, Some("token"), NOW).is_err());
    assert_eq!(secret(&*open(&fixture.store).await), Some(first), "after a restart");
    let set = |status: &str| json!({"UserName": "ann", "AccessKeyId": key, "Status": status});
    fixture.call("UpdateAccessKey", set("Inactive")).await;
    assert_eq!(secret(&fixture.access), None);
    fixture.call("UpdateAccessKey", set("Active")).await;
    assert!(secret(&fixture.access).is_some());
    fixture.refused("DeleteUser", json!({"UserName": "ann"}), "DeleteConflict").await;
    fixture.call("DeleteAccessKey", json!({"UserName": "ann", "AccessKeyId": key})).await;
    assert_eq!(secret(&fixture.access), None);
    fixture.call("DeleteUser", json!({"UserName": "ann"})).await;
    fixture.refused("GetUser", json!({"UserName": "ann"}), "NoSuchEntity").await;
}

#[tokio::test]
async fn a_role_limits_its_sessions() {
    let fixture = Fixture::new().await;
    assert!(fixture.may(session(ROLE, None), "s3:PutObject", "*"), "nobody made it");
    fixture.role("reader", allow("s3:Get*", "arn:aws:s3:::b/*")).await;
    let reader = session(ROLE, None);
    assert!(fixture.may(reader, "s3:GetObject", "arn:aws:s3:::b/k"));
    assert!(fixture.may(Caller::Role { arn: ROLE }, "s3:GetObject", "arn:aws:s3:::b/k"));
    assert!(!fixture.may(reader, "s3:PutObject", "arn:aws:s3:::b/k"));
    let elsewhere = session("arn:aws:iam::2:role/path/Reader", None);
    assert!(!fixture.may(elsewhere, "s3:PutObject", "arn:aws:s3:::b/k"));
    let policy = json!({"Statement": allow("s3:*", "arn:aws:s3:::b/one")}).to_string();
    let narrow = session(ROLE, Some(&policy));
    assert!(fixture.may(narrow, "s3:GetObject", "arn:aws:s3:::b/one"));
    assert!(!fixture.may(narrow, "s3:PutObject", "arn:aws:s3:::b/one"));
    let why = fixture.why_not(narrow, "s3:GetObject", "arn:aws:s3:::b/two");
    assert!(why.contains("because no session policy allows"), "{why}");
    assert!(!fixture.may(session(ROLE, Some("{")), "s3:GetObject", "arn:aws:s3:::b/one"));
}

#[tokio::test]
async fn a_deleted_role_may_nothing() {
    let fixture = Fixture::new().await;
    fixture.role("reader", allow("s3:Get*", "*")).await;
    fixture.call("DeleteRolePolicy", json!({"RoleName": "reader", "PolicyName": "p"})).await;
    fixture.call("DeleteRole", json!({"RoleName": "reader"})).await;
    assert!(!fixture.may(session(ROLE, None), "s3:GetObject", "*"));
    fixture.refused("GetRole", json!({"RoleName": "reader"}), "NoSuchEntity").await;
    let reopened = open(&fixture.store).await;
    let asked = Asked::new("s3:GetObject", "*");
    assert!(reopened.check(&session(ROLE, None), &asked).is_err());
    fixture.role("reader", allow("s3:Get*", "*")).await;
    assert!(fixture.may(session(ROLE, None), "s3:GetObject", "*"));
}

#[tokio::test]
async fn limited_callers_hand_out_made_roles_alone() {
    let fixture = Fixture::new().await;
    let key = fixture.user("ann").await;
    let ann = Caller::Key(&key);
    fixture.put("ann", "all", allow("*", "*")).await;
    for action in ["iam:PassRole", "sts:AssumeRole"] {
        assert!(!fixture.may(ann, action, "arn:aws:iam::1:role/unmade"));
        assert!(!fixture.may(ann, action, "*"));
    }
    fixture.role("reader", allow("s3:Get*", "*")).await;
    for action in ["iam:PassRole", "sts:AssumeRole"] {
        assert!(fixture.may(ann, action, ROLE));
        assert!(!fixture.may(ann, action, "arn:aws:iam::2:role/reader"));
        assert!(!fixture.may(ann, action, "arn:aws:iam::1:role/other/reader"));
    }
}

#[tokio::test]
async fn paths_of_users_count() {
    let fixture = Fixture::new().await;
    let key = fixture.user("ann").await;
    fixture.call("CreateUser", json!({"UserName": "eve", "Path": "/admins/"})).await;
    let all = json!([
        allow("iam:*", "*"),
        {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:iam::1:user/admins/*"},
    ]);
    fixture.put("ann", "all", all).await;
    let ann = Caller::Key(&key);
    assert!(!fixture.may(ann, "iam:DeleteUser", "arn:aws:iam::1:user/eve"));
    assert!(!fixture.may(ann, "iam:DeleteUser", "arn:aws:iam::1:user/other/EVE"));
    assert!(fixture.may(ann, "iam:CreateAccessKey", "arn:aws:iam::1:user/"));
}

#[tokio::test]
async fn policies_are_checked_when_they_are_put() {
    let fixture = Fixture::new().await;
    fixture.user("ann").await;
    let put = |document: String| json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": document});
    fixture.refused("PutUserPolicy", put("{".to_owned()), "MalformedPolicyDocument").await;
    let long = json!({"Statement": allow("*", &format!("arn:{}", "x".repeat(6200)))});
    fixture.refused("PutUserPolicy", put(long.to_string()), "LimitExceeded").await;
    let missing = json!({"UserName": "ann", "PolicyArn": "arn:aws:iam::1:policy/no-such-one"});
    fixture.refused("AttachUserPolicy", missing, "NoSuchEntity").await;
    fixture.refused("CreateUser", json!({"UserName": "ANN"}), "EntityAlreadyExists").await;
}

#[tokio::test]
async fn code_gets_the_keys_of_a_role_that_was_made() {
    let fixture = Fixture::new().await;
    assert!(fixture.access.environment(ROLE, "eu-west-1").is_empty());
    fixture.role("reader", allow("s3:Get*", "arn:aws:s3:::b/*")).await;
    let found = fixture.access.environment(ROLE, "eu-west-1");
    assert_eq!(found, fixture.access.environment(ROLE, "eu-west-1"), "they stay the same");
    assert_eq!(found["AWS_REGION"], "eu-west-1");
    let (key, token) = (&found["AWS_ACCESS_KEY_ID"], &found["AWS_SESSION_TOKEN"]);
    let grant = fixture.access.secret(key, Some(token), NOW).ok().unwrap();
    assert_eq!(*grant.secret, found["AWS_SECRET_ACCESS_KEY"]);
    let session = grant.session.unwrap();
    let code = sagebrush_aws::guard::caller(key, Some(&session));
    assert!(fixture.may(code, "s3:GetObject", "arn:aws:s3:::b/k"));
    assert!(!fixture.may(code, "sagemaker:ListModels", "*"));
}

#[tokio::test]
async fn simulation_decides() {
    let fixture = Fixture::new().await;
    fixture.user("ann").await;
    fixture.put("ann", "p", allow("s3:Get*", "arn:aws:s3:::b/*")).await;
    let simulated = fixture.call(
        "SimulatePrincipalPolicy",
        json!({
            "PolicySourceArn": "arn:aws:iam::1:user/ann",
            "ActionNames": ["s3:GetObject", "s3:PutObject"],
            "ResourceArns": ["arn:aws:s3:::b/k"],
        }),
    );
    let simulated = simulated.await;
    let decisions: Vec<&str> = simulated["EvaluationResults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["EvalDecision"].as_str().unwrap())
        .collect();
    assert_eq!(decisions, ["allowed", "implicitDeny"]);
}
