//! Our tensors as ONNX Runtime's values, and back.

use ort::session::SessionInputValue;
use ort::value::{DynMapValueType, DynValue, Tensor as OrtTensor, TensorRef};

use crate::model::Output;
use crate::port::{Kind, Port};
use crate::tensor::{Data, Dtype, Tensor};

/// An input over the tensor's own memory; strings are copied.
pub(crate) fn view(tensor: &Tensor) -> Result<SessionInputValue<'_>, ort::Error> {
    let shape = tensor.shape.as_slice();
    Ok(match &tensor.data {
        Data::F16(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::F64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I16(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U16(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::Bool(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::Str(values) => OrtTensor::from_string_array((shape, values.as_slice()))?.into(),
    })
}

/// Copies an output out of ONNX Runtime's memory.
pub(crate) fn extract(port: &Port, value: &DynValue) -> Result<Output, ort::Error> {
    match &port.kind {
        Kind::Tensor { dtype, .. } => {
            let (shape, data) = tensor(*dtype, value)?;
            Ok(Output { tensor: Tensor { name: port.name.clone(), shape, data }, classes: None })
        }
        Kind::ZipMap { key: Dtype::Str } => maps(port, &rows::<String>(value)?),
        Kind::ZipMap { .. } => {
            let rows = rows::<i64>(value)?;
            let named = |row: Vec<(i64, f32)>| {
                row.into_iter().map(|(class, score)| (class.to_string(), score)).collect()
            };
            maps(port, &rows.into_iter().map(named).collect::<Vec<_>>())
        }
    }
}

fn tensor(dtype: Dtype, value: &DynValue) -> Result<(Vec<usize>, Data), ort::Error> {
    let data = match dtype {
        Dtype::F16 => Data::F16(value.try_extract_tensor()?.1.to_vec()),
        Dtype::F32 => Data::F32(value.try_extract_tensor()?.1.to_vec()),
        Dtype::F64 => Data::F64(value.try_extract_tensor()?.1.to_vec()),
        Dtype::I8 => Data::I8(value.try_extract_tensor()?.1.to_vec()),
        Dtype::I16 => Data::I16(value.try_extract_tensor()?.1.to_vec()),
        Dtype::I32 => Data::I32(value.try_extract_tensor()?.1.to_vec()),
        Dtype::I64 => Data::I64(value.try_extract_tensor()?.1.to_vec()),
        Dtype::U8 => Data::U8(value.try_extract_tensor()?.1.to_vec()),
        Dtype::U16 => Data::U16(value.try_extract_tensor()?.1.to_vec()),
        Dtype::U32 => Data::U32(value.try_extract_tensor()?.1.to_vec()),
        Dtype::U64 => Data::U64(value.try_extract_tensor()?.1.to_vec()),
        Dtype::Bool => Data::Bool(value.try_extract_tensor()?.1.to_vec()),
        Dtype::Str => Data::Str(value.try_extract_strings()?.1),
    };
    let shape = value.dtype().tensor_shape().into_iter().flat_map(|shape| shape.iter());
    let shape = shape.map(|n| usize::try_from(*n).unwrap_or(0)).collect();
    Ok((shape, data))
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
fn maps(port: &Port, rows: &[Vec<(String, f32)>]) -> Result<Output, ort::Error> {
    let classes: Vec<String> =
        rows.first().into_iter().flatten().map(|(class, _)| class.clone()).collect();
    let mut scores = Vec::with_capacity(rows.len() * classes.len());
    for row in rows {
        if !row.iter().map(|(class, _)| class).eq(&classes) {
            return Err(ort::Error::new("its maps differ in their keys"));
        }
        scores.extend(row.iter().map(|(_, score)| *score));
    }
    let shape = vec![rows.len(), classes.len()];
    let tensor = Tensor { name: port.name.clone(), shape, data: Data::F32(scores) };
    Ok(Output { tensor, classes: Some(classes) })
}
