//! JSON values, filtered and joined as text: numbers keep their digits and members their order.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use crate::path::{Path, Segment};
use crate::{Unfit, select};

/// SageMaker: where the model's answer is in a joined record.
const OUTPUT: &str = "SageMakerOutput";
/// SageMaker: where the input is in a joined record, if it is no object itself.
const INPUT: &str = "SageMakerInput";

/// Writes what `path` takes of `value`, on one line.
///
/// # Errors
/// When it is not JSON, or has no such part.
pub fn filter(path: &Path, value: &str, out: &mut String) -> Result<(), Unfit> {
    take(&path.segments, read(value)?, out)
}

/// Writes an input and the model's answer to it, as one object on one line.
///
/// # Errors
/// When either is not JSON.
pub fn join(input: &str, reply: &str, out: &mut String) -> Result<(), Unfit> {
    let output = read::<&RawValue>(reply).map_err(|reason| Unfit::Reply(Box::new(reason)))?;
    let input = read::<&RawValue>(input)?;
    let mut members = if input.get().starts_with('{') {
        read::<Members<'_>>(input.get())?.0
    } else {
        vec![(INPUT.to_owned(), input)]
    };
    members.retain(|(name, _)| name != OUTPUT);
    members.push((OUTPUT.to_owned(), output));
    object(out, members, |out, value| {
        compact(value.get(), out);
        Ok(())
    })
}

/// The values of a text that may have several, one behind the other.
///
/// # Errors
/// When it is not JSON.
pub fn values(text: &str) -> Result<Vec<&str>, Unfit> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    values.map(|value| value.map(RawValue::get).map_err(not_json)).collect()
}

fn take(segments: &[Segment], value: &RawValue, out: &mut String) -> Result<(), Unfit> {
    let Some((segment, rest)) = segments.split_first() else {
        compact(value.get(), out);
        return Ok(());
    };
    let go_on = |out: &mut String, value: &RawValue| take(rest, value, out);
    match segment {
        Segment::Member(name) => go_on(out, member(&members(value, name)?, name)?),
        Segment::Members(names) => {
            let all = members(value, &names.join(","))?;
            let taken = names.iter().map(|name| Ok((name.clone(), member(&all, name)?)));
            object(out, taken.collect::<Result<Vec<_>, _>>()?, go_on)
        }
        Segment::Element(index) => {
            let all = elements(value, || format!("[{index}]"))?;
            go_on(out, all[select::element(*index, all.len())?])
        }
        Segment::Elements(indices) => {
            let all = elements(value, || format!("{indices:?}"))?;
            let taken = indices.iter().map(|index| Ok(all[select::element(*index, all.len())?]));
            array(out, &taken.collect::<Result<Vec<_>, Unfit>>()?, go_on)
        }
        Segment::Slice(start, end) => {
            let all = elements(value, || "a slice".to_owned())?;
            array(out, &all[select::slice(*start, *end, all.len())], go_on)
        }
        Segment::All if value.get().starts_with('{') => {
            let all = members(value, "*")?;
            array(out, &all.iter().map(|(_, value)| *value).collect::<Vec<_>>(), go_on)
        }
        Segment::All => array(out, &elements(value, || "*".to_owned())?, go_on),
    }
}

fn object<'v>(
    out: &mut String,
    members: Vec<(String, &'v RawValue)>,
    mut write: impl FnMut(&mut String, &'v RawValue) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    for (at, (name, value)) in members.into_iter().enumerate() {
        out.push(if at == 0 { '{' } else { ',' });
        out.push_str(&serde_json::to_string(&name).map_err(not_json)?);
        out.push(':');
        write(out, value)?;
    }
    out.push('}');
    Ok(())
}

fn array<'v>(
    out: &mut String,
    elements: &[&'v RawValue],
    mut write: impl FnMut(&mut String, &'v RawValue) -> Result<(), Unfit>,
) -> Result<(), Unfit> {
    out.push('[');
    for (at, value) in elements.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, value)?;
    }
    out.push(']');
    Ok(())
}

/// The members of an object, in their order.
struct Members<'v>(Vec<(String, &'v RawValue)>);

impl<'de: 'v, 'v> Deserialize<'de> for Members<'v> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Reader).map(Members)
    }
}

fn members<'v>(value: &'v RawValue, wanted: &str) -> Result<Vec<(String, &'v RawValue)>, Unfit> {
    if !value.get().starts_with('{') {
        return Err(Unfit::WrongKind(wanted.to_owned(), kind(value)));
    }
    Ok(read::<Members<'_>>(value.get())?.0)
}

/// Of two with one name, the last.
fn member<'v>(members: &[(String, &'v RawValue)], wanted: &str) -> Result<&'v RawValue, Unfit> {
    let found = members.iter().rfind(|(name, _)| name == wanted);
    found.map(|(_, value)| *value).ok_or_else(|| Unfit::NoMember(wanted.to_owned()))
}

