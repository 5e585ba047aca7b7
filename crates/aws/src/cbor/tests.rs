use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use sagebrush_wire::{Member, Shape};
use serde_json::{Value, json};

use super::write::body;
use super::*;
use crate::{ApiError, validate};

const TEXT: Shape = Shape::String { min: None, max: None, pattern: None, values: &[] };
const FLOAT: Shape = Shape::Float { min: None, max: None };

/// A structure with a member of each shape.
static ALL: Shape = Shape::Structure(&[
    Member { name: "b", required: false, shape: &Shape::Blob { min: None, max: None } },
    Member { name: "f", required: false, shape: &FLOAT },
    Member { name: "i", required: false, shape: &Shape::Integer { min: None, max: None } },
    Member { name: "is", required: false, shape: &Shape::Boolean },
    Member {
        name: "l",
        required: false,
        shape: &Shape::List { member: &FLOAT, min: None, max: None },
    },
    Member {
        name: "m",
        required: false,
        shape: &Shape::Map { key: &TEXT, value: &FLOAT, min: None, max: None },
    },
    Member { name: "s", required: false, shape: &TEXT },
    Member { name: "t", required: false, shape: &Shape::Timestamp },
]);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn check(hex: &str, expected: &Value) {
    assert_eq!(read(&ALL, &bytes(hex)).unwrap(), *expected, "{hex}");
}

fn refuse(body: &[u8], expected: &str) {
    let error = read(&ALL, body).unwrap_err();
    assert!(error.message.contains(expected), "{}", error.message);
}

#[test]
fn reads_each_kind_of_value() {
    check("", &json!({}));
    check("a0", &json!({}));
    check("a1 61 62 43 010203", &json!({ "b": "AQID" }));
    check("a1 61 62 5f 42 0102 41 03 ff", &json!({ "b": "AQID" }));
    check("a1 61 66 f9 3e00", &json!({ "f": 1.5 }));
    check("a1 61 66 fa 3fc00000", &json!({ "f": 1.5 }));
    check("a1 61 66 fb 3ff8000000000000", &json!({ "f": 1.5 }));
    check("a1 61 66 03", &json!({ "f": 3 }));
    check("a1 61 69 1b ffffffffffffffff", &json!({ "i": u64::MAX }));
    check("a1 61 69 3b 7fffffffffffffff", &json!({ "i": i64::MIN }));
    check("a1 61 69 18 05", &json!({ "i": 5 }));
    check("a1 62 6973 f5", &json!({ "is": true }));
    check("a1 62 6973 f7", &json!({ "is": null }));
    check("bf 61 6c 9f f4 f6 ff ff", &json!({ "l": [false, null] }));
    check("a1 61 6d a1 61 6b 01", &json!({ "m": { "k": 1 } }));
    check("a1 61 73 62 c3a9", &json!({ "s": "é" }));
    check("a1 61 73 7f 61 61 61 62 ff", &json!({ "s": "ab" }));
    check("a1 61 74 c1 1a 000f4240", &json!({ "t": 1_000_000 }));
    check("a1 61 74 c1 fb 3ff8000000000000", &json!({ "t": 1.5 }));
}

#[test]
fn passes_over_what_the_shape_has_not() {
    check(
        "a2 61 78 83 c1 00 41 00 a1 61 79 f6 61 69 01",
        &json!({ "x": [0, "AA==", { "y": null }], "i": 1 }),
    );
}

#[test]
fn refuses_what_is_not_cbor() {
    for (hex, reason) in [
        ("a1", "ends too early"),
        ("a1 61", "ends too early"),
        ("a1 61 73 7b ffffffffffffffff 00", "ends too early"),
        ("bb ffffffffffffffff", "ends too early"),
        ("9b ffffffffffffffff 00", "ends too early"),
        ("a0 00", "more behind its end"),
        ("ff", "means nothing"),
        ("a1 61 73 ff", "means nothing"),
        ("1c", "means nothing"),
        ("f8 ff", "means nothing"),
        ("a1 01 01", "key is not text"),
        ("a2 61 69 01 61 69 02", "stands twice"),
        ("a1 61 73 61 ff", "not UTF-8"),
        ("a1 61 73 7f 7f 61 61 ff ff", "piece of a string"),
        ("a1 61 73 7f 41 61 ff", "piece of a string"),
        ("a1 61 73 41 61", "bytes are out of place"),
        ("a1 61 62 61 61", "text is out of place"),
        ("a1 61 69 c1 01", "tag is out of place"),
        ("a1 61 74 c2 41 01", "tag is out of place"),
        ("a1 61 69 3b ffffffffffffffff", "out of range"),
    ] {
        refuse(&bytes(hex), reason);
    }
}

