use proptest::prelude::*;

use super::encode;
use crate::formats::FormatError;
use crate::formats::tests::{batch, fixed, output, port, read, tensor};
use crate::port::{Dim, Port};
use crate::tensor::{Data, Dtype, Tensor};

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    tensor("x", shape, Data::F32(values.to_vec()))
}

fn decode(ports: &[Port], body: &[u8]) -> Result<Vec<Tensor>, FormatError> {
    let decode = |into: &mut [Data]| Ok((super::decode(ports, body, into)?, ()));
    read(ports, decode).map(|(tensors, ())| tensors)
}

fn check(ports: &[Port], body: &str, expected: &[Tensor]) {
    assert_eq!(decode(ports, body.as_bytes()).as_deref(), Ok(expected), "{body:?}");
}

fn check_refused(ports: &[Port], body: &str, expected: &str) {
    let error = decode(ports, body.as_bytes()).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.status()), (expected, 400), "{body:?}");
}

#[test]
fn rows_of_the_only_input() {
    let x = [port("x", Dtype::F32, &[batch(), fixed(2)])];
    let two = floats(&[2, 2], &[1.0, 2.5, -3.0, 4e-3]);
    check(&x, "1,2.5\n-3,4e-3\n", std::slice::from_ref(&two));
    check(&x, "1,2.5\r\n-3,4e-3", std::slice::from_ref(&two));
    check(&x, "\n1, 2.5\n\n\n -3 ,4e-3\n\n", std::slice::from_ref(&two));
    check(&x, "\u{feff}\"1\",\"2.5\"\n-3,4e-3", std::slice::from_ref(&two));
    let any = [port("x", Dtype::F32, &[batch(), Dim::Any])];
    check(&any, "1,2,3", &[floats(&[1, 3], &[1.0, 2.0, 3.0])]);
    let column = [port("x", Dtype::F32, &[batch()])];
    check(&column, "1\n2\n", &[floats(&[2], &[1.0, 2.0])]);
    let image = [port("x", Dtype::F32, &[fixed(1), fixed(2), fixed(2)])];
    check(&image, "1,2,3,4", &[floats(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])]);
    check(&[port("x", Dtype::F32, &[])], "7", &[floats(&[], &[7.0])]);
}

#[test]
fn columns_of_several_inputs() {
    let ports = [
        port("age", Dtype::I64, &[batch(), fixed(1)]),
        port("town", Dtype::Str, &[batch()]),
        port("x", Dtype::F32, &[batch(), fixed(2)]),
    ];
    let towns = ["Ulm, \"old\"".to_owned(), " two\nlines".to_owned()];
    let expected = [
        tensor("age", &[2, 1], Data::I64(vec![30, 31])),
        tensor("town", &[2], Data::Str(towns.to_vec())),
        floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0]),
    ];
    check(&ports, "30,\"Ulm, \"\"old\"\"\",1,2\n31.0,\" two\nlines\",3,4\n", &expected);
    check_refused(
        &ports,
        "30,Ulm,1",
        r#"the inputs "age", "town", "x" take 4 columns together, got rows of 3 columns"#,
    );
}

