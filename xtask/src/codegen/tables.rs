//! The tables of constraints: a static for each shape, all of them in the module `shapes`.

use std::fmt::Debug;

use super::model::{Shape, Structure, Text};
use super::names;
use super::service::Service;

pub(super) fn render(service: &Service) -> String {
    let tables: Vec<String> = service.shapes.iter().map(|name| table(service, name)).collect();
    format!(
        "
/// The shapes with their constraints.
pub mod shapes {{
    use crate::{{Member, Shape}};
    {}
}}
",
        tables.concat()
    )
}

fn table(service: &Service, name: &str) -> String {
    let constant = names::constant_name(name);
    let value = value(name, service.shape(name));
    format!("\npub static {constant}: Shape = Shape::{value};\n")
}

fn value(name: &str, shape: &Shape) -> String {
    match shape {
        Shape::Structure(structure) => members(structure),
        Shape::List { member, min, max } => {
            let member = names::constant_name(&member.shape);
            format!("List {{ member: &{member}, {} }}", bounds(min, max))
        }
        Shape::Map { key, value, min, max } => {
            let key = names::constant_name(&key.shape);
            let value = names::constant_name(&value.shape);
            format!("Map {{ key: &{key}, value: &{value}, {} }}", bounds(min, max))
        }
        Shape::String(text) => string(name, text),
        Shape::Integer { min, max } | Shape::Long { min, max } => {
            format!("Integer {{ {} }}", bounds(min, max))
        }
        Shape::Float { min, max } | Shape::Double { min, max } => {
            format!("Float {{ {} }}", bounds(min, max))
        }
        Shape::Boolean => "Boolean".to_owned(),
        Shape::Timestamp => "Timestamp".to_owned(),
        Shape::Blob { min, max } => format!("Blob {{ {} }}", bounds(min, max)),
    }
}

fn members(structure: &Structure) -> String {
    let members: Vec<String> = structure
        .members
        .iter()
        .map(|(name, shape)| {
            let required = structure.requires(name);
            let shape = names::constant_name(shape);
            format!("Member {{ name: {name:?}, required: {required}, shape: &{shape} }},")
        })
        .collect();
    format!("Structure(&[{}])", members.concat())
}

fn string(name: &str, text: &Text) -> String {
    let bounds = bounds(&text.min, &text.max);
    let pattern = text.pattern.as_ref().map_or_else(|| "None".to_owned(), |p| some_literal(p));
    let values = if text.values.is_empty() {
        "&[]".to_owned()
    } else {
        format!("super::{}::VALUES", names::type_name(name))
    };
    format!("String {{ {bounds}, pattern: {pattern}, values: {values} }}")
}

fn bounds<T: Debug>(min: &Option<T>, max: &Option<T>) -> String {
    format!("min: {min:?}, max: {max:?}")
}

/// A pattern as a raw literal, so that it reads as in the model.
fn some_literal(pattern: &str) -> String {
    let needs_escapes = pattern.contains(|c: char| c.is_control());
    if needs_escapes || !pattern.contains(['\\', '"']) {
        return format!("Some({pattern:?})");
    }
    let mut hashes = String::new();
    while pattern.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("Some(r{hashes}\"{pattern}\"{hashes})")
}
