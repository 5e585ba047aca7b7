//! From CBOR to the value that JSON would have carried.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium_io::Read as _;
use ciborium_ll::{Decoder, Header, simple};
use sagebrush_wire::{Member, Shape};
use serde_json::{Map, Value};

use super::TAG_OF_TIME;
use crate::ApiError;
use crate::validate::float;

/// How deep values may nest, as in JSON.
const MAX_DEPTH: usize = 64;

/// How many values a body may have: one byte of it makes a value of 32.
const MAX_VALUES: usize = 500_000;

/// Strings are read in pieces of this size, whatever their length is said to be.
const PIECE: usize = 4096;

/// Reads a request's body by its shape. An empty one is an empty structure.
///
/// What `shape` does not have is passed over. Keys that stand twice are refused.
pub fn read(shape: &Shape, body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut reader = Reader { decoder: Decoder::from(body), n_values: 0 };
    let value = reader.value(Some(shape), 0)?;
    if reader.decoder.offset() < body.len() {
        return Err(Refusal::Malformed("there is more behind its end").into());
    }
    Ok(value)
}

/// Why a body is not read.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("more than {MAX_VALUES} values")]
    TooMany,
}

const ENDS: Refusal = Refusal::Malformed("it ends too early");

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::serialization(format!("The body is not CBOR: {refusal}"))
    }
}

impl From<ciborium_ll::Error<io::Error>> for Refusal {
    fn from(error: ciborium_ll::Error<io::Error>) -> Self {
        match error {
            ciborium_ll::Error::Io(_) => ENDS,
            ciborium_ll::Error::Syntax(_) => Self::Malformed("a byte means nothing there"),
        }
    }
}

struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    n_values: usize,
}

impl Reader<'_> {
    /// The next value. Of a member that is not known, there is no shape.
    fn value(&mut self, shape: Option<&Shape>, depth: usize) -> Result<Value, Refusal> {
        let header = self.decoder.pull()?;
        self.of(header, shape, depth)
    }

    fn of(
        &mut self,
        header: Header,
        shape: Option<&Shape>,
        depth: usize,
    ) -> Result<Value, Refusal> {
        if depth > MAX_DEPTH {
            return Err(Refusal::TooDeep);
        }
        self.n_values += 1;
        if self.n_values > MAX_VALUES {
            return Err(Refusal::TooMany);
        }
        let is_blob = matches!(shape, Some(Shape::Blob { .. }));
        match header {
            Header::Positive(number) => Ok(number.into()),
            Header::Negative(number) => i64::try_from(number)
                .map(|number| (!number).into())
                .map_err(|_| Refusal::Malformed("a number is out of range")),
            Header::Float(value) => Ok(float(value)),
            Header::Simple(simple::FALSE) => Ok(false.into()),
            Header::Simple(simple::TRUE) => Ok(true.into()),
            Header::Simple(simple::NULL | simple::UNDEFINED) => Ok(Value::Null),
            Header::Tag(TAG_OF_TIME) if matches!(shape, None | Some(Shape::Timestamp)) => {
                self.value(shape, depth + 1)
            }
            Header::Tag(_) => Err(Refusal::Malformed("a tag is out of place")),
            Header::Bytes(length) if is_blob || shape.is_none() => {
                Ok(STANDARD.encode(self.string(length, is_bytes)?).into())
            }
            Header::Bytes(_) => Err(Refusal::Malformed("bytes are out of place")),
            Header::Text(_) if is_blob => Err(Refusal::Malformed("text is out of place")),
            Header::Text(length) => self.text(length).map(Value::String),
            Header::Array(length) => self.list(length, shape, depth).map(Value::Array),
            Header::Map(length) => self.map(length, shape, depth).map(Value::Object),
            Header::Simple(_) | Header::Break => {
                Err(Refusal::Malformed("a byte means nothing there"))
            }
        }
    }

    fn list(
        &mut self,
        mut length: Option<usize>,
        shape: Option<&Shape>,
        depth: usize,
    ) -> Result<Vec<Value>, Refusal> {
        let member =
            if let Some(Shape::List { member, .. }) = shape { Some(*member) } else { None };
        let mut items = Vec::new();
        while let Some(header) = self.next(&mut length)? {
            items.push(self.of(header, member, depth + 1)?);
        }
        Ok(items)
    }

    fn map(
        &mut self,
        mut length: Option<usize>,
        shape: Option<&Shape>,
        depth: usize,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut entries = Map::new();
        while let Some(header) = self.next(&mut length)? {
            let Header::Text(n_bytes) = header else {
                return Err(Refusal::Malformed("a key is not text"));
            };
            let key = self.text(n_bytes)?;
            let value = self.value(below(shape, &key), depth + 1)?;
            if entries.insert(key, value).is_some() {
                return Err(Refusal::Malformed("a key stands twice"));
            }
        }
        Ok(entries)
    }

    /// The header of the next item of a list or a map; `length` counts down, or there is none and
    /// a break ends it.
    fn next(&mut self, length: &mut Option<usize>) -> Result<Option<Header>, Refusal> {
        if let Some(left) = length {
            let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
            *left = fewer;
            return Ok(Some(self.decoder.pull()?));
        }
        let header = self.decoder.pull()?;
        Ok((header != Header::Break).then_some(header))
    }

    fn text(&mut self, length: Option<usize>) -> Result<String, Refusal> {
        String::from_utf8(self.string(length, is_text)?)
            .map_err(|_| Refusal::Malformed("text is not UTF-8"))
    }

    /// The bytes of a string, in one or, without a length, in several pieces with one each.
    fn string(
        &mut self,
        length: Option<usize>,
        piece_of: fn(Header) -> Option<usize>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut string = Vec::new();
        if let Some(length) = length {
            self.bytes(length, &mut string)?;
            return Ok(string);
        }
        while let Some(header) = self.next(&mut None)? {
            let out_of_place = Refusal::Malformed("a piece of a string is none");
            self.bytes(piece_of(header).ok_or(out_of_place)?, &mut string)?;
        }
        Ok(string)
    }

    /// Appends the next `length` bytes.
    fn bytes(&mut self, length: usize, to: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut piece = [0; PIECE];
        let mut n_left = length;
        while n_left > 0 {
            let piece = &mut piece[..n_left.min(PIECE)];
            self.decoder.read_exact(piece).map_err(|_| ENDS)?;
            to.extend_from_slice(piece);
            n_left -= piece.len();
        }
        Ok(())
    }
}

/// The shape of an entry.
fn below<'a>(shape: Option<&'a Shape>, key: &str) -> Option<&'a Shape> {
    let of_member = |members: &'a [Member]| {
        members.iter().find(|member| member.name == key).map(|member| member.shape)
    };
    match shape? {
        Shape::Structure(members) => of_member(members),
        Shape::Map { value, .. } => Some(value),
        Shape::List { .. }
        | Shape::String { .. }
        | Shape::Integer { .. }
        | Shape::Float { .. }
        | Shape::Boolean
        | Shape::Timestamp
        | Shape::Blob { .. } => None,
    }
}

fn is_bytes(header: Header) -> Option<usize> {
    if let Header::Bytes(length) = header { length } else { None }
}

fn is_text(header: Header) -> Option<usize> {
    if let Header::Text(length) = header { length } else { None }
}
