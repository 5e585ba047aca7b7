//! What a run gave, read where ONNX Runtime put it.

use ort::value::{DynMapValueType, DynValue};
use smallvec::SmallVec;

use crate::port::{Kind, Port};
use crate::run::OutputValue;
use crate::tensor::{Data, Dtype, Shape, Values};

/// What a run of a model gave. Numbers stay in ONNX Runtime's memory until this is dropped.
#[derive(Debug)]
pub struct Outputs<'m> {
    ports: &'m [Port],
    values: SmallVec<[Value<'m>; 4]>,
}

/// An output: a tensor, and the classes of its columns if it came as maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Output<'a> {
    pub name: &'a str,
    pub shape: Shape,
    pub values: Values<'a>,
    pub classes: Option<&'a [String]>,
}

#[derive(Debug)]
enum Value<'m> {
    /// A tensor of numbers.
    InPlace(OutputValue<'m>, Dtype),
    /// Strings, and maps.
    Copied { shape: Shape, data: Data, classes: Option<Vec<String>> },
}

impl<'m> Outputs<'m> {
    /// Takes a value for each port.
    pub(crate) fn new(
        ports: &'m [Port],
        values: SmallVec<[OutputValue<'m>; 4]>,
    ) -> Result<Self, ort::Error> {
        let values = ports.iter().zip(values).map(|(port, value)| match &port.kind {
            Kind::Tensor { dtype: Dtype::Str, .. } => strings(&value.into_ort()),
            Kind::Tensor { dtype, .. } => Ok(Value::InPlace(value, *dtype)),
            Kind::ZipMap { key } => zipmap(*key, &value.into_ort()),
        });
        Ok(Self { ports, values: values.collect::<Result<_, _>>()? })
    }

    /// Looks at them, in the model's order.
    ///
    /// # Errors
    /// When ONNX Runtime does not say what they are.
    pub fn views(&self) -> Result<SmallVec<[Output<'_>; 4]>, ort::Error> {
        let named = self.ports.iter().zip(&self.values);
        named.map(|(port, value)| value.view(&port.name)).collect()
    }
}

impl<'a> Output<'a> {
    /// How many rows it has; `None` for a scalar.
    #[must_use]
    pub fn n_rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// `n` of its rows, from `first` on, which it has.
    pub(crate) fn rows(&self, first: usize, n: usize) -> Self {
        let tail = self.shape.get(1..).unwrap_or_default();
        let width: usize = tail.iter().product();
        let values = self.values.range(first * width..(first + n) * width);
        let shape = std::iter::once(n).chain(tail.iter().copied()).collect();
        Output { shape, values, ..self.clone() }
    }
}

impl Value<'_> {
    fn view<'a>(&'a self, name: &'a str) -> Result<Output<'a>, ort::Error> {
        match self {
            Self::InPlace(value, dtype) => {
                let (shape, values) = value.values(*dtype)?;
                Ok(Output { name, shape, values, classes: None })
            }
            Self::Copied { shape, data, classes } => {
                let (shape, classes) = (shape.clone(), classes.as_deref());
                Ok(Output { name, shape, values: data.values(), classes })
            }
        }
    }
}

fn strings(value: &DynValue) -> Result<Value<'static>, ort::Error> {
    let (shape, strings) = value.try_extract_strings()?;
    let shape = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
    Ok(Value::Copied { shape, data: Data::Str(strings), classes: None })
}

fn zipmap(key: Dtype, value: &DynValue) -> Result<Value<'static>, ort::Error> {
    if key == Dtype::Str {
        return maps(&rows::<String>(value)?);
    }
    let rows = rows::<i64>(value)?;
    let named = |row: Vec<(i64, f32)>| {
        row.into_iter().map(|(class, score)| (class.to_string(), score)).collect()
    };
    maps(&rows.into_iter().map(named).collect::<Vec<_>>())
}

/// The maps of a list, each as pairs in ONNX Runtime's order, which is that of the keys.
fn rows<K>(value: &DynValue) -> Result<Vec<Vec<(K, f32)>>, ort::Error>
where
    K: ort::value::IntoTensorElementType + Clone + std::hash::Hash + Eq,
{
    let maps = value.try_extract_sequence::<DynMapValueType>()?;
    maps.iter().map(|map| map.try_extract_key_values::<K, f32>()).collect()
}

/// Maps of equal keys as a matrix of scores, whose columns are the classes.
fn maps(rows: &[Vec<(String, f32)>]) -> Result<Value<'static>, ort::Error> {
    let classes: Vec<String> =
        rows.first().into_iter().flatten().map(|(class, _)| class.clone()).collect();
    let mut scores = Vec::with_capacity(rows.len() * classes.len());
    for row in rows {
        if !row.iter().map(|(class, _)| class).eq(&classes) {
            return Err(ort::Error::new("its maps differ in their keys"));
        }
        scores.extend(row.iter().map(|(_, score)| *score));
    }
    let shape = Shape::from_slice(&[rows.len(), classes.len()]);
    Ok(Value::Copied { shape, data: Data::F32(scores), classes: Some(classes) })
}