fn elements(value: &RawValue, wanted: impl Fn() -> String) -> Result<Vec<&RawValue>, Unfit> {
    if !value.get().starts_with('[') {
        return Err(Unfit::WrongKind(wanted(), kind(value)));
    }
    read(value.get())
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "list",
        Some(b'"') => "text",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn read<'v, T: Deserialize<'v>>(text: &'v str) -> Result<T, Unfit> {
    serde_json::from_str(text).map_err(not_json)
}

fn not_json<E: de::StdError>(error: E) -> Unfit {
    Unfit::NotJson(error.to_string())
}

/// Writes JSON without line breaks, which set records apart.
fn compact(value: &str, out: &mut String) {
    if !value.contains(['\n', '\r']) {
        out.push_str(value);
        return;
    }
    let (mut in_text, mut escaped) = (false, false);
    for c in value.chars() {
        if in_text || !c.is_ascii_whitespace() {
            out.push(c);
        }
        let ends = c == '"' && !escaped;
        escaped = in_text && c == '\\' && !escaped;
        in_text ^= ends;
    }
}

#[cfg(test)]
mod tests {
    use super::{filter, join, values};
    use crate::Path;

    fn filtered(path: &str, value: &str) -> Result<String, String> {
        let mut out = String::new();
        let outcome = filter(&Path::parse(path).unwrap(), value, &mut out);
        outcome.map(|()| out).map_err(|reason| reason.to_string())
    }

    fn joined(input: &str, reply: &str) -> Result<String, String> {
        let mut out = String::new();
        let outcome = join(input, reply, &mut out);
        outcome.map(|()| out).map_err(|reason| reason.to_string())
    }

    #[track_caller]
    fn check(path: &str, value: &str, wanted: &str) {
        assert_eq!(filtered(path, value).as_deref(), Ok(wanted), "{path} {value}");
    }

    #[test]
    fn parts() {
        let value = r#"{"id":7,"b":[10, 2.50,{"c":"x"}],"a":{"z":1,"y":2}}"#;
        check("$", value, value);
        check("$.id", value, "7");
        check("$['id','b']", value, r#"{"id":7,"b":[10, 2.50,{"c":"x"}]}"#);
        check("$['b','id']", value, r#"{"b":[10, 2.50,{"c":"x"}],"id":7}"#);
        check("$.b[1]", value, "2.50");
        check("$.b[0,-1]", value, r#"[10,{"c":"x"}]"#);
        check("$.b[:2]", value, "[10,2.50]");
        check("$.b[-1].c", value, "\"x\"");
        check("$.a.*", value, "[1,2]");
        check("$.a.['z']", value, "1");
        check("$[*].z", r#"[{"z":1},{"z":null}]"#, "[1,null]");
        check("$[*]", "[]", "[]");
        check("$.a", r#"{"a":1,"a":2}"#, "2");
        check("$.k", "{\n  \"k\": {\n \"a b\": \"c \\\" \\n d\" }}", r#"{"a b":"c \" \n d"}"#);
    }

    #[test]
    fn what_is_not_there() {
        for (path, value, wanted) in [
            ("$.x", "{\"a\":1}", "it has no member \"x\""),
            ("$['a','x']", "{\"a\":1}", "it has no member \"x\""),
            ("$[2]", "[1]", "it has no element 2, for there are 1"),
            ("$.a", "[1]", "\"a\" cannot be taken of a list"),
            ("$[0]", "{\"a\":1}", "\"[0]\" cannot be taken of a object"),
            ("$[0]", "12", "cannot be taken of a number"),
            ("$.a", "{\"a\":", "it is not JSON"),
            ("$.a", "{\"a\":1} x", "it is not JSON"),
        ] {
            let error = filtered(path, value).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
        assert!(filtered("$", &"[".repeat(100_000)).is_err());
    }

    #[test]
    fn joined_records_as_they_are_documented() {
        for (input, reply, wanted) in [
            (r#"{"key":1}"#, "0.5", r#"{"key":1,"SageMakerOutput":0.5}"#),
            ("{}", "[1]", r#"{"SageMakerOutput":[1]}"#),
            ("[1,2]", r#"{"p":3}"#, r#"{"SageMakerInput":[1,2],"SageMakerOutput":{"p":3}}"#),
            ("7", "8", r#"{"SageMakerInput":7,"SageMakerOutput":8}"#),
            (
                r#"{"a":1.10,"SageMakerOutput":0}"#,
                "{\n\"p\": 1\n}\n",
                r#"{"a":1.10,"SageMakerOutput":{"p":1}}"#,
            ),
        ] {
            assert_eq!(joined(input, reply).as_deref(), Ok(wanted), "{input}");
        }
        assert!(joined("{", "1").unwrap_err().starts_with("it is not JSON"));
        assert!(joined("1", "{").unwrap_err().starts_with("the reply: it is not JSON"));
    }

    #[test]
    fn several_values() {
        assert_eq!(values("1\n[2, 3]\n{\"a\":\n4}\n").unwrap(), ["1", "[2, 3]", "{\"a\":\n4}"]);
        assert!(values("").unwrap().is_empty());
        assert!(values("1\n{").is_err());
    }
}
