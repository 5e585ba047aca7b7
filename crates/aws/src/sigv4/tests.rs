//! AWS's own signing test suite, forged requests, and clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use sagebrush_core::Timestamp;
use sagebrush_core::clock::FakeClock;
use serde_json::Value;

use super::canonical::{self, PathRule};
use super::*;

const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z
const SIGNED_AT: Timestamp = Timestamp(1_440_938_160_000);
const MINUTE: i64 = 60_000;

/// A request of the suite.
#[derive(Clone)]
struct Case {
    name: String,
    parts: Parts,
    body: Vec<u8>,
    token: Option<String>,
    rule: PathRule,
}

impl Case {
    /// Reads `header-signed-request.txt` or `query-signed-request.txt`.
    fn read(dir: &Path, file: &str) -> Option<Self> {
        let text = fs::read_to_string(dir.join(file)).ok()?;
        let context: Value =
            serde_json::from_str(&fs::read_to_string(dir.join("context.json")).ok()?).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let head = head.replace("\n ", " "); // A folded header.
        let mut lines = head.lines();
        let line = lines.next().unwrap();
        let (method, uri) = line.strip_suffix(" HTTP/1.1").unwrap().split_once(' ').unwrap();
        // Blanks and letters beyond ASCII cannot stand in a URL: the suite encodes them once.
        let sent = uri.replace(' ', "%20").replace('ሴ', "%E1%88%B4");
        let encode_twice = sent == uri;
        let request = Request::builder().method(method).uri(sent).body(()).unwrap();
        let mut parts = request.into_parts().0;
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.parse().unwrap();
            parts.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Some(Self {
            name: format!("{}/{file}", dir.file_name()?.to_string_lossy()),
            parts,
            body: body.as_bytes().to_vec(),
            token: context["credentials"]["token"].as_str().map(str::to_owned),
            rule: PathRule { normalize: context["normalize"] == true, encode_twice },
        })
    }

    fn verify(&self, verifier: &Verifier) -> Result<Caller, AuthError> {
        verifier.verify_by(&self.parts, || canonical::hash(&self.body), "service", self.rule)
    }

    fn verifier(&self, now: Timestamp) -> Verifier {
        let keys = StaticKeys::default();
        let keys = match &self.token {
            Some(token) => keys.with_token(ACCESS_KEY, SECRET, token),
            None => keys.with(ACCESS_KEY, SECRET),
        };
        Verifier::new(Arc::new(keys), Arc::new(FakeClock::at(now)))
    }
}

/// Where cargo keeps the sources of `aws-sigv4`.
fn suite() -> PathBuf {
    // What other platforms need may not be on this machine.
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "aws-sigv4").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("aws-signing-test-suite").join("v4")
}

