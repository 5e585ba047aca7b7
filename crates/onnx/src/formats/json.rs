//! `application/json` in the forms of TensorFlow Serving, which SageMaker's containers took over.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use smallvec::smallvec;

use super::nested::Nested;
use super::plain::Text;
use super::{Form, FormatError, Request, Shapes, n_rows, names, oip, put_json, room_for, text};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Data, Element, Scalar, Shape, with_values};

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// Reads one of:
/// - rows: `{"instances": [..]}` or the list alone; a row is the value of the only input, or an
///   object of values by input;
/// - columns: `{"inputs": array}` for the only input, or `{"inputs": {name: array}}`;
/// - the Open Inference Protocol: `{"inputs": [{"name", "shape", "datatype", "data"}]}`.
pub(crate) fn decode(
    ports: &[Port],
    body: &[u8],
    into: &mut [Data],
) -> Result<Request, FormatError> {
    let text = text(body)?.trim();
    if let ([port], [into]) = (ports, &mut *into)
        && let Some(request) = plain(port, text, into)
    {
        return Ok(request);
    }
    if text.starts_with('[') {
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| not_json(&error))?;
        return Ok(Request { shapes: rows(ports, whole, true, into)?, form: Form::Rows });
    }
    let fields: Object<'_> = serde_json::from_str(text).map_err(|error| not_json(&error))?;
    if let Some(instances) = fields.get("instances") {
        return Ok(Request { shapes: rows(ports, instances, false, into)?, form: Form::Rows });
    }
    let Some(inputs) = fields.get("inputs") else {
        let why = "expected {\"instances\": [..]}, {\"inputs\": ..} or a list of rows";
        return Err(FormatError::Bad(why.to_owned()));
    };
    if is_list_of_objects(inputs) {
        return oip::decode(ports, text, into);
    }
    Ok(Request { shapes: columns(ports, inputs, into)?, form: Form::Columns })
}

/// Reads what nearly all bodies are: one array of plain numbers that fits. Else `None`, and
/// nothing has happened.
fn plain(port: &Port, text: &str, into: &mut Data) -> Option<Request> {
    let before = into.len();
    let read = with_values!(Data: &mut *into, values => plain_body(text, values));
    let fitted = read.and_then(|(shape, form)| {
        let one_may_come_bare = text.starts_with('[') || form == Form::Columns;
        let fitted = if one_may_come_bare { port.fit_row(shape) } else { port.fit_shape(shape) };
        Some(Request { shapes: smallvec![fitted.ok()?], form })
    });
    if fitted.is_none() {
        into.truncate(before);
    }
    fitted
}

fn plain_body<T: Element>(text: &str, values: &mut Vec<T>) -> Option<(Shape, Form)> {
    let mut text = Text::new(text);
    let is_object = text.take("{").is_some();
    let form = match is_object {
        true if text.take("\"inputs\"").is_some() => Form::Columns,
        true => {
            text.take("\"instances\"")?;
            Form::Rows
        }
        false => Form::Rows,
    };
    if is_object {
        text.take(":")?;
    }
    let shape = text.array(values)?;
    if is_object {
        text.take("}")?;
    }
    text.is_at_end().then_some((shape, form))
}

fn not_json(error: &serde_json::Error) -> FormatError {
    FormatError::Bad(format!("the body is not a JSON object or list: {error}"))
}

/// Reads a list of rows. A row alone may stand for a list of one where `one_may_come_bare`.
fn rows(
    ports: &[Port],
    list: &RawValue,
    one_may_come_bare: bool,
    into: &mut [Data],
) -> Result<Shapes, FormatError> {
    if is_list_of_objects(list) {
        return rows_by_name(ports, list, into);
    }
    let ([port], [into]) = (ports, into) else { return Err(needs_names(ports)) };
    let shape = Nested::read(port, list.get(), into)?;
    let fitted = if one_may_come_bare { port.fit_row(shape)? } else { port.fit_shape(shape)? };
    Ok(smallvec![fitted])
}

/// True if the first element of the list is an object.
fn is_list_of_objects(list: &RawValue) -> bool {
    let inner = list.get().strip_prefix('[');
    inner.is_some_and(|inner| inner.trim_start().starts_with('{'))
}

fn rows_by_name(ports: &[Port], list: &RawValue, into: &mut [Data]) -> Result<Shapes, FormatError> {
    let rows: Vec<Object<'_>> =
        serde_json::from_str(list.get()).map_err(|error| not_json(&error))?;
    let inputs = ports.iter().zip(into).map(|(port, into)| Nested::new(port, into));
    let mut inputs: Vec<Nested<'_>> = inputs.collect();
    for (index, row) in rows.iter().enumerate() {
        let place = format!("row {}", index + 1);
        refuse_strangers(ports, row, &place)?;
        for (port, input) in ports.iter().zip(&mut inputs) {
            input.append(named(ports, row, port, &place)?.get(), 1)?;
        }
    }
    let inputs = ports.iter().zip(inputs);
    inputs.map(|(port, input)| Ok(port.fit_shape(input.finish_rows(rows.len()))?)).collect()
}

