//! A service of which some operations are served.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

use super::model::{Model, Shape, Structure};
use super::names;

pub(super) struct Service {
    /// As botocore names its folder: `sagemaker-runtime`.
    pub(super) name: String,
    pub(super) model: Model,
    /// The operations that we serve, sorted.
    pub(super) operations: BTreeSet<String>,
    /// The shapes that the inputs and outputs of these are made of, sorted.
    pub(super) shapes: BTreeSet<String>,
}

/// Enumerations that their service does not keep to, by service: `ReceiveMessage` takes the names
/// of attributes of a message where its model has those of a queue.
const OPEN: &[(&str, &str)] = &[("sqs", "QueueAttributeName")];

impl Service {
    pub(super) fn new(name: &str, operations: Vec<String>, mut model: Model) -> Result<Self> {
        for (_, shape) in OPEN.iter().filter(|(service, _)| *service == name) {
            let shape =
                model.shapes.get_mut(*shape).with_context(|| format!("no shape {shape}"))?;
            shape.open();
        }
        let n_operations = operations.len();
        let operations: BTreeSet<String> = operations.into_iter().collect();
        ensure!(operations.len() == n_operations, "an operation of {name} is listed twice");
        let shapes = reachable_shapes(&model, &operations).with_context(|| format!("in {name}"))?;
        let service = Self { name: name.to_owned(), model, operations, shapes };
        service.check_names().with_context(|| format!("in {name}"))?;
        Ok(service)
    }

    /// The service's Rust module: `sagemaker_runtime`.
    pub(super) fn module(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The service in prose: `SageMaker Runtime`.
    pub(super) fn title(&self) -> &str {
        &self.model.metadata.service_id
    }

    pub(super) fn shape(&self, name: &str) -> &Shape {
        &self.model.shapes[name]
    }

    /// The operations of the service that we do not serve.
    pub(super) fn unimplemented(&self) -> impl Iterator<Item = &String> {
        self.model.operations.keys().filter(|name| !self.operations.contains(*name))
    }

    /// Says whether a struct holds itself by way of this member, which then needs a box.
    pub(super) fn recurs(&self, owner: &str, member: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![member];
        while let Some(name) = waiting.pop() {
            let Some(structure) = self.shape(name).as_structure() else { continue };
            if name == owner {
                return true;
            }
            if seen.insert(name) {
                waiting.extend(structure.members.iter().map(|(_, shape)| shape));
            }
        }
        false
    }

    /// Says whether the struct can be made without a value; an enumeration has no natural one.
    pub(super) fn has_default(&self, structure: &Structure) -> bool {
        let mut required = structure.members.iter().filter(|(name, _)| structure.requires(name));
        required.all(|(_, member)| {
            let shape = self.shape(member);
            let inner_has = shape.as_structure().is_none_or(|inner| self.has_default(inner));
            inner_has && shape.as_enum().is_none()
        })
    }

    /// Fails if two things of the service would have one name in Rust.
    fn check_names(&self) -> Result<()> {
        let types = self.shapes.iter().filter(|name| self.shape(name).is_type());
        check_unique(types.chain(&self.operations), names::type_name)?;
        check_unique(&self.shapes, names::constant_name)?;
        for name in &self.shapes {
            check_names_within(self.shape(name)).with_context(|| format!("in {name}"))?;
        }
        Ok(())
    }
}

/// The shapes that the operations' inputs and outputs are made of.
fn reachable_shapes(model: &Model, operations: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut waiting = Vec::new();
    for name in operations {
        let operation =
            model.operations.get(name).with_context(|| format!("no operation {name}"))?;
        let ends = operation.input.iter().chain(&operation.output);
        waiting.extend(ends.map(|end| end.shape.as_str()));
    }
    let mut shapes = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        let shape = model.shapes.get(name).with_context(|| format!("no shape {name}"))?;
        if shapes.insert(name.to_owned()) {
            waiting.extend(shape.refs());
        }
    }
    Ok(shapes)
}

fn check_names_within(shape: &Shape) -> Result<()> {
    if let Some(structure) = shape.as_structure() {
        check_unique(structure.members.iter().map(|(name, _)| name), names::field_name)?;
    }
    check_unique(shape.as_enum().unwrap_or_default(), names::variant_name)
}

fn check_unique<T: AsRef<str>>(
    names: impl IntoIterator<Item = T>,
    ours: fn(&str) -> String,
) -> Result<()> {
    let mut seen = BTreeMap::new();
    for name in names {
        let name = name.as_ref();
        if let Some(other) = seen.insert(ours(name), name.to_owned()) {
            bail!("{other} and {name} would both be {}", ours(name));
        }
    }
    Ok(())
}
