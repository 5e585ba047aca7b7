use proptest::prelude::*;

use super::{encode_columns, encode_rows};
use crate::formats::tests::{batch, fixed, output, port, read, tensor};
use crate::formats::{Form, FormatError, oip};
use crate::model::Output;
use crate::port::Port;
use crate::tensor::{Data, Dtype, Tensor};

fn floats(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    tensor(name, shape, Data::F32(values.to_vec()))
}

/// A payload as tensors.
#[derive(Debug)]
struct Request {
    inputs: Vec<Tensor>,
    form: Form,
}

fn decode(ports: &[Port], body: &[u8]) -> Result<Request, FormatError> {
    let decode = |into: &mut [Data]| {
        let request = super::decode(ports, body, into)?;
        Ok((request.shapes, request.form))
    };
    read(ports, decode).map(|(inputs, form)| Request { inputs, form })
}

fn one() -> [Port; 1] {
    [port("x", Dtype::F32, &[batch(), fixed(2)])]
}

fn two() -> [Port; 2] {
    [port("a", Dtype::F32, &[batch(), fixed(1)]), port("b", Dtype::Str, &[batch()])]
}

fn check(ports: &[Port], body: &str, form: &Form, expected: &[Tensor]) {
    let request = decode(ports, body.as_bytes()).unwrap();
    assert_eq!((request.inputs.as_slice(), &request.form), (expected, form), "{body}");
}

fn check_refused(ports: &[Port], body: &str, expected: &str) {
    let error = decode(ports, body.as_bytes()).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.status()), (expected, 400), "{body}");
}

