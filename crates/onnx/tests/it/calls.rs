//! Payloads in, payloads out.

use image::{ImageFormat, Rgb, RgbImage};
use sagebrush_core::worker::{Call, WorkerError};

use crate::support::{Folder, call, invoke, launch, model_bytes, text};

const JSON: &str = "application/json";
const CSV: &str = "text/csv; charset=utf-8";

async fn check(model: &str, call: Call, expected: (&str, &str)) {
    let worker = launch(Folder::of(model)).await.unwrap();
    let reply = invoke(&*worker, call.clone()).await.unwrap_or_else(|error| panic!("{error}"));
    let (content_type, body) = text(&reply);
    assert_eq!((content_type, body.as_str()), expected, "{model} {call:?}");
}

async fn check_refused(model: &str, call: Call, expected: (u16, &str)) {
    let worker = launch(Folder::of(model)).await.unwrap();
    match invoke(&*worker, call).await {
        Err(WorkerError::Model { status, message, .. }) => {
            assert_eq!((status, message.as_str()), expected, "{model}");
        }
        other => panic!("{model}: {other:?} instead of {expected:?}"),
    }
}

fn accepting(accept: &str, mut call: Call) -> Call {
    call.accept = Some(accept.to_owned());
    call
}

const SETOSA: &str = "5.1,3.5,1.4,0.2";

#[tokio::test]
async fn classifiers_of_sklearn() {
    // What `LogisticRegression.predict` and `predict_proba` of scikit-learn say of these flowers.
    let flowers = format!("{SETOSA}\n6.2,3.4,5.4,2.3\n");
    let scores = [[0.981_657, 0.018_343, 0.0], [0.000_045, 0.038_649, 0.961_306]];
    for (model, labels) in [
        ("iris_logistic", ["0", "2"]),
        ("iris_zipmap", ["0", "2"]),
        ("iris_names", ["setosa", "virginica"]),
    ] {
        let worker = launch(Folder::of(model)).await.unwrap();
        let reply = invoke(&*worker, call("text/csv", flowers.clone())).await.unwrap();
        let (content_type, body) = text(&reply);
        assert_eq!((content_type, body.lines().count()), (CSV, 2), "{model}: {body}");
        for ((line, label), scores) in body.lines().zip(labels).zip(scores) {
            let (said, rest) = line.split_once(',').unwrap();
            assert_eq!(said, label, "{model}");
            let said: Vec<f64> = rest.split(',').map(|score| score.parse().unwrap()).collect();
            let close = said.iter().zip(scores).all(|(said, score)| (said - score).abs() < 1e-5);
            assert!(close && said.len() == scores.len(), "{model}: {said:?}");
        }
    }
}

