//! What it costs a call to be allowed: `cargo bench --package sagebrush-access`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sagebrush_access::{Access, KeyPair, Parts, operations};
use sagebrush_aws::Context;
use sagebrush_core::access::{Asked, Authorizer as _, Caller};
use sagebrush_core::clock::SystemClock;
use sagebrush_core::{AccountId, Region};
use sagebrush_store::MemoryStore;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Calls that are measured together.
const CALLS: u32 = 1_000_000;

const ENDPOINT: &str = "arn:aws:sagemaker:us-east-1:1:endpoint/digits";

#[expect(clippy::print_stdout, reason = "its output")]
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let access = open().await;
    let key = limited_user(&access).await;
    for (who, key) in [("the root key", "root"), ("a user with two policies", &key)] {
        let (caller, asked) = (Caller::Key(key), asked());
        let allowed = |_| {
            let caller = black_box(&caller);
            access.is_unlimited(caller) || access.check(caller, black_box(&asked)).is_ok()
        };
        assert!(allowed(0));
        let began = Instant::now();
        let mut n_allowed = 0;
        let measured =
            allocation_counter::measure(|| n_allowed = (0..CALLS).filter(|n| allowed(*n)).count());
        let call = began.elapsed() / CALLS;
        let allocations = f64::from(u32::try_from(measured.count_total).unwrap_or(u32::MAX));
        println!("{who}: {call:?}, {} allocations a call", allocations / f64::from(CALLS));
        assert_eq!(n_allowed, CALLS as usize);
    }
}

fn asked() -> Asked<'static> {
    Asked {
        region: "us-east-1",
        source_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ..Asked::new("sagemaker:InvokeEndpoint", ENDPOINT)
    }
}

async fn open() -> Arc<Access> {
    let root = KeyPair { access_key: "root".to_owned(), secret: "secret".to_owned() };
    let parts = Parts {
        store: Arc::new(MemoryStore::default()),
        clock: Arc::new(SystemClock),
        account: AccountId("1".into()),
        master: [7; 32],
        root,
        endpoint_url: "http://127.0.0.1:9000".to_owned(),
    };
    Access::open(parts).await.expect("an empty store")
}

/// May call two endpoints from this machine, and do all with S3 but delete. Returns the key.
async fn limited_user(access: &Arc<Access>) -> String {
    call(access, "CreateUser", json!({"UserName": "caller"})).await;
    let invoke = json!({"Statement": {
        "Effect": "Allow",
        "Action": ["sagemaker:InvokeEndpoint*", "sagemaker:DescribeEndpoint"],
        "Resource": ["arn:aws:sagemaker:*:*:endpoint/iris", "arn:aws:sagemaker:*:*:endpoint/dig*"],
        "Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    }});
    let objects = json!({"Statement": [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"},
    ]});
    for (name, document) in [("invoke", invoke), ("objects", objects)] {
        let document = document.to_string();
        let input = json!({"UserName": "caller", "PolicyName": name, "PolicyDocument": document});
        call(access, "PutUserPolicy", input).await;
    }
    let made = call(access, "CreateAccessKey", json!({"UserName": "caller"})).await;
    made["AccessKey"]["AccessKeyId"].as_str().unwrap_or_default().to_owned()
}

async fn call(access: &Arc<Access>, operation: &str, input: Value) -> Value {
    let mut context = Context::new(Region::new("us-east-1"), AccountId("1".into()));
    context.access_key = "root".into();
    let body = input.to_string();
    let all = operations();
    let answer = all.call(access.clone(), context, operation, body.as_bytes()).await;
    serde_json::from_slice(&answer.expect("it is served")).unwrap_or_default()
}
