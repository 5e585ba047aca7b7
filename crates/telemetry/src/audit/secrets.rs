//! Takes secrets out of what is written down.

use serde_json::Value;

/// What stands in place of a secret, in CloudTrail's words.
pub(super) const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// Parts of names whose values are secrets, in lower case and without separators.
const SECRET: &[&str] = &[
    "password",
    "passwd",
    "secret",
    "credential",
    "privatekey",
    "apikey",
    "authorization",
    "token",
];

/// Names that look like those of secrets. They tell calls and pages apart.
const HARMLESS: &[&str] =
    &["nexttoken", "clienttoken", "clientrequesttoken", "continuationtoken", "sequencetoken"];

/// Fields of which each value may be a secret, whatever its name.
const ALL_BELOW: &[&str] = &["environment"];

/// Fields of URLs that let whoever has them in.
const URL_FIELDS: &[&str] = &["X-Amz-Signature=", "X-Amz-Security-Token=", "Signature=", "Token="];

/// Hides secrets wherever they are:
/// - values of names that say so, of fields and of pairs of `Key` or `Name` and `Value`;
/// - all values of containers' environments;
/// - user names and passwords in URLs, and signatures of presigned ones.
pub(super) fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let named = ["Key", "Name", "key", "name"].iter().find_map(|name| fields.get(*name));
            let is_secret_pair = named.and_then(Value::as_str).is_some_and(is_secret);
            for (name, value) in fields.iter_mut() {
                let is_value = name.eq_ignore_ascii_case("value");
                if is_secret(name) || (is_secret_pair && is_value) {
                    hide_all(value);
                } else if ALL_BELOW.contains(&plain(name).as_str()) && value.is_object() {
                    value.as_object_mut().into_iter().flatten().for_each(|(_, it)| hide_all(it));
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) => hide_in_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn hide_all(value: &mut Value) {
    if !value.is_null() {
        *value = HIDDEN.into();
    }
}

fn is_secret(name: &str) -> bool {
    let name = plain(name);
    !HARMLESS.contains(&name.as_str()) && SECRET.iter().any(|part| name.contains(part))
}

fn plain(name: &str) -> String {
    name.chars().filter(|char| char.is_alphanumeric()).collect::<String>().to_lowercase()
}

/// Hides what URLs carry, wherever they stand in a text.
pub(super) fn hide_in_text(text: &mut String) {
    if text.contains("://") {
        *text = without_users(text);
    }
    for field in URL_FIELDS {
        if text.contains(field) {
            *text = without_field(text, field);
        }
    }
}

/// `https://user:password@host/` becomes `https://HIDDEN@host/`.
fn without_users(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let is_end = |char: char| char.is_whitespace() || "/?#\"'<>\\".contains(char);
        let authority = after.split(is_end).next().unwrap_or_default();
        rest = match authority.rfind('@') {
            Some(at) => {
                kept.push_str(HIDDEN);
                &after[at..]
            }
            None => after,
        };
    }
    kept + rest
}

/// Replaces what follows `field` up to the next field.
fn without_field(text: &str, field: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(field) {
        let is_field = before.is_empty() || before.ends_with(['?', '&', ';']);
        kept.push_str(before);
        kept.push_str(field);
        rest = after;
        if is_field {
            let is_end = |char: char| char.is_whitespace() || "&#\"'<>\\;".contains(char);
            kept.push_str(HIDDEN);
            rest = &after[after.find(is_end).unwrap_or(after.len())..];
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(mut value: Value, expected: &Value) {
        let before = value.clone();
        hide(&mut value);
        assert_eq!(value, *expected, "{before}");
    }

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        for name in [
            "Password",
            "MasterUserPassword",
            "SecretAccessKey",
            "secret_key",
            "SessionToken",
            "Token",
            "TokenCode",
            "DB_PASSWORD",
            "api-key",
            "Authorization",
            "PrivateKey",
            "Credentials",
        ] {
            check(json!({ name: "x" }), &json!({ name: HIDDEN }));
            check(json!({ "a": [{ name: { "b": 1 } }] }), &json!({ "a": [{ name: HIDDEN }] }));
            check(json!({ "Key": name, "Value": "x" }), &json!({ "Key": name, "Value": HIDDEN }));
            check(json!({ name: null }), &json!({ name: null }));
        }
        let harmless = json!({
            "NextToken": "t", "ClientToken": "t", "ClientRequestToken": "t", "EndpointName": "e",
            "KeyId": "k", "Tags": [{"Key": "team", "Value": "a"}], "n": 1, "no": null,
        });
        check(harmless.clone(), &harmless);
    }

    #[test]
    fn environments_keep_their_names_only() {
        check(
            json!({"PrimaryContainer": {"Image": "i", "Environment": {"A": "1", "B": "2"}}}),
            &json!({"PrimaryContainer": {"Image": "i", "Environment": {"A": HIDDEN, "B": HIDDEN}}}),
        );
        check(json!({"Environment": "test"}), &json!({"Environment": "test"}));
    }

    #[test]
    fn urls_lose_their_users_and_signatures() {
        for (url, expected) in [
            ("https://u:p@h/x?y=1", "https://HIDDEN_DUE_TO_SECURITY_REASONS@h/x?y=1"),
            ("https://u@h", "https://HIDDEN_DUE_TO_SECURITY_REASONS@h"),
            ("https://u:p@q@h/", "https://HIDDEN_DUE_TO_SECURITY_REASONS@h/"),
            ("https://h/a@b", "https://h/a@b"),
            ("s3://bucket/key@2", "s3://bucket/key@2"),
            (
                "a https://u:p@h and http://v:w@i",
                "a https://HIDDEN_DUE_TO_SECURITY_REASONS@h and http://HIDDEN_DUE_TO_SECURITY_REASONS@i",
            ),
            (
                "https://h/?X-Amz-Signature=abc&a=1",
                "https://h/?X-Amz-Signature=HIDDEN_DUE_TO_SECURITY_REASONS&a=1",
            ),
            ("https://h/?a=1&Token=abc", "https://h/?a=1&Token=HIDDEN_DUE_TO_SECURITY_REASONS"),
            ("NextToken=5", "NextToken=5"),
        ] {
            check(json!({ "Endpoint": url }), &json!({ "Endpoint": expected }));
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut text in ".{0,40}(://|Token=|@|&|é).{0,40}") {
            hide_in_text(&mut text);
        }
    }
}
