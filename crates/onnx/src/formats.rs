//! Payloads to tensors, and tensors to payloads.
//!
//! | content type | in | out |
//! |---|---|---|
//! | `text/csv` | rows without a header; the columns are the inputs' values, in the order of the inputs | a line a row; the columns of all outputs, in their order |
//! | `application/json` | `{"instances": rows}`, a bare list of rows, or `{"inputs": ..}` | `{"predictions": rows}`, or `{"outputs": {name: array}}` to `inputs` |
//! | `application/json`, Open Inference Protocol | `{"inputs": [{"name", "shape", "datatype", "data"}]}` | `{"model_name", "id", "outputs": [..]}` |
//! | `application/x-npy` | one array, for models of one input | the first output |
//!
//! No number of a payload becomes another one in silence: what is missing, not a number or out of
//! range is refused with its place. In answers NaN and the infinities are `null` in JSON, which
//! has no words for them, and `nan`, `inf`, `-inf` in CSV.

pub(crate) mod accept;
mod csv;
mod json;
mod nested;
mod npy;
mod oip;
mod plain;

use bytes::Bytes;
use sagebrush_core::worker::Payload;
use smallvec::SmallVec;

use crate::model::Output;
use crate::port::{Mismatch, Port};
use crate::tensor::{Data, Scalar, Shape, Values};

/// What the formats can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    Npy,
}

/// What a payload says besides its values.
#[derive(Debug)]
pub struct Request {
    pub shapes: Shapes,
    pub form: Form,
}

/// The shape of each input, in the model's order.
pub type Shapes = SmallVec<[Shape; 2]>;

/// How an answer is laid out in JSON; it mirrors the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `{"predictions": [..]}`, row by row.
    Rows,
    /// `{"outputs": {name: array}}`.
    Columns,
    OpenInference(oip::Wanted),
}

/// Why a payload is not taken, or cannot be answered as wished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("{0}")]
    Bad(String),
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    #[error(
        "content type {0} is not supported; send text/csv, application/json or application/x-npy"
    )]
    UnsupportedType(String),
    #[error("{0}")]
    NotAcceptable(String),
}

impl FormatError {
    /// The status of the answer that tells of it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Bad(_) | Self::Mismatch(_) => 400,
            Self::NotAcceptable(_) => 406,
            Self::UnsupportedType(_) => 415,
        }
    }
}

impl Format {
    /// The format of a content type, whatever its parameters.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        Self::plain(content_type).or_else(|| {
            let media_type = media_type(content_type);
            let is = |name: &str| media_type.eq_ignore_ascii_case(name);
            [Self::Csv, Self::Json, Self::Npy].into_iter().find(|format| is(format.media_type()))
        })
    }

    /// The format of a content type that is written as nearly all are: it is not taken apart.
    pub(crate) fn plain(content_type: &str) -> Option<Self> {
        match content_type {
            "text/csv" => Some(Self::Csv),
            "application/json" => Some(Self::Json),
            "application/x-npy" => Some(Self::Npy),
            _ => None,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Json => "application/json",
            Self::Npy => "application/x-npy",
        }
    }

    /// The content type of an answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Npy => "application/x-npy",
        }
    }
}

/// A header's media type without its parameters.
pub(crate) fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or_default().trim()
}

/// Reads a payload. Its values are added to those in `into`, which holds for each port what is of
/// the port's type; on an error it may hold some of them.
///
/// # Errors
/// When the payload is not of its type, or does not fit the ports.
pub fn decode(
    format: Format,
    ports: &[Port],
    body: &[u8],
    into: &mut [Data],
) -> Result<Request, FormatError> {
    match format {
        Format::Csv => Ok(Request { shapes: csv::decode(ports, body, into)?, form: Form::Rows }),
        Format::Json => json::decode(ports, body, into),
        Format::Npy => Ok(Request { shapes: npy::decode(ports, body, into)?, form: Form::Rows }),
    }
}

/// A payload that is what the model takes as it stands, if it is. `None`: [`decode`] it.
pub(crate) fn lend<'b>(
    format: Format,
    ports: &[Port],
    body: &'b [u8],
) -> Option<(Shapes, Values<'b>)> {
    match format {
        Format::Csv | Format::Json => None,
        Format::Npy => npy::lend(ports, body),
    }
}

