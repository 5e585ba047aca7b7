//! Tensors of our own: what the formats read and write, apart from ONNX Runtime's values.

use std::fmt;
use std::ops::Range;

use half::f16;
use ort::value::TensorElementType;
use smallvec::SmallVec;

mod element;

pub(crate) use self::element::{Element, NOT_A_NUMBER};
pub use self::element::{Misfit, Scalar};

/// Values with a shape, row by row (C order).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub shape: Vec<usize>, // Invariant: its product is the length of `data`.
    pub data: Data,
}

/// The values of a tensor, by type.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    Bool(Vec<bool>),
    Str(Vec<String>),
}

/// Values in somebody else's memory, by type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    F16(&'a [f16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    Bool(&'a [bool]),
    Str(&'a [String]),
}

/// The sizes of the dimensions. Few tensors have more than fit in place.
pub type Shape = SmallVec<[usize; 6]>;

/// Runs an expression on the values of a [`Data`] or of [`Values`], whatever their type.
macro_rules! with_values {
    ($of:ident: $data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::tensor::$of::F16($values) => $body,
            $crate::tensor::$of::F32($values) => $body,
            $crate::tensor::$of::F64($values) => $body,
            $crate::tensor::$of::I8($values) => $body,
            $crate::tensor::$of::I16($values) => $body,
            $crate::tensor::$of::I32($values) => $body,
            $crate::tensor::$of::I64($values) => $body,
            $crate::tensor::$of::U8($values) => $body,
            $crate::tensor::$of::U16($values) => $body,
            $crate::tensor::$of::U32($values) => $body,
            $crate::tensor::$of::U64($values) => $body,
            $crate::tensor::$of::Bool($values) => $body,
            $crate::tensor::$of::Str($values) => $body,
        }
    };
}
pub(crate) use with_values;

impl Data {
    /// No values yet, of type `dtype`.
    #[must_use]
    pub fn empty(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::F16(Vec::new()),
            Dtype::F32 => Self::F32(Vec::new()),
            Dtype::F64 => Self::F64(Vec::new()),
            Dtype::I8 => Self::I8(Vec::new()),
            Dtype::I16 => Self::I16(Vec::new()),
            Dtype::I32 => Self::I32(Vec::new()),
            Dtype::I64 => Self::I64(Vec::new()),
            Dtype::U8 => Self::U8(Vec::new()),
            Dtype::U16 => Self::U16(Vec::new()),
            Dtype::U32 => Self::U32(Vec::new()),
            Dtype::U64 => Self::U64(Vec::new()),
            Dtype::Bool => Self::Bool(Vec::new()),
            Dtype::Str => Self::Str(Vec::new()),
        }
    }

    /// `n` zeros, or empty strings.
    #[must_use]
    pub fn zeros(dtype: Dtype, n: usize) -> Self {
        let mut data = Self::empty(dtype);
        with_values!(Data: &mut data, values => values.resize(n, Default::default()));
        data
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.values().len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.values().dtype()
    }

    /// The same values as `dtype`; fails at the first that does not fit.
    ///
    /// # Errors
    /// When a value is out of range, not whole, or a string.
    pub fn convert(self, dtype: Dtype) -> Result<Self, Misfit> {
        if self.dtype() == dtype {
            return Ok(self);
        }
        with_values!(Data: &self, values => convert(values, dtype))
    }

    /// The same values, lent.
    #[must_use]
    pub fn values(&self) -> Values<'_> {
        match self {
            Self::F16(values) => Values::F16(values),
            Self::F32(values) => Values::F32(values),
            Self::F64(values) => Values::F64(values),
            Self::I8(values) => Values::I8(values),
            Self::I16(values) => Values::I16(values),
            Self::I32(values) => Values::I32(values),
            Self::I64(values) => Values::I64(values),
            Self::U8(values) => Values::U8(values),
            Self::U16(values) => Values::U16(values),
            Self::U32(values) => Values::U32(values),
            Self::U64(values) => Values::U64(values),
            Self::Bool(values) => Values::Bool(values),
            Self::Str(values) => Values::Str(values),
        }
    }

    pub(crate) fn truncate(&mut self, n: usize) {
        with_values!(Data: self, values => values.truncate(n));
    }

    /// Takes off the values from the `n`th on.
    pub(crate) fn split_off(&mut self, n: usize) -> Self {
        let mut rest = Self::empty(self.dtype());
        rest.append_slice(self.values().range(n..self.len()));
        self.truncate(n);
        rest
    }

    /// Adds values of the same type; others are left out, which no caller has.
    pub(crate) fn append(&mut self, more: Self) {
        if self.is_empty() && self.dtype() == more.dtype() {
            *self = more;
        } else {
            self.append_slice(more.values());
        }
    }

    fn append_slice(&mut self, more: Values<'_>) {
        match (self, more) {
            (Self::F16(values), Values::F16(more)) => values.extend_from_slice(more),
            (Self::F32(values), Values::F32(more)) => values.extend_from_slice(more),
            (Self::F64(values), Values::F64(more)) => values.extend_from_slice(more),
            (Self::I8(values), Values::I8(more)) => values.extend_from_slice(more),
            (Self::I16(values), Values::I16(more)) => values.extend_from_slice(more),
            (Self::I32(values), Values::I32(more)) => values.extend_from_slice(more),
            (Self::I64(values), Values::I64(more)) => values.extend_from_slice(more),
            (Self::U8(values), Values::U8(more)) => values.extend_from_slice(more),
            (Self::U16(values), Values::U16(more)) => values.extend_from_slice(more),
            (Self::U32(values), Values::U32(more)) => values.extend_from_slice(more),
            (Self::U64(values), Values::U64(more)) => values.extend_from_slice(more),
            (Self::Bool(values), Values::Bool(more)) => values.extend_from_slice(more),
            (Self::Str(values), Values::Str(more)) => values.extend_from_slice(more),
            (this, _) => debug_assert!(false, "values of another type than {}", this.dtype()),
        }
    }
}