#[tokio::test]
async fn forms_of_a_classifiers_answer() {
    check("iris_forest", call("text/csv", SETOSA), (CSV, "0,1.0,0.0,0.0\n")).await;
    check(
        "iris_forest",
        call(JSON, format!(r#"{{"instances": [[{SETOSA}], [6.2, 3.4, 5.4, 2.3]]}}"#)),
        (
            JSON,
            r#"{"predictions":[{"label":0,"probabilities":[1.0,0.0,0.0]},{"label":2,"probabilities":[0.0,0.0,1.0]}]}"#,
        ),
    )
    .await;
    let worker = launch(Folder::of("iris_zipmap")).await.unwrap();
    let reply = invoke(&*worker, call(JSON, format!("[[{SETOSA}]]"))).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&reply.payload.body).unwrap();
    let row = answer["predictions"][0].as_object().unwrap();
    assert_eq!(row["output_label"], 0);
    let classes: Vec<&String> = row["output_probability"].as_object().unwrap().keys().collect();
    assert_eq!(classes, ["0", "1", "2"]);
}

#[tokio::test]
async fn each_type_comes_back() {
    let cases = [
        ("identity_float", "[[0.1,-2.0]]"),
        ("identity_double", "[[0.1,-2.0]]"),
        ("identity_half", "[[0.5,-2.0]]"),
        ("identity_int64", "[[1,-9007199254740993]]"),
        ("identity_uint8", "[[0,255]]"),
        ("identity_bool", "[[true,false]]"),
        ("identity_string", r#"[["a","ü\""]]"#),
    ];
    for (model, rows) in cases {
        check(model, call(JSON, rows), (JSON, &format!(r#"{{"predictions":{rows}}}"#))).await;
        let columns = format!(r#"{{"inputs":{rows}}}"#);
        let answer = format!(r#"{{"outputs":{{"y":{rows}}}}}"#);
        check(model, call(JSON, columns), (JSON, &answer)).await;
    }
    check("identity_string", call("text/csv", "a,\"b,c\"\n"), (CSV, "a,\"b,c\"\n")).await;
    check("scalar", call(JSON, r#"{"inputs": 7}"#), (JSON, r#"{"outputs":{"y":7.0}}"#)).await;
}

#[tokio::test]
async fn several_inputs() {
    let answer = r#"{"predictions":[{"sum":[3.0],"difference":[-1.0]}]}"#;
    check("two_inputs", call(JSON, r#"[{"a": 1, "b": 2}]"#), (JSON, answer)).await;
    check("two_inputs", call("text/csv", "1,2\n5,3"), (CSV, "3.0,-1.0\n8.0,2.0\n")).await;
    check(
        "two_inputs",
        call(
            JSON,
            r#"{"id": "i", "inputs": [
                {"name": "a", "shape": [1, 1], "datatype": "FP32", "data": [1]},
                {"name": "b", "shape": [1, 1], "datatype": "FP32", "data": [2]}],
                "outputs": [{"name": "sum"}]}"#,
        ),
        (
            JSON,
            r#"{"model_name":"model","id":"i","outputs":[{"name":"sum","shape":[1,1],"datatype":"FP32","data":[3.0]}]}"#,
        ),
    )
    .await;
}

#[tokio::test]
async fn answers_as_accepted() {
    let row = || call("text/csv", "1,2");
    let json = r#"{"predictions":[[1.0,2.0]]}"#;
    check("identity_float", accepting(JSON, row()), (JSON, json)).await;
    check("identity_float", accepting("text/html, */*;q=0.1", row()), (CSV, "1.0,2.0\n")).await;
    check("identity_float", accepting("text/csv", call(JSON, "[[1,2]]")), (CSV, "1.0,2.0\n")).await;
    let npy = "application/x-npy";
    let worker = launch(Folder::of("identity_float")).await.unwrap();
    let reply = invoke(&*worker, accepting(npy, row())).await.unwrap();
    let again = call(npy, reply.payload.body);
    check("identity_float", accepting(JSON, again), (JSON, json)).await;
    check_refused(
        "identity_float",
        accepting("image/png", row()),
        (406, r#"cannot answer as "image/png"; accept text/csv, application/json or application/x-npy"#),
    )
    .await;
}

#[tokio::test]
async fn odd_numbers_stay_valid() {
    let roots = r#"{"predictions":[2.0,null]}"#;
    check("square_root", accepting(JSON, call("text/csv", "4\n-1\n")), (JSON, roots)).await;
    check("square_root", call("text/csv", "4\n-1\n"), (CSV, "2.0\nnan\n")).await;
}

#[tokio::test]
async fn says_what_does_not_fit() {
    check_refused(
        "iris_forest",
        call("text/csv", "1,2,3"),
        (400, r#"input "float_input" expects float32 [?, 4], got rows of 3 columns"#),
    )
    .await;
    check_refused(
        "iris_forest",
        call(JSON, "[[1,2,3],[4,5,6]]"),
        (400, r#"input "float_input" expects float32 [?, 4], got [2, 3]"#),
    )
    .await;
    let supported = "is not supported; send text/csv, application/json or application/x-npy";
    check_refused(
        "iris_forest",
        call("application/x-parquet", ""),
        (415, &format!("content type application/x-parquet {supported}")),
    )
    .await;
    let mut untyped = call("", SETOSA);
    untyped.payload.content_type = None;
    check_refused(
        "iris_forest",
        untyped,
        (415, &format!("content type application/octet-stream {supported}")),
    )
    .await;
    check_refused(
        "iris_forest",
        call("image/png", "x"),
        (415, "the model takes no pictures: its archive has no serving.json that says how"),
    )
    .await;
}

#[tokio::test]
async fn a_run_that_fails_is_the_models_fault() {
    let worker = launch(Folder::of("reshape_to_four")).await.unwrap();
    let Err(WorkerError::Model { status, message, .. }) =
        invoke(&*worker, call("text/csv", "1,2,3")).await
    else {
        panic!("three numbers became four");
    };
    assert_eq!(status, 500);
    assert!(message.starts_with("the model failed: "), "{message}");
    assert!(!message.contains("/onnxruntime_src/"), "{message}");
    assert!(invoke(&*worker, call("text/csv", "1,2,3,4")).await.is_ok());
}

#[tokio::test]
async fn pictures() {
    let mut png = std::io::Cursor::new(Vec::new());
    let red = RgbImage::from_pixel(8, 8, Rgb([255, 0, 51]));
    red.write_to(&mut png, ImageFormat::Png).unwrap();
    let serving = br#"{"version": 1, "input": {"image": {"width": 8, "height": 8}}}"#;
    let model = model_bytes("identity_image");
    let folder = Folder::with(&[("model.onnx", &model), ("serving.json", serving)]);
    let worker = launch(folder).await.unwrap();
    let picture = accepting("text/csv", call("image/png", png.into_inner()));
    let reply = invoke(&*worker, picture).await.unwrap();
    let plane = |value: &str| vec![value; 64].join(",");
    assert_eq!(
        text(&reply),
        (CSV, format!("{},{},{}\n", plane("1.0"), plane("0.0"), plane("0.2")))
    );
    let broken = invoke(&*worker, call("image/png", "x")).await;
    assert!(matches!(broken, Err(WorkerError::Model { status: 400, .. })), "{broken:?}");
}

#[tokio::test]
async fn decisions() {
    let serving = br#"{"version": 1, "output": {"classification":
        {"tensor": "probabilities", "activation": "none", "top_k": 1}}}"#;
    let model = model_bytes("iris_forest");
    let folder = Folder::with(&[("model.onnx", &model), ("serving.json", serving)]);
    let worker = launch(folder).await.unwrap();
    let reply = invoke(&*worker, call("text/csv", SETOSA)).await.unwrap();
    let (content_type, body) = text(&reply);
    assert_eq!(content_type, JSON);
    assert!(body.contains("1"), "{body}");
    let as_csv = invoke(&*worker, accepting("text/csv", call("text/csv", SETOSA))).await;
    assert!(matches!(as_csv, Err(WorkerError::Model { status: 406, .. })), "{as_csv:?}");
}
