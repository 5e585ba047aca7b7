use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use s3s::Body;
use sagebrush_aws::sigv4::Grant;
use sagebrush_core::access::AllowAll;
use sagebrush_core::objects::Versioning;

use super::{DoorConfig, RequestId, S3Door};
use crate::backend::tests::Fixture;

async fn call(request: http::request::Builder) -> (StatusCode, String, bool) {
    let fixture = Fixture::new(Versioning::Off).await;
    let config = DoorConfig {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        domains: vec!["localhost".to_owned()],
    };
    let grant_of = Arc::new(|key: &str, token: Option<&str>| {
        let is_known = key == "AKID" && token.is_none() || key == "ASIA" && token == Some("t/1");
        is_known.then(|| Grant { secret: "secret".into(), session: None })
    });
    let door = S3Door::new(fixture.objects.clone(), config, grant_of, Arc::new(AllowAll));
    let answer = door.call(request.body(Full::new(Bytes::new())).unwrap()).await;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let id = parts.headers["x-amz-request-id"].to_str().unwrap();
    let xml = String::from_utf8(body.to_vec()).unwrap();
    let carries_id = xml.contains(&format!("<RequestId>{id}</RequestId>"));
    (parts.status, xml, carries_id && parts.headers.contains_key("x-amz-id-2"))
}

async fn check(request: http::request::Builder, status: StatusCode, code: &str) {
    let (found, xml, carries_id) = call(request).await;
    assert_eq!(found, status, "{xml}");
    assert!(xml.contains(&format!("<Code>{code}</Code>")), "{xml}");
    assert!(carries_id, "{xml}");
}

#[tokio::test]
async fn refuses_who_does_not_sign() {
    let get = |uri: &str| Request::get(uri).header("host", "127.0.0.1:9000");
    check(get("/"), StatusCode::FORBIDDEN, "AccessDenied").await;
    check(get("/bucket/key"), StatusCode::FORBIDDEN, "AccessDenied").await;
    let virtual_host = Request::put("/key").header("host", "bucket.localhost:9000");
    check(virtual_host, StatusCode::FORBIDDEN, "AccessDenied").await;
    let unknown_host = Request::get("/bucket").header("host", "sagebrush.svc:9000");
    check(unknown_host, StatusCode::FORBIDDEN, "AccessDenied").await;
}

#[tokio::test]
async fn refuses_names_that_are_none() {
    let get = |uri: &str| Request::get(uri).header("host", "127.0.0.1:9000");
    check(get("/UPPER_CASE/k"), StatusCode::BAD_REQUEST, "InvalidBucketName").await;
    check(get("/bucket/%FF"), StatusCode::BAD_REQUEST, "InvalidURI").await;
    let long = format!("/bucket/{}", "k".repeat(1025));
    check(get(&long), StatusCode::BAD_REQUEST, "KeyTooLongError").await;
}

#[tokio::test]
async fn refuses_unknown_keys() {
    let presigned_v2 = "/bucket/key?AWSAccessKeyId=NOPE&Signature=x&Expires=9999999999";
    let request = Request::get(presigned_v2).header("host", "127.0.0.1:9000");
    check(request, StatusCode::FORBIDDEN, "InvalidAccessKeyId").await;
}

#[tokio::test]
async fn a_presigned_url_is_good_for_a_week_at_most() {
    let get = |seconds: &str| {
        let uri = format!("/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={seconds}");
        Request::get(uri).header("host", "127.0.0.1:9000")
    };
    let refused = "AuthorizationQueryParametersError";
    check(get("604801"), StatusCode::BAD_REQUEST, refused).await;
}

#[tokio::test]
async fn nothing_new_has_no_body() {
    let mut answer = Response::new(Body::from("<Error></Error>".to_owned()));
    *answer.status_mut() = StatusCode::NOT_MODIFIED;
    let body = RequestId::new().sign(answer).into_body().collect().await.unwrap().to_bytes();
    assert!(body.is_empty());
}

#[tokio::test]
async fn temporary_keys_are_known_only_with_their_token() {
    let get = |token: &str| {
        let uri = format!("/bucket/key?AWSAccessKeyId=ASIA&Signature=x&Expires=9999999999{token}");
        Request::get(uri).header("host", "127.0.0.1:9000")
    };
    let known = "SignatureDoesNotMatch"; // The secret was found.
    check(get("&x-amz-security-token=t%2F1"), StatusCode::FORBIDDEN, known).await;
    let in_header = get("").header("x-amz-security-token", "t/1");
    check(in_header, StatusCode::FORBIDDEN, known).await;
    check(get("&x-amz-security-token=t2"), StatusCode::FORBIDDEN, "InvalidAccessKeyId").await;
    check(get(""), StatusCode::FORBIDDEN, "InvalidAccessKeyId").await;
}
