//! Nested JSON arrays of all kinds, read straight into a tensor.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::plain::Text;
use super::{FormatError, Port};
use crate::tensor::{Data, Element, Misfit, Scalar, Shape, with_values};

/// An array on its way in: values and the shape that they have had so far.
pub(crate) struct Nested<'p> {
    port: &'p Port,
    into: &'p mut Data,
    shape: Levels,
}

impl<'p> Nested<'p> {
    pub(crate) fn new(port: &'p Port, into: &'p mut Data) -> Self {
        Self { port, into, shape: Levels::default() }
    }

    /// Reads a whole array, or a single value. Its values are added to those in `into`.
    pub(crate) fn read(
        port: &'p Port,
        json: &str,
        into: &'p mut Data,
    ) -> Result<Shape, FormatError> {
        let before = into.len();
        let mut text = Text::new(json);
        let plain = with_values!(Data: &mut *into, values => text.array(values));
        if let Some(shape) = plain.filter(|_| text.is_at_end()) {
            return Ok(shape);
        }
        into.truncate(before);
        let mut nested = Self::new(port, into);
        nested.append(json, 0)?;
        Ok(nested.finish())
    }

    /// Reads an array that stands `depth` levels below the whole.
    pub(crate) fn append(&mut self, json: &str, depth: usize) -> Result<(), FormatError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let shape = &mut self.shape;
        let read = with_values!(Data: &mut *self.into, values => {
            Seed { values, shape, depth }.deserialize(&mut deserializer)
        });
        read.map_err(|error| self.explain(&error))
    }

    /// Ends an array of `n` rows that were appended one by one.
    pub(crate) fn finish_rows(mut self, n: usize) -> Shape {
        self.shape.size(0, n).expect("the outermost size is set once");
        self.finish()
    }

    pub(crate) fn finish(self) -> Shape {
        self.shape.sizes.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn explain(&self, error: &serde_json::Error) -> FormatError {
        let said = error.to_string();
        let why = said.split(" at line ").next().unwrap_or(&said); // Of a part of the body only.
        FormatError::Bad(format!("input \"{}\" expects {}: {why}", self.port.name, self.port.kind))
    }
}

/// The sizes of the levels, and the level of the values.
#[derive(Default)]
struct Levels {
    sizes: Vec<Option<usize>>,
    leaf: Option<usize>,
}

const RAGGED: &str = "the arrays of one level differ in their lengths";
/// ONNX Runtime's tensors have few dimensions; 32 are as many as NumPy once had.
const MAX_DEPTH: usize = 32;

impl Levels {
    fn open(&self, depth: usize) -> Result<(), &'static str> {
        if depth >= MAX_DEPTH {
            return Err("the arrays nest too deep");
        }
        if self.leaf.is_some_and(|leaf| depth >= leaf) { Err(RAGGED) } else { Ok(()) }
    }

    fn size(&mut self, depth: usize, n: usize) -> Result<(), &'static str> {
        if self.sizes.len() <= depth {
            self.sizes.resize(depth + 1, None);
        }
        if *self.sizes[depth].get_or_insert(n) == n { Ok(()) } else { Err(RAGGED) }
    }

    fn value(&mut self, depth: usize) -> Result<(), &'static str> {
        let nothing_deeper = self.sizes.len() <= depth;
        let leaf = *self.leaf.get_or_insert(depth);
        if leaf == depth && nothing_deeper { Ok(()) } else { Err(RAGGED) }
    }
}

struct Seed<'a, T> {
    values: &'a mut Vec<T>,
    shape: &'a mut Levels,
    depth: usize,
}

impl<T: Element> Seed<'_, T> {
    fn leaf<E: serde::de::Error>(self, scalar: Scalar<'_>) -> Result<(), E> {
        self.shape.value(self.depth).map_err(E::custom)?;
        let value = T::from_scalar(scalar).map_err(|why| E::custom(refusal(scalar, why)))?;
        self.values.push(value);
        Ok(())
    }
}

fn refusal(scalar: Scalar<'_>, why: Misfit) -> String {
    let mut shown = Vec::new();
    super::put_json(&mut shown, scalar);
    let shown: String = String::from_utf8_lossy(&shown).chars().take(40).collect();
    format!("{shown} {why}")
}

impl<'de, T: Element> DeserializeSeed<'de> for Seed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Seed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { values, shape, depth } = self;
        shape.open(depth).map_err(A::Error::custom)?;
        let mut n = 0;
        while seq.next_element_seed(Seed { values, shape, depth: depth + 1 })?.is_some() {
            n += 1;
        }
        shape.size(depth, n).map_err(A::Error::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.leaf(Scalar::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.leaf(Scalar::Uint(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.leaf(Scalar::Double(value))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.leaf(Scalar::Bool(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.leaf(Scalar::Str(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("null is not a value; fill in what is missing"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _map: A) -> Result<(), A::Error> {
        Err(A::Error::custom("an object stands where a value is wanted"))
    }
}