#[test]
fn says_where_a_value_is_wrong() {
    let x = [port("x", Dtype::F32, &[batch(), fixed(2)])];
    let two_columns = r#"input "x" expects float32 [batch, 2], got rows of 3 columns"#;
    check_refused(&x, "1,2,3", two_columns);
    check_refused(&x, "1,2\n3\n", "row 2 has 1 columns, the first has 2");
    check_refused(&x, "1,2\n3,\n", r#"input "x": row 2, column 2 is empty"#);
    check_refused(&x, "1,2\nNaN,3\n", r#"input "x": row 2, column 1 ("NaN") is not a number"#);
    check_refused(&x, "1,2\n-inf,3\n", r#"input "x": row 2, column 1 ("-inf") is not a number"#);
    check_refused(&x, "1,1e39", r#"input "x": row 1, column 2 ("1e39") is out of range"#);
    check_refused(
        &x,
        "a,b\n1,2",
        r#"input "x": row 1, column 1 ("a") is not a number; send the rows without a header line"#,
    );
    check_refused(&x, "", "the body holds no rows");
    check_refused(&x, "\n \n", "the body holds no rows");
    check_refused(&x, "\"1,2", "row 1 has a quote that is not closed");
    check_refused(&x, "\"1\"1,2", "row 1 has text behind a closing quote");
    let fixed_batch = [port("x", Dtype::F32, &[fixed(1), fixed(2)])];
    check_refused(&fixed_batch, "1,2\n3,4", r#"input "x" expects float32 [1, 2], got [2, 2]"#);
    let whole = [port("n", Dtype::I64, &[batch(), fixed(1)])];
    check_refused(&whole, "1.5", r#"input "n": row 1, column 1 ("1.5") is not a whole number"#);
    assert!(decode(&x, b"\xff").unwrap_err().to_string().starts_with("the body is not UTF-8"));
}

fn check_encoded(outputs: &[Tensor], expected: &str) {
    let outputs: Vec<_> = outputs.iter().map(output).collect();
    let encoded = encode(&outputs).unwrap();
    assert_eq!(String::from_utf8(encoded).unwrap(), expected);
}

#[test]
fn writes_a_line_a_row() {
    check_encoded(&[floats(&[2], &[0.1, 2.0])], "0.1\n2.0\n");
    let label = tensor("label", &[2], Data::I64(vec![0, 2]));
    check_encoded(&[label, floats(&[2, 2], &[0.5, 0.5, 1.0, 0.0])], "0,0.5,0.5\n2,1.0,0.0\n");
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    check_encoded(&[floats(&[1, 3], &odd)], "nan,inf,-inf\n");
    check_encoded(&[floats(&[], &[7.0])], "7.0\n");
    check_encoded(&[floats(&[0, 3], &[])], "");
    let texts = ["plain", "a,b", "say \"x\""].map(str::to_owned);
    check_encoded(
        &[tensor("x", &[1, 3], Data::Str(texts.to_vec()))],
        "plain,\"a,b\",\"say \"\"x\"\"\"\n",
    );
}

#[test]
fn refuses_outputs_without_common_rows() {
    let outputs = [floats(&[2], &[1.0, 2.0]), floats(&[3], &[1.0, 2.0, 3.0])];
    let outputs = outputs.each_ref().map(output);
    assert_eq!(encode(&outputs).unwrap_err().status(), 406);
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        for dtype in [Dtype::F32, Dtype::Str] {
            let _read = decode(&[port("x", dtype, &[batch(), Dim::Any])], &bytes);
        }
    }

    #[test]
    fn what_is_written_reads_back(rows in prop::collection::vec([-1e30f32..1e30, -1.0..1.0], 1..9)) {
        let sent = floats(&[rows.len(), 2], rows.as_flattened());
        let body = encode(&[output(&sent)]).unwrap();
        let read = decode(&[port("x", Dtype::F32, &[batch(), fixed(2)])], &body);
        prop_assert_eq!(read, Ok(vec![sent]));
    }

    #[test]
    fn strings_read_back(rows in prop::collection::vec("[^\0\u{feff}]{1,8}", 1..9)) {
        // A line of blanks alone counts as empty.
        prop_assume!(rows.iter().all(|row| !row.trim().is_empty()));
        let sent = tensor("x", &[rows.len()], Data::Str(rows));
        let body = encode(&[output(&sent)]).unwrap();
        prop_assert_eq!(decode(&[port("x", Dtype::Str, &[batch()])], &body), Ok(vec![sent]));
    }

    /// What is plain is read in one go, and what is quoted field by field: both say the same.
    #[test]
    fn plain_rows_read_as_others(
        rows in prop::collection::vec(prop::collection::vec("[0-9+.e-]{0,5}|[a-z ]{0,3}", 2..4), 1..4),
    ) {
        let text = |quote: &str| {
            let row = |row: &Vec<String>| {
                row.iter().map(|field| format!("{quote}{field}{quote}")).collect::<Vec<_>>().join(",")
            };
            rows.iter().map(row).collect::<Vec<_>>().join("\n")
        };
        prop_assume!(!rows.iter().any(|row| row.concat().trim().is_empty()));
        for dtype in [Dtype::F32, Dtype::F64, Dtype::I64, Dtype::U8] {
            for width in [fixed(2), Dim::Any] {
                let ports = [port("x", dtype, &[batch(), width])];
                let plain = decode(&ports, text("").as_bytes());
                prop_assert_eq!(plain, decode(&ports, text("\"").as_bytes()));
            }
        }
    }
}
