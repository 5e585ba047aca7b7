//! Tensors of our own: what the formats read and write, apart from ONNX Runtime's values.

use std::fmt;

use half::f16;
use ort::value::TensorElementType;

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

/// Runs an expression on the values of a [`Data`], whatever their type.
macro_rules! with_values {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::tensor::Data::F16($values) => $body,
            $crate::tensor::Data::F32($values) => $body,
            $crate::tensor::Data::F64($values) => $body,
            $crate::tensor::Data::I8($values) => $body,
            $crate::tensor::Data::I16($values) => $body,
            $crate::tensor::Data::I32($values) => $body,
            $crate::tensor::Data::I64($values) => $body,
            $crate::tensor::Data::U8($values) => $body,
            $crate::tensor::Data::U16($values) => $body,
            $crate::tensor::Data::U32($values) => $body,
            $crate::tensor::Data::U64($values) => $body,
            $crate::tensor::Data::Bool($values) => $body,
            $crate::tensor::Data::Str($values) => $body,
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
        with_values!(&mut data, values => values.resize(n, Default::default()));
        data
    }

    #[must_use]
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    pub fn dtype(&self) -> Dtype {
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

    /// The same values as `dtype`; fails at the first that does not fit.
    ///
    /// # Errors
    /// When a value is out of range, not whole, or a string.
    pub fn convert(self, dtype: Dtype) -> Result<Self, Misfit> {
        if self.dtype() == dtype {
            return Ok(self);
        }
        with_values!(&self, values => convert(values, dtype))
    }
}

fn convert<T: Element>(from: &[T], dtype: Dtype) -> Result<Data, Misfit> {
    let mut converted = Data::empty(dtype);
    with_values!(&mut converted, into => convert_into(from, into))?;
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

    pub(crate) fn from_ort(dtype: TensorElementType) -> Option<Self> {
        const PAIRS: [(TensorElementType, Dtype); 13] = [
            (TensorElementType::Float16, Dtype::F16),
            (TensorElementType::Float32, Dtype::F32),
            (TensorElementType::Float64, Dtype::F64),
            (TensorElementType::Int8, Dtype::I8),
            (TensorElementType::Int16, Dtype::I16),
            (TensorElementType::Int32, Dtype::I32),
            (TensorElementType::Int64, Dtype::I64),
            (TensorElementType::Uint8, Dtype::U8),
            (TensorElementType::Uint16, Dtype::U16),
            (TensorElementType::Uint32, Dtype::U32),
            (TensorElementType::Uint64, Dtype::U64),
            (TensorElementType::Bool, Dtype::Bool),
            (TensorElementType::String, Dtype::Str),
        ];
        PAIRS.iter().find(|(theirs, _)| *theirs == dtype).map(|(_, ours)| *ours)
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

/// One value, as a format reads or writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    Int(i64),
    Uint(u64),
    /// Kept apart from `Double` so that 0.1 is not written as 0.10000000149011612.
    Single(f32),
    Double(f64),
    Bool(bool),
    Str(&'a str),
}

/// Why a value does not fit a type; reads on after the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misfit(pub(crate) &'static str);

pub(crate) const NOT_A_NUMBER: Misfit = Misfit("is not a number");
const NOT_A_BOOL: Misfit = Misfit("is not a bool");
const NOT_A_STRING: Misfit = Misfit("is not a string");
const NOT_WHOLE: Misfit = Misfit("is not a whole number");
const OUT_OF_RANGE: Misfit = Misfit("is out of range");

/// A Rust type that a tensor can hold.
pub(crate) trait Element: Clone + Default {
    fn as_scalar(&self) -> Scalar<'_>;
    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit>;
    /// Reads what stands in a text format.
    fn from_text(text: &str) -> Result<Self, Misfit>;
}

/// Whole numbers: checked, never wrapped.
macro_rules! whole {
    ($($type:ty, $variant:ident($wide:ty);)*) => {$(
        impl Element for $type {
            fn as_scalar(&self) -> Scalar<'_> {
                Scalar::$variant(<$wide>::from(*self))
            }

            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
                match scalar {
                    Scalar::Int(value) => Self::try_from(value).or(Err(OUT_OF_RANGE)),
                    Scalar::Uint(value) => Self::try_from(value).or(Err(OUT_OF_RANGE)),
                    Scalar::Single(value) => {
                        whole(value.into()).and_then(|value| Self::try_from(value).or(Err(OUT_OF_RANGE)))
                    }
                    Scalar::Double(value) => {
                        whole(value).and_then(|value| Self::try_from(value).or(Err(OUT_OF_RANGE)))
                    }
                    Scalar::Bool(value) => Ok(Self::from(value)),
                    Scalar::Str(_) => Err(NOT_A_NUMBER),
                }
            }

            fn from_text(text: &str) -> Result<Self, Misfit> {
                text.parse().or_else(|_| {
                    let value: f64 = text.parse().or(Err(NOT_A_NUMBER))?;
                    Self::from_scalar(Scalar::Double(value))
                })
            }
        }
    )*};
}
whole! {
    i8, Int(i64);
    i16, Int(i64);
    i32, Int(i64);
    i64, Int(i64);
    u8, Uint(u64);
    u16, Uint(u64);
    u32, Uint(u64);
    u64, Uint(u64);
}

