//! How AWS prints a value in a message: as Java's `toString` would.

use std::fmt::Write as _;

use serde_json::Value;

/// AWS prints all of it; we stop here, so that a long value cannot fill an answer.
const MAX_LEN: usize = 1024;

/// `'text'`, `'[a, b]'`, `'{key=value}'`, or `null`.
pub(super) fn quoted(value: &Value) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    let mut text = String::new();
    write(&mut text, value);
    if text.len() > MAX_LEN {
        text.truncate(text.floor_char_boundary(MAX_LEN));
        text.push_str("...");
    }
    format!("'{text}'")
}

fn write(text: &mut String, value: &Value) {
    if text.len() > MAX_LEN {
        return;
    }
    match value {
        Value::Null => text.push_str("null"),
        Value::String(string) => text.push_str(string),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        // Writing to a string cannot fail.
        Value::Number(number) => _ = write!(text, "{number}"),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index);
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            text.push('{');
            for (index, (key, entry)) in entries.iter().enumerate() {
                separate(text, index);
                text.push_str(key);
                text.push('=');
                write(text, entry);
            }
            text.push('}');
        }
    }
}

fn separate(text: &mut String, index: usize) {
    if index > 0 {
        text.push_str(", ");
    }
}
