//! A look into an ONNX file before ONNX Runtime opens it: opsets, and files it would pull in.
//!
//! An ONNX file may name other files to read weights from. ONNX Runtime checks those names too;
//! we do so first and with our own eyes, because a model is a stranger's file. The walker reads
//! only the fields on the way to those names, skips over all weights and goes a bounded depth.

use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::{Component, Path};

/// What we want to know of a model before it is loaded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inspection {
    pub(crate) ir_version: u64,
    /// Domain and version; the domain is empty for ONNX's own operators.
    pub(crate) opsets: Vec<(String, u64)>,
    /// The files with weights, as the model names them, each once.
    pub(crate) external: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("it is not an ONNX file: {0}")]
    NotOnnx(&'static str),
    #[error("it could not be read")]
    Io(#[from] io::Error),
}

/// Reads what the model says of itself.
///
/// # Errors
/// When it is no protobuf of ONNX's form, or nests too deep.
pub(crate) fn inspect<R: Read + Seek>(model: R) -> Result<Inspection, InspectError> {
    let mut walker = Walker { from: BufReader::new(model), found: Inspection::default() };
    walker.message(Message::Model, u64::MAX, 0)?;
    if walker.found.opsets.is_empty() {
        return Err(InspectError::NotOnnx("it names no opset"));
    }
    Ok(walker.found)
}

/// True if `location` is a plain path below the model's folder.
pub(crate) fn stays_inside(location: &str) -> bool {
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let has_odd_signs = location.contains(['\\', '\0', ':']);
    !location.is_empty() && !has_odd_signs && Path::new(location).components().all(plain)
}

/// Subgraphs nest three messages a level; nobody nests thirty `If`s.
const MAX_DEPTH: usize = 96;
/// Longer names of files and domains are not looked at but refused.
const MAX_STRING: u64 = 4096;
/// More than this and the list itself would be the attack.
const MAX_LISTED: usize = 10_000;

/// The messages of `onnx.proto` that lead to what we want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Opset,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Entry,
    Function,
    Training,
}

/// What a length-delimited field holds.
enum Field {
    Message(Message),
    /// A string that we keep.
    Text,
    Skipped,
}

/// The fields of `onnx.proto` that we follow.
fn field(of: Message, number: u64) -> Field {
    match (of, number) {
        (Message::Model, 7) | (Message::Attribute, 6 | 11) | (Message::Training, 1 | 2) => {
            Field::Message(Message::Graph)
        }
        (Message::Model, 8) | (Message::Function, 9) => Field::Message(Message::Opset),
        (Message::Model, 20) => Field::Message(Message::Training),
        (Message::Model, 25) => Field::Message(Message::Function),
        (Message::Graph, 1) | (Message::Function, 7) => Field::Message(Message::Node),
        (Message::Node, 5) | (Message::Function, 11) => Field::Message(Message::Attribute),
        (Message::Graph, 5) | (Message::Attribute, 5 | 10) | (Message::SparseTensor, 1 | 2) => {
            Field::Message(Message::Tensor)
        }
        (Message::Graph, 15) | (Message::Attribute, 22 | 23) => {
            Field::Message(Message::SparseTensor)
        }
        (Message::Tensor, 13) => Field::Message(Message::Entry),
        (Message::Opset, 1) | (Message::Entry, 1 | 2) => Field::Text,
        _ => Field::Skipped,
    }
}

struct Walker<R> {
    from: BufReader<R>,
    found: Inspection,
}

/// What one message says in fields of its own.
#[derive(Default)]
struct Texts {
    first: String,
    second: String,
    number: u64,
}

impl<R: Read + Seek> Walker<R> {
    /// Reads a message of `length` bytes; the outermost ends with the file.
    fn message(&mut self, of: Message, length: u64, depth: usize) -> Result<(), InspectError> {
        if depth > MAX_DEPTH {
            return Err(InspectError::NotOnnx("it nests too deep"));
        }
        let mut left = length;
        let mut texts = Texts::default();
        while left > 0 {
            let Some(tag) = self.tag(of, &mut left)? else { break };
            let (number, wire_type) = (tag >> 3, tag & 7);
            match wire_type {
                0 => {
                    let value = self.varint(&mut left)?;
                    self.number(of, number, value, &mut texts);
                }
                1 => {
                    take(8, &mut left)?;
                    self.skip(8)?;
                }
                5 => {
                    take(4, &mut left)?;
                    self.skip(4)?;
                }
                2 => {
                    let inner = self.varint(&mut left)?;
                    take(inner, &mut left)?;
                    self.delimited(field(of, number), number, inner, depth, &mut texts)?;
                }
                _ => return Err(InspectError::NotOnnx("it holds an unknown type of field")),
            }
        }
        self.end(of, texts)
    }

