//! Held against an evaluator that is slow and plain.

use proptest::prelude::*;
use sagebrush_core::Timestamp;
use sagebrush_core::access::Asked;
use serde_json::{Map, Value, json};

use super::*;

/// Whether `text` fits a pattern, by trying all that a `*` may stand for.
fn fits(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|at| fits(rest, &text[at..])),
        Some(('?', rest)) => !text.is_empty() && fits(rest, &text[1..]),
        Some((one, rest)) => text.first() == Some(one) && fits(rest, &text[1..]),
    }
}

fn naive_fits(pattern: &Value, text: &str, lower: bool) -> bool {
    let chars = |text: &str| {
        let text = if lower { text.to_lowercase() } else { text.to_owned() };
        text.chars().collect::<Vec<char>>()
    };
    fits(&chars(pattern.as_str().unwrap()), &chars(text))
}

fn naive_element(statement: &Value, name: &str, text: &str, lower: bool) -> bool {
    let any = |all: &Value| {
        let all = all.as_array().map_or_else(|| std::slice::from_ref(all), Vec::as_slice);
        all.iter().any(|one| naive_fits(one, text, lower))
    };
    match statement.get(name) {
        Some(all) => any(all),
        None => !any(&statement[format!("Not{name}")]),
    }
}

fn naive_condition(conditions: &Map<String, Value>, value: Option<&str>) -> bool {
    conditions.iter().all(|(operator, keys)| {
        let wanted = keys["x:key"].as_str().unwrap();
        match (operator.as_str(), value) {
            ("StringEquals", seen) => seen == Some(wanted),
            ("StringNotEquals", seen) => seen != Some(wanted),
            ("StringEqualsIfExists", seen) => seen.is_none_or(|seen| seen == wanted),
            ("Null", seen) => seen.is_none() == (wanted == "true"),
            (other, _) => unreachable!("{other}"),
        }
    })
}

fn naive(policies: &[Value], action: &str, resource: &str, value: Option<&str>) -> &'static str {
    let mut allowed = false;
    for statement in policies.iter().flat_map(|policy| policy["Statement"].as_array().unwrap()) {
        let none = Map::new();
        let conditions = statement.get("Condition").and_then(Value::as_object).unwrap_or(&none);
        let applies = naive_element(statement, "Action", action, true)
            && naive_element(statement, "Resource", resource, false)
            && naive_condition(conditions, value);
        match (applies, statement["Effect"].as_str()) {
            (true, Some("Deny")) => return "denied",
            (true, _) => allowed = true,
            (false, _) => {}
        }
    }
    if allowed { "allowed" } else { "nothing" }
}

fn some_of(all: impl Strategy<Value = String>) -> impl Strategy<Value = Value> {
    prop::collection::vec(all, 1..3).prop_map(|all| json!(all))
}

fn statement() -> impl Strategy<Value = Value> {
    let action = some_of("[sS]:[GPgp*?][etu*]{0,2}".prop_map(String::from));
    let resource = some_of("arn:aws:s3:::[ab*?/]{0,4}".prop_map(String::from));
    let operator = prop::sample::select(vec![
        ("StringEquals", "a"),
        ("StringNotEquals", "a"),
        ("StringEqualsIfExists", "b"),
        ("Null", "true"),
    ]);
    let condition = prop::option::weighted(0.4, operator);
    (any::<[bool; 3]>(), action, resource, condition).prop_map(
        |([deny, not_action, not_resource], action, resource, condition)| {
            let mut statement = json!({
                "Effect": if deny { "Deny" } else { "Allow" },
                (if not_action { "NotAction" } else { "Action" }): action,
                (if not_resource { "NotResource" } else { "Resource" }): resource,
            });
            if let Some((operator, value)) = condition {
                statement["Condition"] = json!({ operator: { "x:key": value } });
            }
            statement
        },
    )
}

fn policy() -> impl Strategy<Value = Value> {
    prop::collection::vec(statement(), 1..4)
        .prop_map(|all| json!({ "Version": "2012-10-17", "Statement": all }))
}