/// Reads whole arrays: of the only input, or by name.
fn columns(ports: &[Port], inputs: &RawValue, into: &mut [Data]) -> Result<Shapes, FormatError> {
    if inputs.get().starts_with('{') {
        let by_name: Object<'_> =
            serde_json::from_str(inputs.get()).map_err(|error| not_json(&error))?;
        let place = "\"inputs\"";
        refuse_strangers(ports, &by_name, place)?;
        let read = |(port, into)| {
            let array = named(ports, &by_name, port, place)?;
            Ok(port.fit_row(Nested::read(port, array.get(), into)?)?)
        };
        return ports.iter().zip(into).map(read).collect();
    }
    let ([port], [into]) = (ports, into) else { return Err(needs_names(ports)) };
    Ok(smallvec![port.fit_row(Nested::read(port, inputs.get(), into)?)?])
}

fn named<'a>(
    ports: &[Port],
    object: &Object<'a>,
    port: &Port,
    place: &str,
) -> Result<&'a RawValue, FormatError> {
    object.get(&port.name).copied().ok_or_else(|| {
        FormatError::Bad(format!(
            "{place} lacks the input \"{}\"; the model's inputs are {}",
            port.name,
            names(ports)
        ))
    })
}

fn refuse_strangers(ports: &[Port], object: &Object<'_>, place: &str) -> Result<(), FormatError> {
    match object.keys().find(|&key| ports.iter().all(|port| port.name != *key)) {
        None => Ok(()),
        Some(stranger) => Err(FormatError::Bad(format!(
            "{place} names {stranger:?}, which is no input; the model's inputs are {}",
            names(ports)
        ))),
    }
}

fn needs_names(ports: &[Port]) -> FormatError {
    FormatError::Bad(format!("the model has several inputs; name them: {}", names(ports)))
}

/// `{"predictions": [..]}`: the rows of the only output, or objects of values by output. Outputs
/// without common rows are given as columns.
pub(crate) fn encode_rows(outputs: &[Output<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(room_for(outputs));
    out.extend_from_slice(b"{\"predictions\":");
    match (outputs, n_rows(outputs)) {
        ([output], _) => whole(&mut out, output),
        (_, Some(n_rows)) => list(&mut out, n_rows, |out, row| {
            object(out, outputs, |output| output.name, |out, o| one_row(out, o, row));
        }),
        (_, None) => return encode_columns(outputs),
    }
    out.push(b'}');
    out
}

/// `{"outputs": {name: array}}`.
pub(crate) fn encode_columns(outputs: &[Output<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(room_for(outputs));
    out.extend_from_slice(b"{\"outputs\":");
    object(&mut out, outputs, |output| output.name, whole);
    out.push(b'}');
    out
}

fn whole(out: &mut Vec<u8>, output: &Output<'_>) {
    match output.classes {
        Some(_) => list(out, output.shape[0], |out, row| one_row(out, output, row)),
        None => with_values!(Values: output.values, values => {
            nested(out, &output.shape, values);
        }),
    }
}

fn one_row(out: &mut Vec<u8>, output: &Output<'_>, row: usize) {
    let shape = &output.shape[1..];
    let width: usize = shape.iter().product();
    with_values!(Values: output.values, values => {
        let values = &values[row * width..(row + 1) * width];
        match output.classes {
            None => nested(out, shape, values),
            Some(classes) => {
                let scores: Vec<_> = classes.iter().zip(values).collect();
                object(out, &scores, |(class, _)| class, |out, (_, score)| {
                    put_json(out, score.as_scalar());
                });
            }
        }
    });
}

fn nested<T: Element>(out: &mut Vec<u8>, shape: &[usize], values: &[T]) {
    let Some((n, inner)) = shape.split_first() else {
        return values.iter().for_each(|value| put_json(out, value.as_scalar()));
    };
    let width: usize = inner.iter().product();
    list(out, *n, |out, index| nested(out, inner, &values[index * width..(index + 1) * width]));
}

/// Writes a list of `n` elements.
pub(super) fn list(out: &mut Vec<u8>, n: usize, mut element: impl FnMut(&mut Vec<u8>, usize)) {
    out.push(b'[');
    for index in 0..n {
        if index > 0 {
            out.push(b',');
        }
        element(out, index);
    }
    out.push(b']');
}

/// Writes an object with a field for each of `entries`.
fn object<'a, E>(
    out: &mut Vec<u8>,
    entries: &'a [E],
    name: impl Fn(&'a E) -> &'a str,
    mut value: impl FnMut(&mut Vec<u8>, &'a E),
) {
    out.push(b'{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json(out, Scalar::Str(name(entry)));
        out.push(b':');
        value(out, entry);
    }
    out.push(b'}');
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
