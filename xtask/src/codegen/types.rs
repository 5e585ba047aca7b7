//! The structs and enums of a service.

use super::model::{Shape, Structure};
use super::names;
use super::render::doc;
use super::service::Service;

pub(super) fn render(service: &Service) -> String {
    service.shapes.iter().map(|name| type_of(service, name)).collect()
}

/// The type that the shape gets in Rust; nothing if it is written as one of Rust's own.
fn type_of(service: &Service, name: &str) -> String {
    let shape = service.shape(name);
    if let Some(structure) = shape.as_structure() {
        return structure_type(service, name, structure);
    }
    shape.as_enum().map_or_else(String::new, |values| enum_type(service, name, values))
}

fn structure_type(service: &Service, name: &str, structure: &Structure) -> String {
    let doc = doc(service, name);
    let default = if service.has_default(structure) { "Default, " } else { "" };
    let case = Case::of(structure);
    let rename_all = case.attribute();
    let type_name = names::type_name(name);
    let members = structure.members.iter();
    let fields: Vec<String> = members
        .map(|(member, shape)| {
            let required = structure.requires(member);
            let field = names::field_in_source(&names::field_name(member));
            let field_type = field_type(service, name, shape, required);
            format!("{}pub {field}: {field_type},\n", attribute(case.rename(member), required))
        })
        .collect();
    let fields = fields.concat();
    format!(
        "
{doc}
#[derive(Debug, Clone, PartialEq, {default}Serialize, Deserialize)]
{rename_all}pub struct {type_name} {{
{fields}}}
"
    )
}

/// What serde is told of a field: what is optional is left out when it is unset.
fn attribute(rename: Option<String>, required: bool) -> String {
    let skip = "default, skip_serializing_if = \"Option::is_none\"";
    let mut words = Vec::from_iter(rename);
    if !required {
        words.push(skip.to_owned());
    }
    if words.is_empty() { String::new() } else { format!("#[serde({})]\n", words.join(", ")) }
}

fn field_type(service: &Service, owner: &str, shape: &str, required: bool) -> String {
    let plain = rust_type(service, shape);
    let boxed = if service.recurs(owner, shape) { format!("Box<{plain}>") } else { plain };
    if required { boxed } else { format!("Option<{boxed}>") }
}

fn rust_type(service: &Service, name: &str) -> String {
    let shape = service.shape(name);
    if shape.is_type() {
        return names::type_name(name);
    }
    match shape {
        Shape::List { member, .. } => format!("Vec<{}>", rust_type(service, &member.shape)),
        Shape::Map { value, .. } => {
            format!("std::collections::BTreeMap<String, {}>", rust_type(service, &value.shape))
        }
        Shape::Integer { .. } => "i32".to_owned(),
        Shape::Long { .. } => "i64".to_owned(),
        Shape::Float { .. } => "f32".to_owned(),
        Shape::Double { .. } => "f64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Timestamp => "crate::Timestamp".to_owned(),
        // A blob stays in base64, as JSON has it.
        Shape::Structure(_) | Shape::String(_) | Shape::Blob { .. } => "String".to_owned(),
    }
}

fn enum_type(service: &Service, name: &str, values: &[String]) -> String {
    let doc = doc(service, name);
    let type_name = names::type_name(name);
    let variants: String = values.iter().map(|value| variant(value)).collect();
    format!(
        "
{doc}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum {type_name} {{
{variants}}}

impl {type_name} {{
    /// The names on the wire, in the order of the variants.
    pub const VALUES: &'static [&'static str] = &{values:?};

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {{
        Self::VALUES[self as usize]
    }}
}}

impl std::fmt::Display for {type_name} {{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
        f.write_str(self.as_str())
    }}
}}
"
    )
}

fn variant(value: &str) -> String {
    let name = names::variant_name(value);
    if name == value {
        return format!("{name},\n");
    }
    format!("#[serde(rename = {value:?})]\n{name},\n")
}

/// How serde makes the wire's names of a structure's fields; a field that does not fit says so.
enum Case {
    /// There are no fields.
    None,
    Pascal,
    Camel,
}

impl Case {
    fn of(structure: &Structure) -> Self {
        let Some((first, _)) = structure.members.iter().next() else { return Self::None };
        if first.starts_with(|c: char| c.is_ascii_lowercase()) { Self::Camel } else { Self::Pascal }
    }

    fn attribute(&self) -> &'static str {
        match self {
            Self::None => "",
            Self::Pascal => "#[serde(rename_all = \"PascalCase\")]\n",
            Self::Camel => "#[serde(rename_all = \"camelCase\")]\n",
        }
    }

    /// What serde is told of a field whose name it would not get right.
    fn rename(&self, member: &str) -> Option<String> {
        let field = names::field_name(member);
        let by_serde = match self {
            Self::None => field,
            Self::Pascal => names::pascal_case(&field),
            Self::Camel => names::camel_case(&field),
        };
        (by_serde != member).then(|| format!("rename = {member:?}"))
    }
}