/// A double that holds a whole number, as one that is exact.
#[expect(clippy::cast_possible_truncation, reason = "its range was checked")]
fn whole(value: f64) -> Result<i64, Misfit> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: up to here a double holds every whole number.
    if value.fract() != 0.0 {
        return Err(NOT_WHOLE); // NaN and the infinities come here too: their fraction is NaN.
    }
    if value.abs() > EXACT {
        return Err(OUT_OF_RANGE);
    }
    Ok(value as i64)
}

/// Floats: rounded to the nearest, but never to infinity.
macro_rules! float {
    ($($type:ty, |$value:ident| $as_scalar:expr, |$wide:ident| $narrow:expr;)*) => {$(
        impl Element for $type {
            fn as_scalar(&self) -> Scalar<'_> {
                let $value = *self;
                $as_scalar
            }

            #[expect(clippy::cast_precision_loss, reason = "a float is the nearest to what was sent")]
            fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
                let $wide = match scalar {
                    Scalar::Int(value) => value as f64,
                    Scalar::Uint(value) => value as f64,
                    Scalar::Single(value) => value.into(),
                    Scalar::Double(value) => value,
                    Scalar::Bool(value) => f64::from(u8::from(value)),
                    Scalar::Str(_) => return Err(NOT_A_NUMBER),
                };
                let narrow: Self = $narrow;
                let overflowed = $wide.is_finite() && !narrow.is_finite();
                if overflowed { Err(OUT_OF_RANGE) } else { Ok(narrow) }
            }

            fn from_text(text: &str) -> Result<Self, Misfit> {
                let value: f64 = text.parse().or(Err(NOT_A_NUMBER))?;
                Self::from_scalar(Scalar::Double(value))
            }
        }
    )*};
}
float! {
    f16, |value| Scalar::Single(value.to_f32()), |wide| Self::from_f64(wide);
    f32, |value| Scalar::Single(value), |wide| narrow(wide);
    f64, |value| Scalar::Double(value), |wide| wide;
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
fn narrow(wide: f64) -> f32 {
    wide as f32
}

impl Element for bool {
    fn as_scalar(&self) -> Scalar<'_> {
        Scalar::Bool(*self)
    }

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
        let truth = u8::from_scalar(scalar).or(Err(NOT_A_BOOL))?;
        if truth > 1 { Err(NOT_A_BOOL) } else { Ok(truth == 1) }
    }

    fn from_text(text: &str) -> Result<Self, Misfit> {
        match text {
            "true" | "True" | "TRUE" | "1" => Ok(true),
            "false" | "False" | "FALSE" | "0" => Ok(false),
            _ => Err(NOT_A_BOOL),
        }
    }
}

impl Element for String {
    fn as_scalar(&self) -> Scalar<'_> {
        Scalar::Str(self)
    }

    fn from_scalar(scalar: Scalar<'_>) -> Result<Self, Misfit> {
        match scalar {
            Scalar::Str(text) => Self::from_text(text),
            Scalar::Int(_)
            | Scalar::Uint(_)
            | Scalar::Single(_)
            | Scalar::Double(_)
            | Scalar::Bool(_) => Err(NOT_A_STRING),
        }
    }

    fn from_text(text: &str) -> Result<Self, Misfit> {
        // ONNX Runtime takes strings that end with a zero byte.
        if text.contains('\0') { Err(Misfit("holds a zero byte")) } else { Ok(text.to_owned()) }
    }
}

/// How many values a shape holds; `None` when that is more than memory can.
pub(crate) fn volume(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |volume, size| volume.checked_mul(*size))
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::{Data, Dtype, Element as _, Misfit, NOT_WHOLE, OUT_OF_RANGE, Scalar};

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
        check(Data::I64(vec![2]), Dtype::Bool, Err(super::NOT_A_BOOL));
        check(Data::I64(vec![2]), Dtype::Str, Err(super::NOT_A_STRING));
        check(Data::Str(vec!["2".to_owned()]), Dtype::I64, Err(super::NOT_A_NUMBER));
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(i64::from_text("3.0"), Ok(3));
        assert_eq!(i64::from_text("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(i64::from_text("3.5"), Err(NOT_WHOLE));
        assert_eq!(u8::from_scalar(Scalar::Single(255.0)), Ok(255));
    }
}
