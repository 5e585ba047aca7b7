//! The Open Inference Protocol, version 2, over JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::list;
use super::nested::Nested;
use super::{Form, FormatError, Request, names, put_json, room_for};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Data, Element as _, Scalar, Shape, volume, with_values};

/// What the answer must carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Sent back as it came.
    id: Option<String>,
    /// The names of the outputs; all if it is empty.
    outputs: Vec<String>,
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    id: Option<String>,
    #[serde(borrow)]
    inputs: Vec<WireTensor<'a>>,
    #[serde(default)]
    outputs: Vec<WireOutput>,
}

#[derive(Deserialize)]
struct WireTensor<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Vec<usize>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct WireOutput {
    name: String,
}

pub(super) fn decode(
    ports: &[Port],
    text: &str,
    into: &mut [Data],
) -> Result<Request, FormatError> {
    let request: WireRequest<'_> = serde_json::from_str(text).map_err(|error| {
        FormatError::Bad(format!(
            "the body is not a request of the Open Inference Protocol: {error}"
        ))
    })?;
    let known = |tensor: &WireTensor<'_>| ports.iter().any(|port| port.name == tensor.name);
    if let Some(stranger) = request.inputs.iter().find(|tensor| !known(tensor)) {
        return Err(FormatError::Bad(format!(
            "{:?} is no input; the model's inputs are {}",
            stranger.name,
            names(ports)
        )));
    }
    let ports = ports.iter().zip(into);
    let shapes =
        ports.map(|(port, into)| read(port, &request.inputs, into)).collect::<Result<_, _>>()?;
    let outputs = request.outputs.into_iter().map(|output| output.name).collect();
    Ok(Request { shapes, form: Form::OpenInference(Wanted { id: request.id, outputs }) })
}

fn read(port: &Port, tensors: &[WireTensor<'_>], into: &mut Data) -> Result<Shape, FormatError> {
    let Some(wire) = tensors.iter().find(|tensor| tensor.name == port.name) else {
        return Err(port.refuse("none").into());
    };
    if wire.datatype != port.dtype().oip() {
        let got = format!("the datatype {:?}; send {:?}", wire.datatype, port.dtype().oip());
        return Err(port.refuse(got).into());
    }
    let before = into.len();
    Nested::read(port, wire.data.get(), into)?;
    let n = into.len() - before;
    if volume(&wire.shape) != Some(n) {
        let got = format!("{n} values for the shape {:?}", wire.shape);
        return Err(port.refuse(got).into());
    }
    Ok(port.fit_shape(wire.shape.as_slice().into())?)
}

pub(super) fn encode(
    wanted: &Wanted,
    model: &str,
    outputs: &[Output<'_>],
) -> Result<Vec<u8>, FormatError> {
    let outputs = select(wanted, outputs)?;
    let mut out = Vec::with_capacity(96 * outputs.len() + room_for(outputs.iter().copied()));
    out.extend_from_slice(b"{\"model_name\":");
    put_json(&mut out, Scalar::Str(model));
    if let Some(id) = &wanted.id {
        out.extend_from_slice(b",\"id\":");
        put_json(&mut out, Scalar::Str(id));
    }
    out.extend_from_slice(b",\"outputs\":");
    list(&mut out, outputs.len(), |out, index| put_tensor(out, outputs[index]));
    out.push(b'}');
    Ok(out)
}

fn select<'a>(
    wanted: &Wanted,
    outputs: &'a [Output<'a>],
) -> Result<Vec<&'a Output<'a>>, FormatError> {
    if wanted.outputs.is_empty() {
        return Ok(outputs.iter().collect());
    }
    let find = |name: &String| {
        outputs.iter().find(|output| output.name == *name).ok_or_else(|| {
            let ours: Vec<&str> = outputs.iter().map(|output| output.name).collect();
            FormatError::Bad(format!("{name:?} is no output; the model's outputs are {ours:?}"))
        })
    };
    wanted.outputs.iter().map(find).collect()
}

fn put_tensor(out: &mut Vec<u8>, output: &Output<'_>) {
    out.extend_from_slice(b"{\"name\":");
    put_json(out, Scalar::Str(output.name));
    out.extend_from_slice(b",\"shape\":");
    list(out, output.shape.len(), |out, axis| {
        put_json(out, Scalar::Uint(output.shape[axis] as u64));
    });
    out.extend_from_slice(b",\"datatype\":");
    put_json(out, Scalar::Str(output.values.dtype().oip()));
    out.extend_from_slice(b",\"data\":");
    with_values!(Values: output.values, values => {
        list(out, values.len(), |out, index| put_json(out, values[index].as_scalar()));
    });
    out.push(b'}');
}
