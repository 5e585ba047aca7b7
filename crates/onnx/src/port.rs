//! What a model takes and gives: the name, type and dimensions of an input or output.

use std::fmt;

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::tensor::{Dtype, Shape, Tensor};

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Tensor {
        dtype: Dtype,
        dims: Vec<Dim>,
    },
    /// A list of maps from class to score, as `skl2onnx` makes with `zipmap=True`.
    ZipMap {
        key: Dtype,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Fixed(usize),
    /// Any size; the name is the model's, such as `batch`.
    Named(String),
    Any,
}

/// A tensor that an input does not take, in words for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input \"{name}\" expects {expected}, got {got}")]
pub struct Mismatch {
    pub name: String,
    pub expected: String,
    pub got: String,
}

impl Port {
    /// Reads what ONNX Runtime says of an input or output.
    ///
    /// # Errors
    /// When it is of a type that we do not serve; says which.
    pub(crate) fn read(outlet: &Outlet) -> Result<Self, String> {
        let kind = match outlet.dtype() {
            ValueType::Tensor { ty, shape, dimension_symbols } => Kind::Tensor {
                dtype: dtype(*ty)?,
                dims: shape.iter().zip(dimension_symbols.iter()).map(|(n, s)| dim(*n, s)).collect(),
            },
            ValueType::Sequence(element) => Kind::ZipMap { key: zipmap_key(element)? },
            other @ (ValueType::Map { .. } | ValueType::Optional(_)) => {
                return Err(other.to_string());
            }
        };
        Ok(Self { name: outlet.name().to_owned(), kind })
    }

    /// The type of its values.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        match &self.kind {
            Kind::Tensor { dtype, .. } => *dtype,
            Kind::ZipMap { .. } => Dtype::F32,
        }
    }

    /// Its dimensions; none for a list of maps.
    #[must_use]
    pub fn dims(&self) -> &[Dim] {
        match &self.kind {
            Kind::Tensor { dims, .. } => dims,
            Kind::ZipMap { .. } => &[],
        }
    }

    /// How many values a row has, if that is fixed: the product of all dimensions but the first.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        let mut sizes = self.dims().iter().skip(1).map(Dim::fixed);
        sizes.try_fold(1usize, |width, size| width.checked_mul(size?))
    }

    /// The dimensions behind the first, if all are fixed.
    #[must_use]
    pub fn tail(&self) -> Option<Shape> {
        self.dims().iter().skip(1).map(Dim::fixed).collect()
    }

    /// Takes a tensor as the model wants it: a column may stand for `[n, 1]`.
    ///
    /// # Errors
    /// When the shape is another one.
    pub fn fit(&self, mut tensor: Tensor) -> Result<Tensor, Mismatch> {
        tensor.shape = self.fit_shape(tensor.shape.into())?.into_vec();
        Ok(tensor)
    }

    /// As [`Port::fit`], for the shape alone.
    pub(crate) fn fit_shape(&self, mut shape: Shape) -> Result<Shape, Mismatch> {
        let ends_in_one = self.dims().last().is_some_and(|dim| dim.fixed() == Some(1));
        let lacks_the_last = shape.len() + 1 == self.dims().len();
        if lacks_the_last && ends_in_one && self.dims().len() > 1 {
            shape.push(1);
        }
        self.check(&shape)?;
        Ok(shape)
    }

    /// As [`Port::fit_shape`], and a single row may come without its first dimension.
    pub(crate) fn fit_row(&self, mut shape: Shape) -> Result<Shape, Mismatch> {
        let mut as_row = shape.clone();
        as_row.insert(0, 1);
        if self.admits(&as_row) && self.dims().last().and_then(Dim::fixed) != Some(1) {
            shape = as_row;
        }
        self.fit_shape(shape)
    }

    /// Checks a shape as it is.
    ///
    /// # Errors
    /// When it is not one that the model takes.
    pub fn check(&self, shape: &[usize]) -> Result<(), Mismatch> {
        if self.admits(shape) { Ok(()) } else { Err(self.refuse(format!("{shape:?}"))) }
    }

    fn admits(&self, shape: &[usize]) -> bool {
        let same_rank = shape.len() == self.dims().len();
        same_rank
            && self.dims().iter().zip(shape).all(|(dim, n)| dim.fixed().is_none_or(|f| f == *n))
    }

    pub(crate) fn refuse(&self, got: impl Into<String>) -> Mismatch {
        let expected = self.kind.to_string();
        Mismatch { name: self.name.clone(), expected, got: got.into() }
    }
}

