use proptest::prelude::*;
use sagebrush_wire::{Member, Shape};
use serde_json::{Value, json};

use super::check;

const NAME: Shape = Shape::String {
    min: Some(1),
    max: Some(8),
    pattern: Some("^[a-zA-Z0-9](-*[a-zA-Z0-9])*"),
    values: &[],
};
const KIND: Shape =
    Shape::String { min: None, max: None, pattern: None, values: &["ml.a", "ml.b"] };
const COUNT: Shape = Shape::Integer { min: Some(1), max: Some(10) };
const WEIGHT: Shape = Shape::Float { min: Some(0.0), max: None };
const TEXT: Shape = Shape::String { min: None, max: Some(4), pattern: None, values: &[] };
const BYTES: Shape = Shape::Blob { min: None, max: Some(2) };
const VARIANT: Shape = Shape::Structure(&[
    Member { name: "VariantName", required: true, shape: &NAME },
    Member { name: "InstanceType", required: false, shape: &KIND },
    Member { name: "Count", required: false, shape: &COUNT },
    Member { name: "Weight", required: false, shape: &WEIGHT },
]);
const VARIANTS: Shape = Shape::List { member: &VARIANT, min: Some(1), max: Some(2) };
const SUBNETS: Shape = Shape::List { member: &NAME, min: None, max: None };
const ENVIRONMENT: Shape = Shape::Map { key: &NAME, value: &TEXT, min: None, max: Some(2) };
const TABLES: Shape = Shape::Map { key: &TEXT, value: &VARIANT, min: None, max: None };
static REQUEST: Shape = Shape::Structure(&[
    Member { name: "ConfigName", required: true, shape: &NAME },
    Member { name: "Variants", required: false, shape: &VARIANTS },
    Member { name: "Subnets", required: false, shape: &SUBNETS },
    Member { name: "Environment", required: false, shape: &ENVIRONMENT },
    Member { name: "Tables", required: false, shape: &TABLES },
    Member { name: "Flag", required: false, shape: &Shape::Boolean },
    Member { name: "At", required: false, shape: &Shape::Timestamp },
    Member { name: "Body", required: false, shape: &BYTES },
]);

/// Checks `member` beside a valid name.
fn outcome(member: Value) -> Result<(), String> {
    let mut request = json!({ "ConfigName": "a" });
    request.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
    check(&REQUEST, &request).map_err(|error| error.to_string())
}

fn valid(member: Value) {
    assert_eq!(outcome(member), Ok(()));
}

fn invalid(member: Value, expected: &[&str]) {
    let errors = if expected.len() == 1 { "error" } else { "errors" };
    let n = expected.len();
    let expected =
        format!("ValidationException: {n} validation {errors} detected: {}", expected.join("; "));
    assert_eq!(outcome(member), Err(expected));
}

fn unreadable(member: Value, expected: &str) {
    assert_eq!(outcome(member), Err(format!("SerializationException: {expected}")));
}

#[test]
fn takes_what_keeps_the_constraints() {
    valid(json!({}));
    valid(json!({ "Variants": null, "Unknown": [1] }));
    valid(
        json!({ "Variants": [{ "VariantName": "v", "InstanceType": "ml.a", "Count": 10, "Weight": 0 }] }),
    );
    valid(json!({ "Environment": { "A": "b" }, "Flag": true, "At": 1.5, "Body": "aGk=" }));
}

#[test]
fn complains_in_the_words_of_aws() {
    invalid(
        json!({ "ConfigName": null }),
        &["Value null at 'configName' failed to satisfy constraint: Member must not be null"],
    );
    invalid(
        json!({ "ConfigName": "much_too_long" }),
        &[
            "Value 'much_too_long' at 'configName' failed to satisfy constraint: Member must have length less than or equal to 8",
            "Value 'much_too_long' at 'configName' failed to satisfy constraint: Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*",
        ],
    );
    invalid(
        json!({ "Variants": [{ "VariantName": "v" }, { "InstanceType": "x", "Count": 0, "Weight": -0.5 }] }),
        &[
            "Value null at 'variants.2.member.variantName' failed to satisfy constraint: Member must not be null",
            "Value 'x' at 'variants.2.member.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [ml.a, ml.b]",
            "Value '0' at 'variants.2.member.count' failed to satisfy constraint: Member must have value greater than or equal to 1",
            "Value '-0.5' at 'variants.2.member.weight' failed to satisfy constraint: Member must have value greater than or equal to 0",
        ],
    );
    invalid(
        json!({ "Variants": [] }),
        &[
            "Value '[]' at 'variants' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ],
    );
    invalid(
        json!({ "Body": "YWJj" }),
        &[
            "Value 'YWJj' at 'body' failed to satisfy constraint: Member must have length less than or equal to 2",
        ],
    );
}

#[test]
fn plain_items_are_reported_together() {
    invalid(
        json!({ "Subnets": ["a", "b_c"] }),
        &[
            "Value '[a, b_c]' at 'subnets' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 8, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*]",
        ],
    );
    invalid(
        json!({ "Environment": { "A": "long value", "B": "" } }),
        &[
            "Value '{A=long value, B=}' at 'environment' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 4]",
        ],
    );
    invalid(
        json!({ "Environment": { "A_": "" } }),
        &[
            "Value '{A_=}' at 'environment' failed to satisfy constraint: Map keys must satisfy constraint: [Member must have length less than or equal to 8, Member must have length greater than or equal to 1, Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*]",
        ],
    );
    invalid(
        json!({ "Tables": { "t": {} } }),
        &[
            "Value null at 'tables.t.member.variantName' failed to satisfy constraint: Member must not be null",
        ],
    );
}

#[test]
fn wrong_types_are_not_read() {
    unreadable(json!({ "ConfigName": 1 }), "NUMBER_VALUE can not be converted to a String");
    unreadable(json!({ "ConfigName": true }), "TRUE_VALUE can not be converted to a String");
    unreadable(json!({ "ConfigName": [] }), "Start of list found where not expected");
    unreadable(json!({ "ConfigName": {} }), "Start of structure or map found where not expected.");
    let count = |count: Value| json!({ "Variants": [{ "VariantName": "v", "Count": count }] });
    unreadable(count(json!(1.5)), "DECIMAL_VALUE can not be converted to an Integer");
    unreadable(count(json!("1")), "STRING_VALUE can not be converted to an Integer");
    unreadable(json!({ "Flag": "true" }), "STRING_VALUE can not be converted to a Boolean");
    unreadable(json!({ "Variants": "v" }), "STRING_VALUE can not be converted to a List");
    unreadable(json!({ "Body": "%" }), "Invalid base64 in a Blob");
}

#[test]
fn a_flood_of_errors_is_cut() {
    let variants: Vec<Value> = (0..10_000).map(|_| json!({})).collect();
    let Err(text) = outcome(json!({ "Variants": variants })) else { panic!("valid") };
    assert!(text.starts_with("ValidationException: 100 validation errors detected: "));
    assert!(text.len() < 20_000, "{}", text.len());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let key = prop_oneof!["ConfigName|Variants|Subnets|Environment|VariantName|Count", ".*"];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn never_panics(value in any_json()) {
        drop(check(&REQUEST, &value));
    }

    #[test]
    fn never_panics_on_a_real_table(value in any_json()) {
        use sagebrush_wire::{Operation as _, sagemaker::CreateEndpointConfig};
        drop(check(CreateEndpointConfig::input_shape(), &value));
    }
}