fn said(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::ImplicitDeny => "nothing",
        Decision::ExplicitDeny { .. } => "denied",
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decides_as_the_plain_one(
        policies in prop::collection::vec(policy(), 0..3),
        requests in prop::collection::vec(
            ("s:[GP][etu]{0,2}", "arn:aws:s3:::[ab/]{0,4}", prop::option::of("[ab]")),
            5,
        ),
    ) {
        let compiled: Vec<Policy> = policies
            .iter()
            .map(|policy| Policy::parse(&policy.to_string(), Kind::Identity).unwrap())
            .collect();
        for (action, resource, value) in &requests {
            let value = value.as_deref();
            let more: Vec<(&str, &str)> =
                value.map(|value| ("x:key", value)).into_iter().collect();
            let asked = Asked { more: &more, ..Asked::new(action, resource) };
            let facts = Facts::new(&asked, "1", "arn:aws:iam::1:user/u", Timestamp(0));
            let expected = naive(&policies, action, resource, value);
            prop_assert_eq!(said(decide(&compiled, &facts)), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _parsed = Policy::parse(&text, Kind::Identity);
        let document = json!({"Statement": {
            "Effect": "Allow", "Action": text, "Resource": text,
            "Condition": { "StringLike": { text.as_str(): text } },
        }});
        if let Ok(policy) = Policy::parse(&document.to_string(), Kind::Identity) {
            let asked = Asked::new(&text, &text);
            decide([&policy], &Facts::new(&asked, "1", "arn:x", Timestamp(0)));
        }
    }

    #[test]
    fn no_value_makes_the_parser_panic(
        mut policy in policy(),
        member in prop::sample::select(vec!["Effect", "Action", "Resource", "Condition", "Sid"]),
        value in prop::sample::select(vec![
            json!(null), json!(7), json!([]), json!({}), json!([[]]), json!({"Bool": 1}),
            json!({"Bool": {"k": {}}}), json!({"IpAddress": {"aws:SourceIp": "::/129"}}),
        ]),
        kind in prop::sample::select(vec![Kind::Identity, Kind::Trust]),
    ) {
        policy["Statement"][0][member] = value;
        let parsed = Policy::parse(&policy.to_string(), kind);
        prop_assert!(parsed.is_err() || member == "Condition" || member == "Resource");
    }
}

fn refused(document: &Value, kind: Kind, named: &str) {
    let error = Policy::parse(&document.to_string(), kind).unwrap_err();
    assert!(error.to_string().contains(named), "{document}: {error}");
}

#[test]
fn what_is_no_policy_is_refused_by_name() {
    let statement = |more: Value| {
        let mut all = json!({"Effect": "Allow", "Action": "s3:*", "Resource": "*"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"Version": "2012-10-17", "Statement": all})
    };
    assert!(Policy::parse(&statement(json!({})).to_string(), Kind::Identity).is_ok());
    let check = |more, named| refused(&statement(more), Kind::Identity, named);
    check(json!({"Principal": "*"}), "Principal");
    check(json!({"NotPrincipal": "*"}), "NotPrincipal");
    check(json!({"Effect": "allow"}), "Effect");
    check(json!({"Action": "GetObject"}), "Action");
    check(json!({"NotAction": "s3:*"}), "Action");
    check(json!({"Resource": "bucket/key"}), "Resource");
    check(json!({"Resource": []}), "Resource");
    check(json!({"Condition": {"BinaryEquals": {"k": "v"}}}), "BinaryEquals");
    check(json!({"Condition": "x"}), "Condition");
    refused(&json!({"Version": "2024-01-01", "Statement": []}), Kind::Identity, "Version");
    refused(&json!({"Statement": []}), Kind::Identity, "Statement");
    refused(&json!({"Extra": 1, "Statement": []}), Kind::Identity, "Extra");
    refused(&statement(json!({})), Kind::Trust, "Principal");
    refused(&statement(json!({"Principal": "*"})), Kind::Trust, "Resource");
    for text in ["", "{", "[]", "7", r#"{"Statement":[],"Statement":[]}"#] {
        assert!(Policy::parse(text, Kind::Identity).is_err(), "{text}");
    }
}

fn trusts(principal: &Value, expected: bool) {
    let document = json!({"Statement": [
        {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"},
    ]});
    let policy = Policy::parse(&document.to_string(), Kind::Trust).unwrap();
    let asked = Asked::new("sts:AssumeRole", "arn:aws:iam::1:role/r");
    let facts = Facts::new(&asked, "1", "arn:aws:iam::1:user/u", Timestamp(0));
    assert_eq!(decide([&policy], &facts) == Decision::Allowed, expected, "{principal}");
}

#[test]
fn trust_names_its_principals() {
    trusts(&json!("*"), true);
    trusts(&json!({"AWS": "*"}), true);
    trusts(&json!({"AWS": ["2", "1"]}), true);
    trusts(&json!({"AWS": "arn:aws:iam::1:root"}), true);
    trusts(&json!({"AWS": "arn:aws:iam::2:root"}), false);
    trusts(&json!({"AWS": "arn:aws:iam::1:user/u"}), true);
    trusts(&json!({"AWS": "arn:aws:iam::1:user/*"}), false);
    trusts(&json!({"Service": "sagemaker.amazonaws.com"}), false);
}

#[test]
fn a_statement_ends_with_its_time() {
    let document = r#"{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*",
        "Condition": {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}}}"#;
    let policy = Policy::parse(document, Kind::Identity).unwrap();
    let asked = Asked::new("s3:GetObject", "arn:aws:s3:::b/k");
    let at = |now| decide([&policy], &Facts::new(&asked, "1", "arn:x", Timestamp(now)));
    assert_eq!(at(1_767_225_599_000), Decision::Allowed);
    assert_eq!(at(1_767_225_600_000), Decision::ImplicitDeny);
}
