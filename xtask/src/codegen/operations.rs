//! What stands first in a service's module: the service, its operations' names, and the operations
//! that we serve.

use super::model::{Metadata, Ref};
use super::names;
use super::render::doc;
use super::service::Service;

pub(super) fn service_constants(service: &Service) -> String {
    let Metadata {
        api_version, endpoint_prefix, signing_name, target_prefix, xml_namespace, ..
    } = &service.model.metadata;
    let signing_name = signing_name.as_ref().unwrap_or(endpoint_prefix);
    let constant = names::constant_name(&service.module());
    let title = service.title();
    let all: Vec<&String> = service.model.operations.keys().collect();
    format!(
        "
/// {title}, as the protocols know it.
pub const {constant}: crate::Service = crate::Service {{
    signing_name: {signing_name:?},
    target_prefix: {target_prefix:?},
    api_version: {api_version:?},
    xml_namespace: {xml_namespace:?},
}};

/// The names of all operations of {title}, served here or not, sorted.
pub const OPERATIONS: &[&str] = &{all:?};
"
    )
}

pub(super) fn render(service: &Service) -> String {
    service.operations.iter().map(|name| operation(service, name)).collect()
}

fn operation(service: &Service, name: &str) -> String {
    let model = &service.model.operations[name];
    let doc = doc(service, name);
    let constant = names::constant_name(&service.module());
    let (input, input_table) = end(model.input.as_ref());
    let (output, output_table) = end(model.output.as_ref());
    format!(
        "
{doc}
#[derive(Debug)]
pub struct {name};

impl crate::Operation for {name} {{
    const NAME: &'static str = {name:?};
    const SERVICE: crate::Service = {constant};
    type Input = {input};
    type Output = {output};

    fn input_shape() -> &'static crate::Shape {{
        &{input_table}
    }}

    fn output_shape() -> &'static crate::Shape {{
        &{output_table}
    }}
}}
"
    )
}

/// The type of an input or output, and its table.
fn end(shape: Option<&Ref>) -> (String, String) {
    let Some(Ref { shape }) = shape else {
        return ("crate::Empty".to_owned(), "crate::Empty::SHAPE".to_owned());
    };
    (names::type_name(shape), format!("shapes::{}", names::constant_name(shape)))
}