impl<'a> Values<'a> {
    #[must_use]
    pub fn len(self) -> usize {
        with_values!(Values: self, values => values.len())
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F16(_) => Dtype::F16,
            Self::F32(_) => Dtype::F32,
            Self::F64(_) => Dtype::F64,
            Self::I8(_) => Dtype::I8,
            Self::I16(_) => Dtype::I16,
            Self::I32(_) => Dtype::I32,
            Self::I64(_) => Dtype::I64,
            Self::U8(_) => Dtype::U8,
            Self::U16(_) => Dtype::U16,
            Self::U32(_) => Dtype::U32,
            Self::U64(_) => Dtype::U64,
            Self::Bool(_) => Dtype::Bool,
            Self::Str(_) => Dtype::Str,
        }
    }

    /// Some of the values.
    ///
    /// # Panics
    /// When there are not as many.
    #[must_use]
    pub fn range(self, range: Range<usize>) -> Self {
        match self {
            Self::F16(values) => Self::F16(&values[range]),
            Self::F32(values) => Self::F32(&values[range]),
            Self::F64(values) => Self::F64(&values[range]),
            Self::I8(values) => Self::I8(&values[range]),
            Self::I16(values) => Self::I16(&values[range]),
            Self::I32(values) => Self::I32(&values[range]),
            Self::I64(values) => Self::I64(&values[range]),
            Self::U8(values) => Self::U8(&values[range]),
            Self::U16(values) => Self::U16(&values[range]),
            Self::U32(values) => Self::U32(&values[range]),
            Self::U64(values) => Self::U64(&values[range]),
            Self::Bool(values) => Self::Bool(&values[range]),
            Self::Str(values) => Self::Str(&values[range]),
        }
    }

    /// The same values in memory of their own.
    #[must_use]
    pub fn to_data(self) -> Data {
        match self {
            Self::F16(values) => Data::F16(values.to_vec()),
            Self::F32(values) => Data::F32(values.to_vec()),
            Self::F64(values) => Data::F64(values.to_vec()),
            Self::I8(values) => Data::I8(values.to_vec()),
            Self::I16(values) => Data::I16(values.to_vec()),
            Self::I32(values) => Data::I32(values.to_vec()),
            Self::I64(values) => Data::I64(values.to_vec()),
            Self::U8(values) => Data::U8(values.to_vec()),
            Self::U16(values) => Data::U16(values.to_vec()),
            Self::U32(values) => Data::U32(values.to_vec()),
            Self::U64(values) => Data::U64(values.to_vec()),
            Self::Bool(values) => Data::Bool(values.to_vec()),
            Self::Str(values) => Data::Str(values.to_vec()),
        }
    }
}

fn convert<T: Element>(from: &[T], dtype: Dtype) -> Result<Data, Misfit> {
    let mut converted = Data::empty(dtype);
    with_values!(Data: &mut converted, into => convert_into(from, into))?;
    Ok(converted)
}