#[test]
fn size_and_depth_are_bounded() {
    let many = |start: &str, byte: u8| [bytes(start), vec![byte; 1 << 20]].concat();
    refuse(&many("", 0x81), "nested deeper");
    refuse(&many("a1 61 78", 0xc1), "nested deeper");
    refuse(&many("a1 61 6c 9f", 0), "more than");
}

#[test]
fn numbers_without_end_are_told_by_their_path() {
    for (hex, value) in [("f9 7e00", "NaN"), ("f9 7c00", "Infinity"), ("f9 fc00", "-Infinity")] {
        let input = read(&ALL, &bytes(&format!("a1 61 6c 82 01 {hex}"))).unwrap();
        let error = validate::check(&ALL, &input).unwrap_err();
        assert_eq!(
            error.message,
            format!("The value {value} for parameter l.member.2 is invalid.")
        );
        assert_eq!(error.query_code, Some("InvalidParameterValue"));
    }
}

#[test]
fn writes_by_the_shape() {
    let value = json!({
        "b": "AQID", "f": 2, "i": -7, "is": false, "l": [1.5], "m": { "k": 0.1 }, "s": "é",
        "t": 1.5, "of nobody": 1, "x": null,
    });
    let expected = bytes(
        "a8 61 62 43 010203 61 66 f9 4000 61 69 26 62 6973 f4 61 6c 81 f9 3e00 \
         61 6d a1 61 6b fb 3fb999999999999a 61 73 62 c3a9 61 74 c1 f9 3e00",
    );
    assert_eq!(body(&ALL, &value).unwrap(), expected);
    assert!(body(&ALL, &json!({ "s": 1 })).is_err());
}

#[tokio::test]
async fn errors_are_what_botocore_reads() {
    let error = ApiError::new("A", StatusCode::NOT_FOUND, "no").once_called("B");
    let (parts, body) = failure(&error, "id-1").into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(body, b"\xa2\x66__type\x61A\x67message\x62no".as_slice());
    assert_eq!(parts.status, 404);
    assert_eq!(parts.headers["smithy-protocol"], "rpc-v2-cbor");
    assert_eq!(parts.headers["content-type"], "application/cbor");
    assert_eq!(parts.headers["x-amzn-requestid"], "id-1");
    assert_eq!(parts.headers["x-amzn-query-error"], "B;Sender");
}

fn value() -> impl Strategy<Value = Value> {
    let optional = |value: BoxedStrategy<Value>| proptest::option::of(value);
    let float = || (-1e300..1e300_f64).prop_map(Value::from).boxed();
    let fields = (
        optional(any::<Vec<u8>>().prop_map(|it| STANDARD.encode(it).into()).boxed()),
        optional(float()),
        optional(any::<i64>().prop_map(Value::from).boxed()),
        optional(any::<bool>().prop_map(Value::from).boxed()),
        optional(proptest::collection::vec(float(), 0..40).prop_map(Value::from).boxed()),
        optional(any::<String>().prop_map(Value::from).boxed()),
        optional(float()),
    );
    fields.prop_map(|(b, f, i, is, l, s, t)| {
        let fields = [("b", b), ("f", f), ("i", i), ("is", is), ("l", l), ("s", s), ("t", t)];
        let given = fields.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it?)));
        Value::Object(given.collect())
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in value()) {
        prop_assert_eq!(read(&ALL, &body(&ALL, &value).unwrap()).unwrap(), value);
    }

    #[test]
    fn never_panics(body: Vec<u8>) {
        drop(read(&ALL, &body));
    }

    #[test]
    fn a_spoilt_body_does_not_panic(value in value(), at: usize, byte: u8) {
        let mut body = body(&ALL, &value).unwrap();
        let at = at % body.len();
        body[at] = byte;
        drop(read(&ALL, &body));
    }
}
