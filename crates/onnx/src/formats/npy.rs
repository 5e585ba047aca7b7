//! `application/x-npy`: one array as `numpy.save` writes it.

use std::io::Write as _;

use half::f16;
use smallvec::smallvec;

use super::{FormatError, Shapes};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Data, Dtype, Element, Misfit, Shape, Values, volume, with_values};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Reads an array for the only input, converted to its type where nothing but digits are lost.
pub(crate) fn decode(
    ports: &[Port],
    body: &[u8],
    into: &mut [Data],
) -> Result<Shapes, FormatError> {
    let ([port], [into]) = (ports, into) else {
        let why = "the model has several inputs and .npy holds one array; send JSON";
        return Err(FormatError::Bad(why.to_owned()));
    };
    let (header, values) = open(body).map_err(|why| FormatError::Bad(why.to_owned()))?;
    append(header.descr, values, into).map_err(|why| {
        let (from, shape) = (of(header.descr), &header.shape);
        port.refuse(format!("{from} {shape:?}, where a value {why}"))
    })?;
    Ok(smallvec![port.fit_shape(header.shape)?])
}

/// An array for the only input as it lies in the body, if it is of the input's type and begins
/// where such values may. `None`: [`decode`] it.
pub(crate) fn lend<'b>(ports: &[Port], body: &'b [u8]) -> Option<(Shapes, Values<'b>)> {
    let [port] = ports else { return None };
    let (header, bytes) = open(body).ok()?;
    let values = lent(header.descr, bytes).filter(|values| values.dtype() == port.dtype())?;
    Some((smallvec![port.fit_shape(header.shape).ok()?], values))
}

/// Writes the first output.
pub(crate) fn encode(outputs: &[Output<'_>]) -> Result<Vec<u8>, FormatError> {
    let Some(output) = outputs.first() else {
        return Err(FormatError::NotAcceptable("the model has no output".to_owned()));
    };
    write(&output.shape, output.values).ok_or_else(|| {
        FormatError::NotAcceptable(format!(
            "the output \"{}\" holds strings, which .npy does not; accept application/json",
            output.name
        ))
    })
}

/// Looks into a file: its header, and the bytes of its values, as many as the header says.
fn open(body: &[u8]) -> Result<(Header<'_>, &[u8]), &'static str> {
    const NOT_NPY: &str = "the body is not an .npy file";
    let rest = body.strip_prefix(MAGIC).ok_or(NOT_NPY)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(NOT_NPY)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or(NOT_NPY)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or(NOT_NPY)?;
            (usize::try_from(u32::from_le_bytes(*length)).or(Err(NOT_NPY))?, rest)
        }
        _ => return Err("the .npy file is of an unknown version"),
    };
    let (header, values) = rest.split_at_checked(length).ok_or(NOT_NPY)?;
    let header = std::str::from_utf8(header).or(Err(NOT_NPY))?;
    let header = Header::parse(header).ok_or("the header of the .npy file is not understood")?;
    if header.fortran_order {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray(array)");
    }
    let size = size_of_value(header.descr)?;
    if !values.len().is_multiple_of(size) {
        return Err("the .npy file ends within a value");
    }
    if volume(&header.shape) != Some(values.len() / size) {
        return Err("the .npy file does not hold as many values as its shape says");
    }
    Ok((header, values))
}

/// The dictionary at the start of a file: `{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}`.
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Shape,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let descr = field(text, "'descr'")?.strip_prefix('\'')?.split('\'').next()?;
        let order = field(text, "'fortran_order'")?;
        let fortran_order = order.starts_with("True");
        if !fortran_order && !order.starts_with("False") {
            return None;
        }
        let shape = field(text, "'shape'")?.strip_prefix('(')?.split(')').next()?;
        let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
        let shape = sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?;
        Some(Self { descr, fortran_order, shape })
    }
}

/// What stands behind `'key':`; the key comes with its quotes.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, behind) = text.split_once(key)?;
    Some(behind.trim_start().strip_prefix(':')?.trim_start())
}