fn convert_into<T: Element, U: Element>(from: &[T], into: &mut Vec<U>) -> Result<(), Misfit> {
    into.reserve(from.len());
    for value in from {
        into.push(U::from_scalar(value.as_scalar())?);
    }
    Ok(())
}

/// The types of tensors that we serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    Str,
}

impl Dtype {
    const ALL: [Self; 13] = [
        Self::F16,
        Self::F32,
        Self::F64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::Bool,
        Self::Str,
    ];

    /// As the Open Inference Protocol says it.
    #[must_use]
    pub fn oip(self) -> &'static str {
        match self {
            Self::F16 => "FP16",
            Self::F32 => "FP32",
            Self::F64 => "FP64",
            Self::I8 => "INT8",
            Self::I16 => "INT16",
            Self::I32 => "INT32",
            Self::I64 => "INT64",
            Self::U8 => "UINT8",
            Self::U16 => "UINT16",
            Self::U32 => "UINT32",
            Self::U64 => "UINT64",
            Self::Bool => "BOOL",
            Self::Str => "BYTES",
        }
    }

    /// As ONNX Runtime says it.
    pub(crate) fn ort(self) -> TensorElementType {
        match self {
            Self::F16 => TensorElementType::Float16,
            Self::F32 => TensorElementType::Float32,
            Self::F64 => TensorElementType::Float64,
            Self::I8 => TensorElementType::Int8,
            Self::I16 => TensorElementType::Int16,
            Self::I32 => TensorElementType::Int32,
            Self::I64 => TensorElementType::Int64,
            Self::U8 => TensorElementType::Uint8,
            Self::U16 => TensorElementType::Uint16,
            Self::U32 => TensorElementType::Uint32,
            Self::U64 => TensorElementType::Uint64,
            Self::Bool => TensorElementType::Bool,
            Self::Str => TensorElementType::String,
        }
    }

    pub(crate) fn from_ort(dtype: TensorElementType) -> Option<Self> {
        Self::ALL.into_iter().find(|ours| ours.ort() == dtype)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I8 => "int8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
            Self::U16 => "uint16",
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::Bool => "bool",
            Self::Str => "string",
        })
    }
}

/// How many values a shape holds; `None` when that is more than memory can.
pub(crate) fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |volume, size| volume.checked_mul(*size))
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::element::{NOT_A_BOOL, NOT_A_NUMBER, NOT_A_STRING, NOT_WHOLE, OUT_OF_RANGE};
    use super::{Data, Dtype, Misfit};

    fn check(from: Data, dtype: Dtype, expected: Result<Data, Misfit>) {
        assert_eq!(from.clone().convert(dtype), expected, "{from:?} as {dtype}");
    }

    #[test]
    fn converts_what_fits() {
        check(Data::F64(vec![0.5, -1.0]), Dtype::F32, Ok(Data::F32(vec![0.5, -1.0])));
        check(Data::I64(vec![1, 2]), Dtype::F32, Ok(Data::F32(vec![1.0, 2.0])));
        check(Data::F64(vec![3.0]), Dtype::I64, Ok(Data::I64(vec![3])));
        check(Data::U8(vec![1, 0]), Dtype::Bool, Ok(Data::Bool(vec![true, false])));
        check(Data::Bool(vec![true]), Dtype::F16, Ok(Data::F16(vec![f16::ONE])));
        check(Data::F64(vec![f64::INFINITY]), Dtype::F32, Ok(Data::F32(vec![f32::INFINITY])));
    }

    #[test]
    fn refuses_what_does_not() {
        check(Data::F64(vec![1e39]), Dtype::F32, Err(OUT_OF_RANGE));
        check(Data::F32(vec![1e6]), Dtype::F16, Err(OUT_OF_RANGE));
        check(Data::F64(vec![0.5]), Dtype::I64, Err(NOT_WHOLE));
        check(Data::F64(vec![f64::NAN]), Dtype::I64, Err(NOT_WHOLE));
        check(Data::F64(vec![1e300]), Dtype::I64, Err(OUT_OF_RANGE));
        check(Data::I64(vec![256]), Dtype::U8, Err(OUT_OF_RANGE));
        check(Data::I64(vec![-1]), Dtype::U64, Err(OUT_OF_RANGE));
        check(Data::I64(vec![2]), Dtype::Bool, Err(NOT_A_BOOL));
        check(Data::I64(vec![2]), Dtype::Str, Err(NOT_A_STRING));
        check(Data::Str(vec!["2".to_owned()]), Dtype::I64, Err(NOT_A_NUMBER));
    }
}