impl Dim {
    #[must_use]
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Self::Fixed(n) => Some(*n),
            Self::Named(_) | Self::Any => None,
        }
    }
}

fn dim(n: i64, symbol: &str) -> Dim {
    match usize::try_from(n) {
        Ok(n) => Dim::Fixed(n),
        Err(_) if symbol.is_empty() => Dim::Any,
        Err(_) => Dim::Named(symbol.to_owned()),
    }
}

fn dtype(theirs: TensorElementType) -> Result<Dtype, String> {
    Dtype::from_ort(theirs).ok_or_else(|| theirs.to_string())
}

fn zipmap_key(element: &ValueType) -> Result<Dtype, String> {
    match element {
        ValueType::Map {
            key: key @ (TensorElementType::Int64 | TensorElementType::String),
            value: TensorElementType::Float32,
        } => dtype(*key),
        other @ (ValueType::Tensor { .. }
        | ValueType::Sequence(_)
        | ValueType::Map { .. }
        | ValueType::Optional(_)) => Err(format!("Sequence<{other}>")),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor { dtype, dims } => {
                let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
                write!(f, "{dtype} [{}]", dims.join(", "))
            }
            Self::ZipMap { key } => write!(f, "a list of maps from {key} to float32"),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Named(name) => f.write_str(name),
            Self::Any => f.write_str("?"),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::{Dim, Kind, Port};
    use crate::tensor::{Data, Dtype, Shape, Tensor};

    fn port(dims: &[Dim]) -> Port {
        let kind = Kind::Tensor { dtype: Dtype::F32, dims: dims.to_vec() };
        Port { name: "x".to_owned(), kind }
    }

    fn tensor(shape: &[usize]) -> Tensor {
        let data = Data::zeros(Dtype::F32, shape.iter().product());
        Tensor { name: "x".to_owned(), shape: shape.to_vec(), data }
    }

    fn check(dims: &[Dim], shape: &[usize], fitted: Option<&[usize]>, row: Option<&[usize]>) {
        let port = port(dims);
        let fit = port.fit(tensor(shape)).ok().map(|tensor| tensor.shape);
        assert_eq!(fit.as_deref(), fitted, "{port} {shape:?}");
        let fit = port.fit_row(Shape::from_slice(shape)).ok();
        assert_eq!(fit.as_deref(), row, "{port} {shape:?}");
    }

    #[test]
    fn fits_rows_and_columns() {
        let batch = || Dim::Named("batch".to_owned());
        check(&[batch(), Dim::Fixed(4)], &[2, 4], Some(&[2, 4]), Some(&[2, 4]));
        check(&[batch(), Dim::Fixed(4)], &[4], None, Some(&[1, 4]));
        check(&[batch(), Dim::Fixed(4)], &[2, 3], None, None);
        check(&[batch(), Dim::Fixed(1)], &[3], Some(&[3, 1]), Some(&[3, 1]));
        check(&[batch(), Dim::Fixed(1)], &[1], Some(&[1, 1]), Some(&[1, 1]));
        check(&[Dim::Any, Dim::Any], &[3], None, Some(&[1, 3]));
        check(&[Dim::Any], &[3], Some(&[3]), Some(&[3]));
        check(&[Dim::Any], &[], None, Some(&[1]));
        check(&[Dim::Fixed(1)], &[], None, None);
        check(&[Dim::Fixed(1), Dim::Fixed(3)], &[3], None, Some(&[1, 3]));
        check(&[], &[], Some(&[]), Some(&[]));
    }

    #[test]
    fn says_what_it_wants() {
        let dims = [Dim::Named("batch".to_owned()), Dim::Fixed(4)];
        let refused = port(&dims).fit(tensor(&[2, 3])).unwrap_err();
        assert_eq!(refused.to_string(), r#"input "x" expects float32 [batch, 4], got [2, 3]"#);
    }
}
