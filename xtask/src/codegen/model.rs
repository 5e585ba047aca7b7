//! A service model as botocore keeps it (`service-2.json`), as far as we read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

#[derive(Deserialize)]
pub(super) struct Model {
    pub(super) metadata: Metadata,
    pub(super) operations: BTreeMap<String, Operation>,
    pub(super) shapes: BTreeMap<String, Shape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) api_version: String,
    pub(super) endpoint_prefix: String,
    /// Stands for the service in prose: `SageMaker Runtime`.
    pub(super) service_id: String,
    /// The same as the endpoint's prefix where it is missing.
    pub(super) signing_name: Option<String>,
    #[serde(default)]
    pub(super) target_prefix: String,
    #[serde(default)]
    pub(super) xml_namespace: String,
}

#[derive(Deserialize)]
pub(super) struct Operation {
    pub(super) input: Option<Ref>,
    pub(super) output: Option<Ref>,
}

/// Names another shape of the model.
#[derive(Deserialize)]
pub(super) struct Ref {
    pub(super) shape: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Shape {
    Structure(Structure),
    List { member: Ref, min: Option<u64>, max: Option<u64> },
    Map { key: Ref, value: Ref, min: Option<u64>, max: Option<u64> },
    String(Text),
    Integer { min: Option<i64>, max: Option<i64> },
    Long { min: Option<i64>, max: Option<i64> },
    Float { min: Option<f64>, max: Option<f64> },
    Double { min: Option<f64>, max: Option<f64> },
    Boolean,
    Timestamp,
    Blob { min: Option<u64>, max: Option<u64> },
}

#[derive(Deserialize)]
pub(super) struct Structure {
    #[serde(default)]
    pub(super) required: Vec<String>,
    pub(super) members: Members,
}

#[derive(Deserialize)]
pub(super) struct Text {
    pub(super) min: Option<u64>,
    pub(super) max: Option<u64>,
    pub(super) pattern: Option<String>,
    #[serde(default, rename = "enum")]
    pub(super) values: Vec<String>,
}

/// The members of a structure, each with its shape, in the model's order.
pub(super) struct Members(Vec<(String, Ref)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the members of a structure")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

impl Members {
    /// The name and the shape of each member.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, member)| (name.as_str(), member.shape.as_str()))
    }
}

impl Structure {
    pub(super) fn requires(&self, member: &str) -> bool {
        self.required.iter().any(|required| required == member)
    }
}

impl Shape {
    /// The shapes that this one names.
    pub(super) fn refs(&self) -> Vec<&str> {
        match self {
            Self::Structure(structure) => {
                structure.members.iter().map(|(_, shape)| shape).collect()
            }
            Self::List { member, .. } => vec![&member.shape],
            Self::Map { key, value, .. } => vec![&key.shape, &value.shape],
            Self::String(_)
            | Self::Integer { .. }
            | Self::Long { .. }
            | Self::Float { .. }
            | Self::Double { .. }
            | Self::Boolean
            | Self::Timestamp
            | Self::Blob { .. } => Vec::new(),
        }
    }

    pub(super) fn as_structure(&self) -> Option<&Structure> {
        if let Self::Structure(structure) = self { Some(structure) } else { None }
    }

    /// The values of an enumeration.
    pub(super) fn as_enum(&self) -> Option<&[String]> {
        let Self::String(text) = self else { return None };
        if text.values.is_empty() { None } else { Some(&text.values) }
    }

    /// Lets an enumeration take any value.
    pub(super) fn open(&mut self) {
        if let Self::String(text) = self {
            text.values.clear();
        }
    }

    /// Says whether the shape gets a type of its own in Rust.
    pub(super) fn is_type(&self) -> bool {
        self.as_structure().is_some() || self.as_enum().is_some()
    }
}