/// Writes what the model answered.
///
/// # Errors
/// When the format cannot hold it.
pub fn encode(
    format: Format,
    form: &Form,
    model: &str,
    outputs: &[Output<'_>],
) -> Result<Payload, FormatError> {
    let body = match (format, form) {
        (Format::Csv, _) => csv::encode(outputs)?,
        (Format::Npy, _) => npy::encode(outputs)?,
        (Format::Json, Form::Rows) => json::encode_rows(outputs),
        (Format::Json, Form::Columns) => json::encode_columns(outputs),
        (Format::Json, Form::OpenInference(wanted)) => oip::encode(wanted, model, outputs)?,
    };
    let content_type = Some(format.content_type().to_owned());
    Ok(Payload { content_type, body: Bytes::from(body) })
}

/// The body as text, without a byte order mark.
fn text(body: &[u8]) -> Result<&str, FormatError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| FormatError::Bad(format!("the body is not UTF-8: {error}")))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The names of ports, for a message.
fn names(ports: &[Port]) -> String {
    ports.iter().map(|port| format!("\"{}\"", port.name)).collect::<Vec<_>>().join(", ")
}

/// Appends a value as JSON; NaN and the infinities as `null`.
fn put_json(out: &mut Vec<u8>, scalar: Scalar<'_>) {
    let put = match scalar {
        Scalar::Int(value) => serde_json::to_writer(out, &value),
        Scalar::Uint(value) => serde_json::to_writer(out, &value),
        Scalar::Single(value) => serde_json::to_writer(out, &value),
        Scalar::Double(value) => serde_json::to_writer(out, &value),
        Scalar::Bool(value) => serde_json::to_writer(out, &value),
        Scalar::Str(value) => serde_json::to_writer(out, &value),
    };
    put.expect("a vector takes all that is written to it");
}

/// Room for an answer as text, as most are: a number takes some ten signs.
fn room_for<'a>(outputs: impl IntoIterator<Item = &'a Output<'a>>) -> usize {
    64 + outputs.into_iter().map(|output| 12 * output.values.len()).sum::<usize>()
}

/// How many rows the outputs have, if they all have equally many.
pub(crate) fn n_rows(outputs: &[Output<'_>]) -> Option<usize> {
    let n = outputs.first()?.n_rows()?;
    outputs.iter().all(|output| output.n_rows() == Some(n)).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::{FormatError, Shapes};
    use crate::model::Output;
    use crate::port::{Dim, Kind, Port};
    use crate::tensor::{Data, Dtype, Tensor};

    /// What a reader makes of a payload, as tensors. It adds to values that are there already.
    pub(super) fn read<T>(
        ports: &[Port],
        read: impl Fn(&mut [Data]) -> Result<(Shapes, T), FormatError>,
    ) -> Result<(Vec<Tensor>, T), FormatError> {
        let mut into: Vec<Data> = ports.iter().map(|port| Data::zeros(port.dtype(), 3)).collect();
        let (shapes, rest) = read(&mut into)?;
        assert_eq!(shapes.len(), ports.len());
        let tensors = ports.iter().zip(shapes).zip(into).map(|((port, shape), mut data)| {
            let values = data.split_off(3);
            assert_eq!(data, Data::zeros(port.dtype(), 3), "what was there stays");
            tensor(&port.name, &shape, values)
        });
        Ok((tensors.collect(), rest))
    }

    pub(super) fn output(tensor: &Tensor) -> Output<'_> {
        let (name, shape) = (tensor.name.as_str(), tensor.shape.as_slice().into());
        Output { name, shape, values: tensor.data.values(), classes: None }
    }

    pub(super) fn port(name: &str, dtype: Dtype, dims: &[Dim]) -> Port {
        let kind = Kind::Tensor { dtype, dims: dims.to_vec() };
        Port { name: name.to_owned(), kind }
    }

    pub(super) fn batch() -> Dim {
        Dim::Named("batch".to_owned())
    }

    pub(super) fn fixed(size: usize) -> Dim {
        Dim::Fixed(size)
    }

    pub(super) fn tensor(name: &str, shape: &[usize], data: Data) -> Tensor {
        Tensor { name: name.to_owned(), shape: shape.to_vec(), data }
    }
}
