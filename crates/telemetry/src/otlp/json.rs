//! What OTLP's requests have in common, in JSON: 64-bit numbers are strings there.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::Destination;

/// A name and a value.
#[derive(Serialize)]
pub(crate) struct Attribute<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Is<'a>,
}

pub(crate) enum Is<'a> {
    Text(&'a str),
    Number(i64),
    Bool(bool),
}

impl Serialize for Is<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Text(text) => map.serialize_entry("stringValue", text)?,
            Self::Number(number) => map.serialize_entry("intValue", &number.to_string())?,
            Self::Bool(value) => map.serialize_entry("boolValue", value)?,
        }
        map.end()
    }
}

/// Who tells: this server.
pub(crate) fn resource(destination: &Destination) -> Value {
    let attribute = |key, text| Attribute { key, value: Is::Text(text) };
    let attributes = [
        attribute("service.name", &destination.service),
        attribute("service.version", destination.version),
    ];
    json!({ "attributes": attributes })
}

/// Which part of it.
pub(crate) fn scope(destination: &Destination) -> Value {
    json!({"name": "sagebrush", "version": destination.version})
}
