use half::f16;
use proptest::prelude::*;

use super::{append, lend, of, open, write};
use crate::formats::FormatError;
use crate::formats::tests::{batch, fixed, port, read as read_with};
use crate::port::{Dim, Port};
use crate::tensor::{Data, Dtype, Tensor, Values};

fn decode(ports: &[Port], body: &[u8]) -> Result<Vec<Tensor>, FormatError> {
    let decode = |into: &mut [Data]| Ok((super::decode(ports, body, into)?, ()));
    read_with(ports, decode).map(|(tensors, ())| tensors)
}

/// Reads a file as what it says it is.
fn read(body: &[u8]) -> Result<(Vec<usize>, Data), &'static str> {
    let (header, values) = open(body)?;
    let mut data = Data::empty(of(header.descr));
    append(header.descr, values, &mut data).unwrap();
    Ok((header.shape.into_vec(), data))
}

/// A file with this header, as `numpy.save` packs it.
fn file(version: u8, header: &str, values: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let length = if version == 1 { &length[..2] } else { &length[..] };
    [b"\x93NUMPY", [version, 0].as_slice(), length, header.as_bytes(), values].concat()
}

fn check(header: &str, values: &[u8], expected: Result<(&[usize], Data), &str>) {
    for version in 1..=3 {
        let found = read(&file(version, header, values));
        let expected = expected.clone().map(|(shape, data)| (shape.to_vec(), data));
        assert_eq!(found, expected, "version {version}: {header}");
    }
}

#[test]
fn reads_what_numpy_writes() {
    let floats = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
    check(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }      \n",
        &floats,
        Ok((&[1, 2], Data::F32(vec![1.0, 2.0]))),
    );
    check(
        "{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }\n",
        &[1, 0],
        Ok((&[2], Data::Bool(vec![true, false]))),
    );
    check(
        "{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n",
        &7i64.to_le_bytes(),
        Ok((&[], Data::I64(vec![7]))),
    );
}

#[test]
fn refuses_what_it_would_misread() {
    let check = |header, why| check(header, &[0; 8], Err(why));
    check(
        "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1), }",
        "the array is in Fortran order; save numpy.ascontiguousarray(array)",
    );
    check(
        "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
        "the array is big-endian; save array.astype(array.dtype.newbyteorder('<'))",
    );
    check(
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "the array's type is not a number or bool",
    );
    check(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        "the .npy file does not hold as many values as its shape says",
    );
    check(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 2), }",
        "the .npy file does not hold as many values as its shape says",
    );
    check(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "the header of the .npy file is not understood",
    );
    check("{'descr': '<f4'}", "the header of the .npy file is not understood");
    assert_eq!(read(b"PK\x03\x04"), Err("the body is not an .npy file"));
}

#[test]
fn becomes_the_inputs_type() {
    let x = [port("x", Dtype::F32, &[batch(), fixed(2)])];
    let body = write(&[1, 2], Data::F64(vec![0.5, 1.0]).values()).unwrap();
    assert_eq!(decode(&x, &body).unwrap()[0].data, Data::F32(vec![0.5, 1.0]));
    let body = write(&[1, 2], Data::F64(vec![0.5, 1e300]).values()).unwrap();
    assert_eq!(
        decode(&x, &body).unwrap_err().to_string(),
        r#"input "x" expects float32 [batch, 2], got float64 [1, 2], where a value is out of range"#
    );
    let several = [x[0].clone(), x[0].clone()];
    assert!(decode(&several, &body).unwrap_err().to_string().contains("several inputs"));
}

#[test]
fn is_lent_where_it_may_lie() {
    let x = [port("x", Dtype::F32, &[batch(), fixed(2)])];
    let body = write(&[1, 2], Data::F32(vec![0.5, 1.0]).values()).unwrap();
    let shifted = |by: usize| [vec![0; by], body.clone()].concat();
    let lent: Vec<bool> = (0..8)
        .map(|by| {
            let shifted = shifted(by);
            let lent = lend(&x, &shifted[by..]);
            let is_aligned = shifted[by..].as_ptr().addr().is_multiple_of(4);
            assert_eq!(lent.is_some(), is_aligned);
            if let Some((shapes, values)) = lent {
                assert_eq!(shapes[0].as_slice(), [1, 2]);
                assert_eq!(values, Values::F32(&[0.5, 1.0]));
            }
            is_aligned
        })
        .collect();
    assert_eq!(lent.iter().filter(|lent| **lent).count(), 2, "{lent:?}");
    let check_kept = |ports: &[Port], body: &[u8]| assert!(lend(ports, body).is_none());
    check_kept(&[x[0].clone(), x[0].clone()], &body);
    check_kept(&[port("x", Dtype::F64, &[batch(), fixed(2)])], &body);
    check_kept(&[port("x", Dtype::F32, &[batch(), fixed(3)])], &body);
    check_kept(&[port("x", Dtype::Bool, &[batch(), fixed(1)])], &file(1, BOOLS, &[2]));
    check_kept(&x, b"nothing");
}

const BOOLS: &str = "{'descr': '|b1', 'fortran_order': False, 'shape': (1, 1), }";

#[test]
fn values_start_at_a_multiple_of_64() {
    for dims in 0..20 {
        let body = write(&vec![1; dims], Data::U8(vec![9]).values()).unwrap();
        assert_eq!((body.len() - 1) % 64, 0, "{dims} dimensions");
    }
}

fn any_data() -> impl Strategy<Value = Data> {
    prop_oneof![
        any::<Vec<f32>>().prop_map(Data::F32),
        any::<Vec<f64>>().prop_map(Data::F64),
        any::<Vec<i16>>()
            .prop_map(|v| Data::F16(v.into_iter().map(|v| f16::from_f32(v.into())).collect())),
        any::<Vec<i8>>().prop_map(Data::I8),
        any::<Vec<i64>>().prop_map(Data::I64),
        any::<Vec<u16>>().prop_map(Data::U16),
        any::<Vec<u64>>().prop_map(Data::U64),
        any::<Vec<bool>>().prop_map(Data::Bool),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(data in any_data()) {
        let shape = vec![1, data.len()];
        let body = write(&shape, data.values()).unwrap();
        prop_assert_eq!(read(&body), Ok((shape, data)));
    }

    #[test]
    fn never_panics(bytes: Vec<u8>, header in "[ -~]{0,60}", descr in "<f4|<f8|[|]b1|<U3") {
        let _raw = read(&bytes);
        let _header = read(&file(1, &header, &bytes));
        let shaped = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({header}), }}");
        let x = [port("x", Dtype::I64, &[batch(), Dim::Any])];
        let _shaped = decode(&x, &file(1, &shaped, &bytes));
    }
}