fn cases(file: &str) -> Vec<Case> {
    let dirs = fs::read_dir(suite()).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<Case> = dirs.filter_map(|dir| Case::read(&dir, file)).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// In this case the token is added after signing, which we do not take.
fn adds_its_token_after_signing(case: &Case) -> bool {
    case.name.starts_with("post-sts-header-after/")
}

#[test]
fn signed_headers_of_the_suite() {
    let cases = cases("header-signed-request.txt");
    assert_eq!(cases.len(), 38);
    for mut case in cases {
        let verifier = case.verifier(SIGNED_AT);
        if adds_its_token_after_signing(&case) {
            let unsigned = AuthError::Unsigned("x-amz-security-token".to_owned());
            assert_eq!(case.verify(&verifier), Err(unsigned), "{}", case.name);
            // The signature itself is right.
            case.parts.headers.remove("x-amz-security-token");
            case.token = None;
            assert!(case.verify(&case.verifier(SIGNED_AT)).is_ok(), "{}", case.name);
            continue;
        }
        let caller =
            case.verify(&verifier).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!((&*caller.access_key, caller.region.as_str()), (ACCESS_KEY, "us-east-1"));
        assert_eq!(case.verify(&verifier), Ok(caller), "{} with the cached key", case.name);
    }
}

#[test]
fn presigned_urls_of_the_suite() {
    let cases = cases("query-signed-request.txt");
    assert_eq!(cases.len(), 38);
    for case in cases {
        let verifier = case.verifier(Timestamp(SIGNED_AT.0 + 59 * MINUTE));
        if adds_its_token_after_signing(&case) {
            assert_eq!(case.verify(&verifier), Err(AuthError::Mismatch), "{}", case.name);
            continue;
        }
        if let Err(error) = case.verify(&verifier) {
            panic!("{}: {error}", case.name);
        }
        let late = case.verifier(Timestamp(SIGNED_AT.0 + 61 * MINUTE));
        assert!(matches!(case.verify(&late), Err(AuthError::OutOfScope(_))), "{}", case.name);
    }
}

type Forgery = (&'static str, fn(&mut Case));

fn authorization(case: &mut Case, change: impl Fn(&str) -> String) {
    let header = case.parts.headers["authorization"].to_str().unwrap().to_owned();
    case.parts.headers.insert("authorization", change(&header).parse().unwrap());
}

fn uri(case: &mut Case, change: impl Fn(&str) -> String) {
    case.parts.uri = change(&case.parts.uri.to_string()).parse().unwrap();
}

fn set(case: &mut Case, name: &'static str, value: &'static str) {
    case.parts.headers.insert(name, HeaderValue::from_static(value));
}

/// What somebody on the way might do to a request that is signed in its header.
const FORGERIES: &[Forgery] = &[
    ("method", |case| case.parts.method = http::Method::DELETE),
    ("path", |case| uri(case, |uri| format!("/forged{uri}"))),
    ("path, one more segment", |case| {
        let path = case.parts.uri.path().to_owned();
        uri(case, |uri| uri.replacen(&path, &format!("{path}x"), 1));
    }),
    ("query", |case| {
        uri(case, |uri| format!("{uri}{}forged=1", if uri.contains('?') { "&" } else { "?" }));
    }),
    ("body", |case| case.body.push(b'x')),
    ("host", |case| set(case, "host", "evil.example.com")),
    ("no host", |case| drop(case.parts.headers.remove("host"))),
    ("host twice", |case| {
        case.parts.headers.append("host", HeaderValue::from_static("example.amazonaws.com"));
    }),
    ("date", |case| set(case, "x-amz-date", "20150830T123601Z")),
    ("date twice", |case| {
        case.parts.headers.append("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    }),
    ("no date", |case| drop(case.parts.headers.remove("x-amz-date"))),
    ("bad date", |case| set(case, "x-amz-date", "2015-08-30T12:36:00Z")),
    ("an unsigned x-amz header", |case| set(case, "x-amz-target", "SageMaker.DeleteModel")),
    ("a session token", |case| set(case, "x-amz-security-token", "forged")),
    ("the hash of another body", |case| {
        set(
            case,
            "x-amz-content-sha256",
            "0000000000000000000000000000000000000000000000000000000000000000",
        );
    }),
    ("an unsigned body", |case| set(case, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")),
    ("a streamed body", |case| {
        set(case, "x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    }),
    ("access key", |case| authorization(case, |it| it.replace(ACCESS_KEY, "AKIDOTHER"))),
    ("scope's day", |case| authorization(case, |it| it.replace("20150830", "20150829"))),
    ("scope's region", |case| authorization(case, |it| it.replace("us-east-1", "us-west-2"))),
    ("scope's service", |case| authorization(case, |it| it.replace("/service/", "/sts/"))),
    ("scope's end", |case| authorization(case, |it| it.replace("aws4_request", "aws5_request"))),
    ("a short scope", |case| authorization(case, |it| it.replace("/aws4_request", ""))),
    ("host not signed", |case| authorization(case, |it| it.replace("host;", ""))),
    ("signed headers", |case| authorization(case, |it| it.replace("host;", "host;te;"))),
    ("signed headers in capitals", |case| authorization(case, |it| it.replace("host;", "Host;"))),
    ("last digit", |case| {
        authorization(case, |it| {
            let (rest, digit) = it.split_at(it.len() - 1);
            format!("{rest}{}", if digit == "0" { "1" } else { "0" })
        });
    }),
    ("signature cut", |case| authorization(case, |it| it[..it.len() - 1].to_owned())),
    ("signature longer", |case| authorization(case, |it| format!("{it}0"))),
    ("empty signature", |case| authorization(case, |it| it[..it.len() - 64].to_owned())),
    ("signature in capitals", |case| {
        authorization(case, |it| {
            let (rest, signature) = it.split_at(it.len() - 64);
            format!("{rest}{}", signature.to_ascii_uppercase())
        });
    }),
    ("signature twice", |case| authorization(case, |it| format!("{it}, Signature=0"))),
    ("no signature", |case| {
        authorization(case, |it| it.split(", Signature").next().unwrap().to_owned());
    }),
    ("algorithm", |case| {
        authorization(case, |it| it.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"));
    }),
    ("no authorization", |case| drop(case.parts.headers.remove("authorization"))),
];

#[test]
fn forged_headers_are_refused() {
    check_forgeries("header-signed-request.txt", FORGERIES);
}

fn check_forgeries(file: &str, forgeries: &[Forgery]) {
    for case in cases(file).iter().filter(|case| !adds_its_token_after_signing(case)) {
        let verifier = case.verifier(SIGNED_AT);
        assert!(case.verify(&verifier).is_ok()); // Now its key is cached.
        for (what, forge) in forgeries {
            let mut forged = case.clone();
            forge(&mut forged);
            assert!(forged.verify(&verifier).is_err(), "{}: {what}", case.name);
        }
    }
}

/// What somebody might do to a presigned URL.
const URL_FORGERIES: &[Forgery] = &[
    ("method", |case| case.parts.method = http::Method::DELETE),
    ("path", |case| uri(case, |uri| format!("/forged{uri}"))),
    ("one more parameter", |case| uri(case, |uri| format!("{uri}&forged=1"))),
    ("body", |case| case.body.push(b'x')),
    ("host", |case| set(case, "host", "evil.example.com")),
    ("an unsigned x-amz header", |case| set(case, "x-amz-target", "SageMaker.DeleteModel")),
    ("longer life", |case| uri(case, |uri| uri.replace("Expires=3600", "Expires=36000"))),
    ("eternal life", |case| uri(case, |uri| uri.replace("Expires=3600", "Expires=604801"))),
    ("no life", |case| uri(case, |uri| uri.replace("Expires=3600", "Expires=0"))),
    ("life of no number", |case| uri(case, |uri| uri.replace("Expires=3600", "Expires=-1"))),
    ("two lives", |case| uri(case, |uri| format!("{uri}&X-Amz-Expires=3600"))),
    ("two signatures", |case| uri(case, |uri| format!("{uri}&X-Amz-Signature=0"))),
    ("two credentials", |case| {
        uri(case, |uri| {
            format!(
                "{uri}&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request"
            )
        });
    }),
    ("date", |case| uri(case, |uri| uri.replace("T123600Z", "T123601Z"))),
    ("access key", |case| uri(case, |uri| uri.replace(ACCESS_KEY, "AKIDOTHER"))),
    ("region", |case| uri(case, |uri| uri.replace("us-east-1", "us-west-2"))),
    ("service", |case| uri(case, |uri| uri.replace("%2Fservice%2F", "%2Fsts%2F"))),
    ("host not signed", |case| {
        uri(case, |uri| {
            uri.replace("SignedHeaders=host", "SignedHeaders=te").replace("%3Bhost", "")
        });
    }),
    ("algorithm", |case| uri(case, |uri| uri.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"))),
    ("no signature", |case| uri(case, |uri| uri.replace("X-Amz-Signature", "X-Amz-Nothing"))),
];

#[test]
fn forged_urls_are_refused() {
    check_forgeries("query-signed-request.txt", URL_FORGERIES);
}

fn signer() -> Signer<'static> {
    Signer {
        access_key: ACCESS_KEY,
        secret: SECRET,
        token: None,
        region: "eu-west-1",
        service: "sagemaker",
    }
}

fn request(uri: &str) -> Parts {
    Request::post(uri).header("x-amz-target", "SageMaker.X").body(()).unwrap().into_parts().0
}

fn verifier(now: Timestamp) -> Verifier {
    let keys = StaticKeys::default().with(ACCESS_KEY, SECRET);
    Verifier::new(Arc::new(keys), Arc::new(FakeClock::at(now)))
}

fn message(parts: &Parts, now: Timestamp) -> String {
    let outcome = verifier(now).verify(parts, b"{}", "sagemaker");
    outcome.err().map(|error| error.into_api_error(Dialect::Json).to_string()).unwrap_or_default()
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let mut parts = request("http://localhost:8080/");
    signer().sign(&mut parts, b"{}", SIGNED_AT).unwrap();
    let check = |minutes: i64, expected: &str| {
        assert_eq!(message(&parts, Timestamp(SIGNED_AT.0 + minutes * MINUTE)), expected);
    };
    check(-15, "");
    check(15, "");
    check(
        16,
        "InvalidSignatureException: Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z (20150830T125200Z - 15 min.)",
    );
    check(
        -16,
        "InvalidSignatureException: Signature not yet current: 20150830T123600Z is still later than 20150830T123500Z (20150830T122000Z + 15 min.)",
    );
}

#[test]
fn refusals_have_the_codes_of_aws() {
    let mut parts = request("http://localhost:8080/");
    assert_eq!(
        message(&parts, SIGNED_AT),
        "MissingAuthenticationTokenException: Missing Authentication Token"
    );
    signer().sign(&mut parts, b"{}", SIGNED_AT).unwrap();
    assert_eq!(message(&parts, SIGNED_AT), "");
    let mut unknown = request("http://localhost:8080/");
    Signer { access_key: "AKIDOTHER", ..signer() }.sign(&mut unknown, b"{}", SIGNED_AT).unwrap();
    assert_eq!(
        message(&unknown, SIGNED_AT),
        "UnrecognizedClientException: The security token included in the request is invalid."
    );
    let mut other_secret = request("http://localhost:8080/");
    Signer { secret: "other", ..signer() }.sign(&mut other_secret, b"{}", SIGNED_AT).unwrap();
    assert!(message(&other_secret, SIGNED_AT).starts_with(
        "InvalidSignatureException: The request signature we calculated does not match"
    ));
    let mut other_service = request("http://localhost:8080/");
    Signer { service: "sts", ..signer() }.sign(&mut other_service, b"{}", SIGNED_AT).unwrap();
    assert_eq!(
        message(&other_service, SIGNED_AT),
        "InvalidSignatureException: Credential should be scoped to correct service: 'sagemaker'. "
    );
    parts
        .headers
        .insert("authorization", HeaderValue::from_static("AWS4-HMAC-SHA256 Credential=a/b"));
    assert_eq!(
        message(&parts, SIGNED_AT),
        "IncompleteSignatureException: Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter."
    );
    let query = AuthError::Mismatch.into_api_error(Dialect::Query);
    assert_eq!((&*query.code, query.status.as_u16()), ("SignatureDoesNotMatch", 403));
}

#[test]
fn a_changed_secret_is_not_served_from_the_cache() {
    let mut parts = request("http://localhost:8080/");
    signer().sign(&mut parts, b"{}", SIGNED_AT).unwrap();
    let verifier = verifier(SIGNED_AT);
    assert!(verifier.verify(&parts, b"{}", "sagemaker").is_ok());
    let cached =
        verifier.keys().get("AKIDEXAMPLE/20150830/eu-west-1/sagemaker/aws4_request", SECRET);
    assert!(cached.is_some());
    let other =
        verifier.keys().get("AKIDEXAMPLE/20150830/eu-west-1/sagemaker/aws4_request", "other");
    assert!(other.is_none());
}

#[test]
fn temporary_keys_need_their_token() {
    let temporary = TemporaryKeys::new([7; 32]);
    let session = Session {
        role_arn: "arn:aws:iam::1:role/r".to_owned(),
        name: "s".to_owned(),
        policy: None,
    };
    let issued = temporary.issue(&session, Timestamp(SIGNED_AT.0 + MINUTE));
    let clock = Arc::new(FakeClock::at(SIGNED_AT));
    let keys = Keys { fixed: StaticKeys::default().with(ACCESS_KEY, SECRET), temporary };
    let verifier = Verifier::new(Arc::new(keys), clock.clone());
    let signer = Signer {
        access_key: &issued.access_key,
        secret: &issued.secret,
        token: Some(&issued.token),
        ..signer()
    };
    let signed = |signer: Signer<'_>| {
        let mut parts = request("http://localhost:8080/");
        signer.sign(&mut parts, b"{}", SIGNED_AT).unwrap();
        parts
    };
    let verify = |parts: &Parts| verifier.verify(parts, b"{}", "sagemaker");
    assert_eq!(verify(&signed(signer)).unwrap().session.as_deref(), Some(&session));
    assert_eq!(verify(&signed(Signer { token: None, ..signer })), Err(AuthError::UnknownKey));
    let fixed = Signer { access_key: ACCESS_KEY, secret: SECRET, ..signer };
    assert_eq!(verify(&signed(fixed)), Err(AuthError::UnknownKey));
    let mut url = request("http://localhost:8080/?a=1");
    signer.presign(&mut url, Duration::from_secs(3600), SIGNED_AT).unwrap();
    assert!(verifier.verify(&url, b"", "sagemaker").unwrap().session.is_some());
    clock.advance(Duration::from_secs(60));
    assert_eq!(verify(&signed(signer)), Err(AuthError::TokenExpired));
}

#[test]
fn a_changed_token_in_a_signed_request_is_refused() {
    let temporary = TemporaryKeys::new([7; 32]);
    let session = Session { role_arn: "r".to_owned(), name: "s".to_owned(), policy: None };
    let expires_at = Timestamp(SIGNED_AT.0 + MINUTE);
    let (one, other) =
        (temporary.issue(&session, expires_at), temporary.issue(&session, expires_at));
    let verifier = Verifier::new(Arc::new(temporary), Arc::new(FakeClock::at(SIGNED_AT)));
    let mut parts = request("http://localhost:8080/");
    let signer = Signer {
        access_key: &one.access_key,
        secret: &one.secret,
        token: Some(&one.token),
        ..signer()
    };
    signer.sign(&mut parts, b"{}", SIGNED_AT).unwrap();
    assert!(verifier.verify(&parts, b"{}", "sagemaker").is_ok());
    parts.headers.insert("x-amz-security-token", other.token.parse().unwrap());
    assert_eq!(verifier.verify(&parts, b"{}", "sagemaker"), Err(AuthError::UnknownKey));
}

proptest! {
    #[test]
    fn what_we_sign_we_verify(path in "(/[a-z.%é +~-]{0,5}){1,4}", query in "([a-c+%é]{1,3}(=[a-c]{0,2})?&?){0,4}", body: Vec<u8>, header in "[ -~]{0,10}", s3: bool) {
        let encoded = |text: &str| text.replace(' ', "%20").replace('é', "%c3%a9");
        let uri = format!("http://localhost:8080{}?{}", encoded(&path), encoded(&query));
        let request = Request::put(uri).header("x-header", header).body(()).unwrap();
        let service = if s3 { "s3" } else { "sagemaker" };
        let signer = Signer { service, ..signer() };
        let mut parts = request.into_parts().0;
        let mut presigned = parts.clone();
        signer.sign(&mut parts, &body, SIGNED_AT).unwrap();
        prop_assert!(verifier(SIGNED_AT).verify(&parts, &body, service).is_ok());
        signer.presign(&mut presigned, Duration::from_secs(60), SIGNED_AT).unwrap();
        prop_assert!(verifier(SIGNED_AT).verify(&presigned, b"", service).is_ok());
    }

    #[test]
    fn any_authorization_header_is_read_without_a_panic(header in "(AWS4-HMAC-SHA256 )?[ -~]{0,80}") {
        if let Ok(fields) = claim::fields(&header) {
            let _ = claim::Scope::parse(fields.credential);
        }
    }

    #[test]
    fn any_head_is_verified_without_a_panic(
        fields in prop::collection::vec("(Credential|SignedHeaders|Signature)?=?[a-z0-9/;, =]{0,20}", 0..5),
        date in "[0-9TZ]{0,17}",
        query in "(X-Amz-(Signature|Date|Expires|Credential|Algorithm|SignedHeaders)=?[A-Za-z0-9%/&;-]{0,20}&?){0,6}",
        in_header: bool,
    ) {
        let mut request = Request::get(format!("/?{query}")).header("x-amz-date", date);
        if in_header {
            request = request.header("authorization", format!("AWS4-HMAC-SHA256 {}", fields.join(",")));
        }
        if let Ok(request) = request.body(()) {
            prop_assert!(verifier(SIGNED_AT).verify(&request.into_parts().0, b"", "sagemaker").is_err());
        }
    }
}

/// `cargo test --release -p sagebrush-aws -- --ignored --nocapture speed`
#[test]
#[ignore = "measures"]
fn speed_of_a_verification() {
    let body = vec![b'x'; 1024];
    let mut parts = Request::post("http://localhost:8080/endpoints/digits/invocations")
        .header("content-type", "application/json")
        .header("x-amzn-sagemaker-custom-attributes", "a")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    signer().sign(&mut parts, &body, SIGNED_AT).unwrap();
    let verifier = verifier(SIGNED_AT);
    let n_calls: u32 = 100_000;
    let start = tokio::time::Instant::now();
    for _ in 0..n_calls {
        assert!(verifier.verify(&parts, &body, "sagemaker").is_ok());
    }
    println!("{:?} a verification of 1 KiB", start.elapsed() / n_calls);
}