    /// The next field's tag; `None` at the end of the file, where the outermost message may end.
    fn tag(&mut self, of: Message, left: &mut u64) -> Result<Option<u64>, InspectError> {
        match self.varint(left) {
            Ok(tag) => Ok(Some(tag)),
            Err(InspectError::Io(error))
                if of == Message::Model && error.kind() == ErrorKind::UnexpectedEof =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn number(&mut self, of: Message, number: u64, value: u64, texts: &mut Texts) {
        match (of, number) {
            (Message::Model, 1) => self.found.ir_version = value,
            (Message::Opset, 2) => texts.number = value,
            _ => {}
        }
    }

    fn delimited(
        &mut self,
        field: Field,
        number: u64,
        length: u64,
        depth: usize,
        texts: &mut Texts,
    ) -> Result<(), InspectError> {
        match field {
            Field::Message(inner) => self.message(inner, length, depth + 1),
            Field::Text => {
                let place = if number == 1 { &mut texts.first } else { &mut texts.second };
                *place = self.text(length)?;
                Ok(())
            }
            Field::Skipped => self.skip(length),
        }
    }

    /// Keeps what a message said.
    fn end(&mut self, of: Message, texts: Texts) -> Result<(), InspectError> {
        let found = &mut self.found;
        if of == Message::Opset {
            found.opsets.push((texts.first, texts.number));
        } else if of == Message::Entry
            && texts.first == "location"
            && !found.external.contains(&texts.second)
        {
            found.external.push(texts.second);
        }
        if found.opsets.len().max(found.external.len()) > MAX_LISTED {
            return Err(InspectError::NotOnnx("it names too many opsets or files"));
        }
        Ok(())
    }

    fn varint(&mut self, left: &mut u64) -> Result<u64, InspectError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            take(1, left)?;
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(InspectError::NotOnnx("it holds a number of more than ten bytes"))
    }

    fn text(&mut self, length: u64) -> Result<String, InspectError> {
        if length > MAX_STRING {
            return Err(InspectError::NotOnnx("it holds a name of more than 4,096 bytes"));
        }
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes)?;
        String::from_utf8(bytes).or(Err(InspectError::NotOnnx("it holds a name that is not UTF-8")))
    }

    fn skip(&mut self, length: u64) -> Result<(), InspectError> {
        let offset = i64::try_from(length).or(Err(TOO_LONG))?;
        Ok(self.from.seek_relative(offset)?)
    }
}

const TOO_LONG: InspectError = InspectError::NotOnnx("a field is longer than what holds it");

/// Takes `length` bytes off what is left of a message.
fn take(length: u64, left: &mut u64) -> Result<(), InspectError> {
    *left = left.checked_sub(length).ok_or(TOO_LONG)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::{Inspection, inspect, stays_inside};

    /// A length-delimited field.
    fn wrap(number: u8, inner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2];
        let mut length = inner.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend_from_slice(inner);
        bytes
    }

    fn model(graph: &[u8]) -> Vec<u8> {
        // ir_version 9, opset 17, then the graph.
        [&[0x08, 9, 0x42, 2, 0x10, 17], wrap(7, graph).as_slice()].concat()
    }

    fn tensor_at(location: &str) -> Vec<u8> {
        let entry = [wrap(1, b"location"), wrap(2, location.as_bytes())].concat();
        wrap(13, &entry)
    }

    fn check(graph: &[u8], external: &[&str]) {
        let found = inspect(Cursor::new(model(graph))).unwrap();
        let expected = Inspection {
            ir_version: 9,
            opsets: vec![(String::new(), 17)],
            external: external.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn finds_external_data_wherever_it_hides() {
        let tensor = tensor_at("../../x");
        let attribute_tensor = wrap(1, &wrap(5, &wrap(5, &tensor)));
        let subgraph = wrap(1, &wrap(5, &wrap(6, &wrap(5, &tensor))));
        check(&[], &[]);
        check(&wrap(5, &tensor), &["../../x"]);
        check(&wrap(15, &wrap(1, &tensor)), &["../../x"]);
        check(&attribute_tensor, &["../../x"]);
        check(&subgraph, &["../../x"]);
        check(&[wrap(5, &tensor), wrap(5, &tensor_at("w.bin"))].concat(), &["../../x", "w.bin"]);
    }

    #[test]
    fn bounds_the_depth() {
        let mut graph = Vec::new();
        for _ in 0..200 {
            graph = wrap(1, &wrap(5, &wrap(6, &graph)));
        }
        let error = inspect(Cursor::new(model(&graph))).unwrap_err();
        assert_eq!(error.to_string(), "it is not an ONNX file: it nests too deep");
    }

    #[test]
    fn external_files_stay_inside() {
        for inside in ["w.bin", "./w.bin", "weights/w.bin", "..bin"] {
            assert!(stays_inside(inside), "{inside:?}");
        }
        for outside in ["", "/etc/shadow", "../w", "a/../../w", "..", "a\\..\\w", "C:w", "a\0b"] {
            assert!(!stays_inside(outside), "{outside:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _read = inspect(Cursor::new(bytes));
        }

        #[test]
        fn never_panics_on_a_broken_model(at in 0usize..400, byte: u8) {
            let mut bytes = model(&wrap(1, &wrap(5, &wrap(6, &wrap(5, &tensor_at("../x"))))));
            let at = at % bytes.len();
            bytes[at] = byte;
            let _read = inspect(Cursor::new(bytes));
        }
    }
}