#[test]
fn rows() {
    let expected = [floats("x", &[2, 2], &[1.0, 2.0, 3.0, 4.5])];
    check(&one(), r#"{"instances": [[1, 2], [3, 4.5]]}"#, &Form::Rows, &expected);
    check(&one(), " [[1, 2], [3, 4.5]] ", &Form::Rows, &expected);
    check(&one(), r#"{"instances": [{"x": [1, 2]}, {"x": [3, 4.5]}]}"#, &Form::Rows, &expected);
    check(
        &one(),
        r#"{"signature_name": "s", "instances": [[1,2],[3,4.5]]}"#,
        &Form::Rows,
        &expected,
    );
    check(&one(), "[1, 2]", &Form::Rows, &[floats("x", &[1, 2], &[1.0, 2.0])]);
    let texts = Data::Str(vec!["u".to_owned(), "v".to_owned()]);
    let expected = [floats("a", &[2, 1], &[1.0, 2.0]), tensor("b", &[2], texts)];
    check(&two(), r#"[{"a": 1, "b": "u"}, {"b": "v", "a": 2}]"#, &Form::Rows, &expected);
    check(&two(), r#"[{"a": [1], "b": "u"}, {"b": "v", "a": [2]}]"#, &Form::Rows, &expected);
}

#[test]
fn columns() {
    let expected = [floats("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0])];
    check(&one(), r#"{"inputs": [[1, 2], [3, 4]]}"#, &Form::Columns, &expected);
    check(&one(), r#"{"inputs": {"x": [[1, 2], [3, 4]]}}"#, &Form::Columns, &expected);
    check(&one(), r#"{"inputs": [1, 2]}"#, &Form::Columns, &[floats("x", &[1, 2], &[1.0, 2.0])]);
    let texts = Data::Str(vec!["u".to_owned(), "v".to_owned()]);
    let expected = [floats("a", &[2, 1], &[1.0, 2.0]), tensor("b", &[2], texts)];
    check(&two(), r#"{"inputs": {"a": [1, 2], "b": ["u", "v"]}}"#, &Form::Columns, &expected);
    let scalar = [port("x", Dtype::F32, &[])];
    check(&scalar, r#"{"inputs": 5}"#, &Form::Columns, &[floats("x", &[], &[5.0])]);
}

#[test]
fn open_inference() {
    let body = r#"{"id": "7", "inputs": [
        {"name": "b", "shape": [2], "datatype": "BYTES", "data": ["u", "v"]},
        {"name": "a", "shape": [2, 1], "datatype": "FP32", "data": [1, 2], "parameters": {}}],
        "outputs": [{"name": "y"}]}"#;
    let request = decode(&two(), body.as_bytes()).unwrap();
    let texts = Data::Str(vec!["u".to_owned(), "v".to_owned()]);
    let expected = [floats("a", &[2, 1], &[1.0, 2.0]), tensor("b", &[2], texts)];
    assert_eq!(request.inputs, expected);
    let Form::OpenInference(wanted) = request.form else { panic!("{:?}", request.form) };
    let answered = |outputs: &[Output<'_>]| {
        let body = oip::encode(&wanted, "m", outputs).map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8(body).unwrap())
    };
    let y = floats("y", &[1, 2], &[0.5, f32::NAN]);
    let z = floats("z", &[1], &[1.0]);
    insta::assert_snapshot!(
        answered(&[output(&y), output(&z)]).unwrap(),
        @r#"{"model_name":"m","id":"7","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.5,null]}]}"#
    );
    insta::assert_snapshot!(
        answered(&[output(&z)]).unwrap_err(),
        @r#""y" is no output; the model's outputs are ["z"]"#
    );
}

#[test]
fn open_inference_refused() {
    let check = |tensor: &str, expected: &str| {
        check_refused(&one(), &format!(r#"{{"inputs": [{{{tensor}}}]}}"#), expected);
    };
    check(
        r#""name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2]"#,
        r#"input "x" expects float32 [batch, 2], got 2 values for the shape [2, 2]"#,
    );
    check(
        r#""name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]"#,
        r#"input "x" expects float32 [batch, 2], got [1, 3]"#,
    );
    check(
        r#""name": "x", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]"#,
        r#"input "x" expects float32 [batch, 2], got the datatype "INT64"; send "FP32""#,
    );
    check(
        r#""name": "w", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]"#,
        r#""w" is no input; the model's inputs are "x""#,
    );
    check(
        r#""name": "x", "shape": [18446744073709551615, 2], "datatype": "FP32", "data": []"#,
        r#"input "x" expects float32 [batch, 2], got 0 values for the shape [18446744073709551615, 2]"#,
    );
}

#[test]
fn says_what_is_wrong() {
    let of_x = |why: &str| format!(r#"input "x" expects float32 [batch, 2]{why}"#);
    check_refused(
        &one(),
        "[[1,2],[3]]",
        &of_x(": the arrays of one level differ in their lengths"),
    );
    check_refused(&one(), "[[1,2],3]", &of_x(": the arrays of one level differ in their lengths"));
    check_refused(&one(), "[[1,[2]]]", &of_x(": the arrays of one level differ in their lengths"));
    check_refused(&one(), "[[1,2,3]]", &of_x(", got [1, 3]"));
    check_refused(&one(), "[]", &of_x(", got [0]"));
    check_refused(&one(), r#"{"instances": [1, 2]}"#, &of_x(", got [2]"));
    check_refused(&one(), r#"[[1,"2"]]"#, &of_x(r#": "2" is not a number"#));
    check_refused(&one(), "[[1,null]]", &of_x(": null is not a value; fill in what is missing"));
    check_refused(&one(), "[[1,1e39]]", &of_x(": 1e+39 is out of range"));
    check_refused(&one(), "[[1,{}]]", &of_x(": an object stands where a value is wanted"));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    check_refused(&one(), &deep, &of_x(": the arrays nest too deep"));
    check_refused(
        &two(),
        r#"[{"a": 1, "b": "u"}, {"a": 2}]"#,
        r#"row 2 lacks the input "b"; the model's inputs are "a", "b""#,
    );
    check_refused(
        &two(),
        r#"{"inputs": {"a": [1], "b": ["u"], "c": [1]}}"#,
        r#""inputs" names "c", which is no input; the model's inputs are "a", "b""#,
    );
    check_refused(&two(), "[[1, 2]]", r#"the model has several inputs; name them: "a", "b""#);
    check_refused(
        &one(),
        r#"{"data": [[1, 2]]}"#,
        r#"expected {"instances": [..]}, {"inputs": ..} or a list of rows"#,
    );
    for body in ["", "nonsense", "5", "{", "[1, NaN]"] {
        let error = decode(&one(), body.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("the body is not a JSON object or list"), "{error}");
    }
}

fn encoded(write: fn(&[Output<'_>]) -> Vec<u8>, outputs: &[Tensor]) -> String {
    let outputs: Vec<_> = outputs.iter().map(output).collect();
    String::from_utf8(write(&outputs)).unwrap()
}

#[test]
fn writes_rows_and_columns() {
    let label = tensor("label", &[2], Data::I64(vec![0, 2]));
    let scores = floats("scores", &[2, 2], &[0.5, 0.1, f32::INFINITY, f32::NAN]);
    insta::assert_snapshot!(
        encoded(encode_rows, std::slice::from_ref(&scores)),
        @r#"{"predictions":[[0.5,0.1],[null,null]]}"#
    );
    insta::assert_snapshot!(
        encoded(encode_rows, &[label.clone(), scores.clone()]),
        @r#"{"predictions":[{"label":0,"scores":[0.5,0.1]},{"label":2,"scores":[null,null]}]}"#
    );
    insta::assert_snapshot!(
        encoded(encode_columns, &[label.clone(), scores]),
        @r#"{"outputs":{"label":[0,2],"scores":[[0.5,0.1],[null,null]]}}"#
    );
    insta::assert_snapshot!(
        encoded(encode_rows, &[label, floats("mean", &[], &[1.0])]),
        @r#"{"outputs":{"label":[0,2],"mean":1.0}}"#
    );
}

#[test]
fn writes_classes_by_name() {
    let tensor = floats("scores", &[1, 2], &[0.75, 0.25]);
    let classes = ["a".to_owned(), "b\"".to_owned()];
    let output = Output { classes: Some(&classes), ..output(&tensor) };
    insta::assert_snapshot!(
        String::from_utf8(encode_rows(&[output])).unwrap(),
        @r#"{"predictions":[{"a":0.75,"b\"":0.25}]}"#
    );
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let _one = decode(&one(), &bytes);
        let _two = decode(&two(), &bytes);
    }

    #[test]
    fn never_panics_on_json(body in r#"[\[\]{}",:0-9a-z. -]{0,40}"#, key in "instances|inputs") {
        for body in [format!(r#"{{"{key}":{body}}}"#), format!(r#"{{"{key}":[{{{body}}}]}}"#)] {
            let _one = decode(&one(), body.as_bytes());
            let _two = decode(&two(), body.as_bytes());
        }
    }

    #[test]
    fn numbers_read_back(rows in prop::collection::vec([-1e30f32..1e30, -1.0..1.0], 1..9)) {
        let sent = floats("x", &[rows.len(), 2], rows.as_flattened());
        let body = encoded(encode_rows, std::slice::from_ref(&sent)).replace("predictions", "instances");
        prop_assert_eq!(decode(&one(), body.as_bytes()).unwrap().inputs, vec![sent]);
    }

    /// A plain array is read in one go, and one with a row by name is not: both say the same.
    #[test]
    fn plain_arrays_read_as_others(
        array in r"(\[|\]|,|-|[0-9]|\.|e|[0-9]{1,3}|\[[0-9.]{1,3},[0-9]\]| ){1,9}",
    ) {
        for dtype in [Dtype::F32, Dtype::I64] {
            let ports = [port("x", dtype, &[batch(), fixed(2)])];
            let inputs = |body: String| {
                decode(&ports, body.as_bytes()).map(|request| request.inputs).ok()
            };
            let plain = inputs(format!(r#"{{"inputs": {array}}}"#));
            prop_assert_eq!(&plain, &inputs(format!(r#"{{"other": 0, "inputs": {array}}}"#)));
            prop_assert_eq!(&plain, &inputs(format!(r#"{{"inputs": {{"x": {array}}}}}"#)));
        }
    }
}
