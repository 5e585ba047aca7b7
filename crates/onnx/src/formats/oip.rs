//! The Open Inference Protocol, version 2, over JSON.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::list;
use super::nested::Nested;
use super::{Form, FormatError, Request, names, put_json};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Element as _, Scalar, Tensor, volume, with_values};

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
    name: String,
    shape: Vec<usize>,
    datatype: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct WireOutput {
    name: String,
}

pub(super) fn decode(ports: &[Port], text: &str) -> Result<Request, FormatError> {
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
    let inputs = ports.iter().map(|port| read(port, &request.inputs)).collect::<Result<_, _>>()?;
    let outputs = request.outputs.into_iter().map(|output| output.name).collect();
    Ok(Request { inputs, form: Form::OpenInference(Wanted { id: request.id, outputs }) })
}

fn read(port: &Port, tensors: &[WireTensor<'_>]) -> Result<Tensor, FormatError> {
    let Some(wire) = tensors.iter().find(|tensor| tensor.name == port.name) else {
        return Err(port.refuse("none").into());
    };
    if wire.datatype != port.dtype().oip() {
        let got = format!("the datatype {:?}; send {:?}", wire.datatype, port.dtype().oip());
        return Err(port.refuse(got).into());
    }
    let mut tensor = Nested::read(port, wire.data.get())?;
    if volume(&wire.shape) != Some(tensor.data.len()) {
        let got = format!("{} values for the shape {:?}", tensor.data.len(), wire.shape);
        return Err(port.refuse(got).into());
    }
    tensor.shape.clone_from(&wire.shape);
    Ok(port.fit(tensor)?)
}

pub(super) fn encode(
    wanted: &Wanted,
    model: &str,
    outputs: &[Output],
) -> Result<Vec<u8>, FormatError> {
    let outputs = select(wanted, outputs)?;
    let mut out = b"{\"model_name\":".to_vec();
    put_json(&mut out, Scalar::Str(model));
    if let Some(id) = &wanted.id {
        out.extend_from_slice(b",\"id\":");
        put_json(&mut out, Scalar::Str(id));
    }
    out.extend_from_slice(b",\"outputs\":");
    list(&mut out, outputs.len(), |out, index| put_tensor(out, &outputs[index].tensor));
    out.push(b'}');
    Ok(out)
}

fn select<'a>(wanted: &Wanted, outputs: &'a [Output]) -> Result<Vec<&'a Output>, FormatError> {
    if wanted.outputs.is_empty() {
        return Ok(outputs.iter().collect());
    }
    let find = |name: &String| {
        outputs.iter().find(|output| output.tensor.name == *name).ok_or_else(|| {
            let ours: Vec<&str> =
                outputs.iter().map(|output| output.tensor.name.as_str()).collect();
            FormatError::Bad(format!("{name:?} is no output; the model's outputs are {ours:?}"))
        })
    };
    wanted.outputs.iter().map(find).collect()
}

fn put_tensor(out: &mut Vec<u8>, tensor: &Tensor) {
    out.extend_from_slice(b"{\"name\":");
    put_json(out, Scalar::Str(&tensor.name));
    out.extend_from_slice(b",\"shape\":");
    list(out, tensor.shape.len(), |out, axis| {
        put_json(out, Scalar::Uint(tensor.shape[axis] as u64));
    });
    out.extend_from_slice(b",\"datatype\":");
    put_json(out, Scalar::Str(tensor.data.dtype().oip()));
    out.extend_from_slice(b",\"data\":");
    with_values!(&tensor.data, values => {
        list(out, values.len(), |out, index| put_json(out, values[index].as_scalar()));
    });
    out.push(b'}');
}