/// Types with a fixed number of bytes, little end first.
macro_rules! types {
    ($($descr:literal, $variant:ident, $type:ty;)*) => {
        fn size_of_value(descr: &str) -> Result<usize, &'static str> {
            match descr {
                $($descr => Ok(size_of::<$type>()),)*
                "|b1" => Ok(1),
                big if big.starts_with('>') => {
                    Err("the array is big-endian; save array.astype(array.dtype.newbyteorder('<'))")
                }
                _ => Err("the array's type is not a number or bool"),
            }
        }

        /// The type of a description that [`size_of_value`] knows.
        fn of(descr: &str) -> Dtype {
            match descr {
                $($descr => Dtype::$variant,)*
                _ => Dtype::Bool,
            }
        }

        /// Adds the values of a description that [`size_of_value`] knows.
        fn append(descr: &str, bytes: &[u8], into: &mut Data) -> Result<(), Misfit> {
            match (descr, into) {
                $(($descr, Data::$variant(into)) => {
                    let (values, _) = bytes.as_chunks();
                    into.extend(values.iter().map(|value| <$type>::from_le_bytes(*value)));
                    Ok(())
                })*
                $(($descr, into) => {
                    let (values, _) = bytes.as_chunks();
                    convert(values.iter().map(|value| <$type>::from_le_bytes(*value)), into)
                })*
                (_, into) => convert(bytes.iter().map(|byte| *byte != 0), into),
            }
        }

        /// The values of a description, where they lie.
        fn lent<'b>(descr: &str, bytes: &'b [u8]) -> Option<Values<'b>> {
            match descr {
                _ if cfg!(target_endian = "big") => None,
                $($descr => {
                    // SAFETY: Any bytes are numbers of this type.
                    let (before, values, after) = unsafe { bytes.align_to::<$type>() };
                    (before.is_empty() && after.is_empty()).then_some(Values::$variant(values))
                })*
                _ => None,
            }
        }

        fn put_bytes(values: Values<'_>, out: &mut Vec<u8>) -> Option<()> {
            match values {
                $(Values::$variant(values) => {
                    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                })*
                Values::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
                Values::Str(_) => return None,
            }
            Some(())
        }

        fn descr(dtype: Dtype) -> Option<&'static str> {
            match dtype {
                $(Dtype::$variant => Some($descr),)*
                Dtype::Bool => Some("|b1"),
                Dtype::Str => None,
            }
        }
    };
}
types! {
    "<f2", F16, f16;
    "<f4", F32, f32;
    "<f8", F64, f64;
    "|i1", I8, i8;
    "<i2", I16, i16;
    "<i4", I32, i32;
    "<i8", I64, i64;
    "|u1", U8, u8;
    "<u2", U16, u16;
    "<u4", U32, u32;
    "<u8", U64, u64;
}

fn convert<T: Element>(from: impl Iterator<Item = T>, into: &mut Data) -> Result<(), Misfit> {
    with_values!(Data: into, into => convert_into(from, into))
}

fn convert_into<T: Element, U: Element>(
    from: impl Iterator<Item = T>,
    into: &mut Vec<U>,
) -> Result<(), Misfit> {
    into.reserve(from.size_hint().0);
    for value in from {
        into.push(U::from_scalar(value.as_scalar())?);
    }
    Ok(())
}

fn write(shape: &[usize], values: Values<'_>) -> Option<Vec<u8>> {
    const ALIGNMENT: usize = 64;
    const LONGEST_VALUE: usize = 8;
    let descr = descr(values.dtype())?;
    let mut out = Vec::with_capacity(2 * ALIGNMENT + LONGEST_VALUE * values.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0, 0, 0]); // The version, and the header's length later.
    let header = out.len();
    write!(out, "{{'descr': '{descr}', 'fortran_order': False, 'shape': (").ok()?;
    for (axis, size) in shape.iter().enumerate() {
        let space = if axis > 0 { " " } else { "" };
        write!(out, "{space}{size},").ok()?;
    }
    out.extend_from_slice(b"), }");
    out.resize((out.len() + 1).next_multiple_of(ALIGNMENT) - 1, b' ');
    out.push(b'\n');
    let length = u16::try_from(out.len() - header).ok()?; // 65,535: thousands of dimensions.
    out[header - 2..header].copy_from_slice(&length.to_le_bytes());
    put_bytes(values, &mut out)?;
    Some(out)
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
