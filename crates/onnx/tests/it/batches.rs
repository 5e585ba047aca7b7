//! Calls that are answered together get what they would get alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use sagebrush_core::logs::MemoryLog;
use sagebrush_core::worker::{Call, LaunchError, Reply, Runtime as _, Worker, WorkerError};
use sagebrush_onnx::{MAX_BATCH_DELAY_MS, MAX_BATCH_SIZE, OnnxRuntime};
use tokio::time::Instant;

use crate::support::{Folder, call, invoke, model_bytes, runtime, spec};

const JSON: &str = "application/json";
const NPY: &str = "application/x-npy";

/// A worker, and where its lines go.
struct Launched {
    worker: Arc<dyn Worker>,
    log: Arc<MemoryLog>,
}

impl Launched {
    /// The lines that were logged, but for the one that each load writes.
    fn remarks(&self) -> Vec<String> {
        let lines = self.log.lines().into_iter().map(|(_, line)| line);
        lines.filter(|line| !line.starts_with("loaded ONNX model")).collect()
    }
}

async fn try_launch(
    runtime: &OnnxRuntime,
    folder: Arc<Folder>,
    environment: &[(&str, &str)],
) -> Result<Launched, LaunchError> {
    let log = Arc::new(MemoryLog::default());
    let mut spec = spec(Some(folder));
    spec.log = Arc::clone(&log) as Arc<_>;
    let variables = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    spec.environment = variables.collect::<BTreeMap<_, _>>();
    let worker = runtime.launch(&spec).await?;
    Ok(Launched { worker, log })
}

async fn launch(model: &str, environment: &[(&str, &str)]) -> Launched {
    try_launch(&runtime(), Folder::of(model), environment).await.unwrap()
}

async fn check_size(model: &str, asked: Option<&str>, expected: usize, remark: Option<&str>) {
    let environment: Vec<_> = asked.map(|size| (MAX_BATCH_SIZE, size)).into_iter().collect();
    let launched = launch(model, &environment).await;
    assert_eq!(launched.worker.max_batch(), expected, "{model}, {asked:?} asked for");
    let remarks = launched.remarks();
    assert_eq!(remarks.first().map(String::as_str), remark, "{model}, {asked:?} asked for");
}

#[tokio::test]
async fn the_model_says_how_many_calls_it_answers_together() {
    // Rows of a fixed shape were seen to be independent.
    for model in
        ["iris_logistic", "iris_forest", "iris_zipmap", "iris_names", "two_inputs", "table"]
    {
        check_size(model, None, 32, None).await;
        check_size(model, Some("8"), 8, None).await;
        check_size(model, Some("1"), 1, None).await;
    }
    // Of others nothing is known but what is said.
    check_size("identity_float", None, 1, None).await;
    check_size("identity_float", Some("8"), 8, None).await;
    // The batch is fixed.
    check_size("one_pair", None, 1, None).await;
    let fixed = "batches of 8 calls are asked for, but the model takes rows one by one";
    check_size("one_pair", Some("8"), 1, Some(fixed)).await;
    check_size("scalar", Some("8"), 1, Some(fixed)).await;
    // The rows are no rows.
    let alone =
        "calls are answered one by one, for rows of the model change each other: the output";
    let asked = "batches of 8 calls are asked for, though rows of the model change each other: the \
                 output";
    let steps = r#""y" is another one then"#;
    check_size("running_sum", None, 1, Some(&format!("{alone} {steps}"))).await;
    check_size("running_sum", Some("8"), 8, Some(&format!("{asked} {steps}"))).await;
    let fewer = r#""y" is [1, 2] for 3 rows"#;
    check_size("positive_rows", None, 1, Some(&format!("{alone} {fewer}"))).await;
}

#[tokio::test]
async fn serving_json_says_it_and_the_environment_says_it_louder() {
    let check = async |environment: &[(&str, &str)], size: usize, delay: u64| {
        let serving = br#"{"version": 1, "batch": {"max_size": 4, "max_delay_ms": 5}}"#;
        let model = model_bytes("identity_float");
        let folder = Folder::with(&[("model.onnx", &model), ("serving.json", serving)]);
        let launched = try_launch(&runtime(), folder, environment).await.unwrap();
        assert_eq!(launched.worker.max_batch(), size, "{environment:?}");
        let delay = Duration::from_millis(delay);
        assert_eq!(launched.worker.max_batch_delay(), delay, "{environment:?}");
    };
    check(&[], 4, 5).await;
    check(&[(MAX_BATCH_SIZE, "9")], 9, 5).await;
    check(&[(MAX_BATCH_DELAY_MS, "0")], 4, 0).await;
    check(&[(MAX_BATCH_SIZE, "1024"), (MAX_BATCH_DELAY_MS, "1000")], 1024, 1000).await;
    assert_eq!(launch("iris_forest", &[]).await.worker.max_batch_delay(), Duration::ZERO);
}

#[tokio::test]
async fn says_what_a_size_may_be() {
    let check = async |name: &str, value: &str, expected: &str| {
        let runtime = runtime();
        let launched = try_launch(&runtime, Folder::of("iris_forest"), &[(name, value)]).await;
        let Err(LaunchError::Permanent { reason }) = launched.map(|_| ()) else {
            panic!("{name}={value} was taken");
        };
        assert_eq!(reason, expected);
        let mut spec = spec(None);
        spec.environment.insert(name.to_owned(), value.to_owned());
        assert!(runtime.host(&spec).await.is_err(), "a host tells at once");
    };
    let size = "The environment variable SAGEBRUSH_MAX_BATCH_SIZE must be a number from 1 to 1024";
    check(MAX_BATCH_SIZE, "0", &format!("{size}, not \"0\".")).await;
    check(MAX_BATCH_SIZE, "1025", &format!("{size}, not \"1025\".")).await;
    check(MAX_BATCH_SIZE, "many", &format!("{size}, not \"many\".")).await;
    let delay =
        "The environment variable SAGEBRUSH_MAX_BATCH_DELAY_MS must be a number from 0 to 1000";
    check(MAX_BATCH_DELAY_MS, "1001", &format!("{delay}, not \"1001\".")).await;
    check(MAX_BATCH_DELAY_MS, "", &format!("{delay}, not \"\".")).await;
}

/// What a call was answered, without what it took.
fn said(answer: &Result<Reply, WorkerError>) -> Result<(Option<String>, Vec<u8>), String> {
    match answer {
        Ok(reply) => Ok((reply.payload.content_type.clone(), reply.payload.body.to_vec())),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks that calls get together what they get alone.
async fn check(worker: &dyn Worker, calls: Vec<Call>) {
    let together = worker.invoke(calls.clone()).await;
    assert_eq!(together.len(), calls.len());
    for (together, call) in together.iter().zip(calls) {
        let described = format!("{call:?}");
        assert_eq!(said(together), said(&invoke(worker, call).await), "{described}");
    }
}

#[tokio::test]
async fn a_bad_row_fails_alone() {
    let launched = launch("table", &[]).await;
    let worker = &launched.worker;
    let rows = |rows: &str| call("text/csv", rows.to_owned());
    let calls = vec![rows("1\n2"), rows("3"), rows("99"), rows("x"), rows("-1")];
    let answers = worker.invoke(calls.clone()).await;
    let statuses = answers.iter().map(|answer| match answer {
        Ok(_) => 200,
        Err(WorkerError::Model { status, .. }) => *status,
        Err(other) => panic!("{other}"),
    });
    assert_eq!(statuses.collect::<Vec<_>>(), [200, 200, 400, 400, 200]);
    check(&**worker, calls).await;
    assert_eq!(launched.remarks(), [""; 0], "one bad row ends nothing");
}

#[tokio::test]
async fn late_calls_are_not_computed() {
    let Launched { worker, .. } = launch("table", &[]).await;
    let mut late = call("text/csv", "99");
    late.deadline = Instant::now();
    let calls = vec![call("text/csv", "1"), late, call("text/csv", "2")];
    let answers = worker.invoke(calls).await;
    assert!(matches!(answers[1], Err(WorkerError::TimedOut)), "{answers:?}");
    assert_eq!(answers[0].as_ref().unwrap().payload.body, "2.0,3.0\n");
    assert_eq!(answers[2].as_ref().unwrap().payload.body, "4.0,5.0\n");
}

#[tokio::test]
async fn says_what_a_run_took_for_all() {
    let Launched { worker, .. } = launch("iris_forest", &[]).await;
    let rows = "5.1,3.5,1.4,0.2\n".repeat(500);
    let answers = worker.invoke(vec![call("text/csv", rows); 3]).await;
    let timings = answers.iter().map(|answer| answer.as_ref().unwrap().timings);
    let timings: Vec<_> = timings.collect();
    assert!(timings.iter().all(|one| one.model == timings[0].model), "{timings:?}");
    assert!(timings.iter().all(|timings| !timings.pre.is_zero() && !timings.post.is_zero()));
}

#[tokio::test]
async fn a_model_that_answers_fewer_rows_stops_batching() {
    let Launched { worker, log } = launch("unique_rows", &[]).await;
    check(&*worker, vec![call("text/csv", "1,2\n3,4"), call("text/csv", "5,6")]).await;
    assert_eq!(worker.max_batch(), 32);
    check(&*worker, vec![call("text/csv", "1,2\n3,4"), call("text/csv", "1,2")]).await;
    assert_eq!(worker.max_batch(), 1);
    let (_, line) = log.lines().pop().unwrap();
    assert_eq!(
        line,
        "calls are answered one by one from now on, for the model does not answer several \
         together: the output \"y\" is [2, 2] for 3 rows"
    );
}

#[tokio::test]
async fn a_model_that_fails_on_batches_alone_stops_batching() {
    let Launched { worker, log } = launch("one_pair_at_most", &[(MAX_BATCH_SIZE, "8")]).await;
    assert_eq!(worker.max_batch(), 8);
    check(&*worker, vec![call("text/csv", "1,2"), call("text/csv", "1,2\n3,4")]).await;
    assert_eq!(worker.max_batch(), 8, "a call that fails alone may have been the reason");
    check(&*worker, vec![call("text/csv", "1,2"); 2]).await;
    assert_eq!(worker.max_batch(), 1);
    let (_, line) = log.lines().pop().unwrap();
    assert!(line.contains("one by one from now on"), "{line}");
}

/// An array of one row or more, as `numpy.save` writes it.
fn npy(rows: &[Vec<u8>]) -> Vec<u8> {
    let shape = format!("({}, {})", rows.len(), rows[0].len());
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &rows.concat()].concat()
}

/// Rows in one of the formats.
fn in_format(format: usize, rows: &[Vec<u8>]) -> Call {
    let lines =
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    let lines: Vec<String> = lines.collect();
    let lists = format!("[[{}]]", lines.join("],["));
    match format {
        0 => call("text/csv", lines.join("\n")),
        1 => call(JSON, format!(r#"{{"instances": {lists}}}"#)),
        2 => call(JSON, format!(r#"{{"inputs": {{"x": {lists}}}}}"#)),
        3 => call(NPY, npy(rows)),
        _ => {
            let (n, width) = (rows.len(), rows[0].len());
            let tensor = format!(
                r#"{{"name": "x", "shape": [{n}, {width}], "datatype": "FP32", "data": {lists}}}"#
            );
            call(JSON, format!(r#"{{"id": "{n}", "inputs": [{tensor}]}}"#))
        }
    }
}

/// Calls of one to three rows, each in some format and with some wish; some of them are bad.
fn any_call() -> impl Strategy<Value = Call> {
    let rows = (1usize..4, 1usize..3).prop_flat_map(|(n, width)| {
        prop::collection::vec(prop::collection::vec(any::<u8>(), width), n)
    });
    let accept = prop::sample::select(vec!["", "text/csv", JSON, NPY, "image/png"]);
    let bad = prop::sample::select(vec!["", "", "", "x,y", "1,2\n3", "[1, 2"]);
    (0usize..5, rows, accept, bad).prop_map(|(format, rows, accept, bad)| {
        let mut call =
            if bad.is_empty() { in_format(format, &rows) } else { call("text/csv", bad) };
        call.accept = Some(accept.to_owned()).filter(|accept| !accept.is_empty());
        call
    })
}

/// Each of a mix of calls gets together what it gets alone, in its place.
#[test]
fn mixed_calls_are_answered_as_alone() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let launched = tokio.block_on(launch("identity_float", &[(MAX_BATCH_SIZE, "32")]));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() };
    proptest!(config, |(calls in prop::collection::vec(any_call(), 1..12))| {
        tokio.block_on(check(&*launched.worker, calls));
    });
    assert_eq!(launched.remarks(), [""; 0], "batches go on");
}

/// As above with classifiers, whose rows have a fixed shape and several outputs.
#[tokio::test]
async fn classifiers_answer_batches_as_rows() {
    for model in ["iris_zipmap", "iris_names", "iris_logistic"] {
        let Launched { worker, .. } = launch(model, &[]).await;
        let calls: Vec<Call> = (0..6u8)
            .map(|n| {
                let row = format!("{}.5,3.5,{n}.25,0.25\n", 4 + n % 3);
                let mut call = call("text/csv", row.repeat(usize::from(1 + n % 2)));
                call.accept = (n % 3 == 0).then(|| JSON.to_owned());
                call
            })
            .collect();
        let together = worker.invoke(calls.clone()).await;
        for (together, call) in together.iter().zip(calls) {
            let alone = said(&invoke(&*worker, call).await).unwrap();
            let (content_type, body) = said(together).unwrap();
            assert_eq!(content_type, alone.0, "{model}");
            let (body, alone) = (String::from_utf8(body).unwrap(), alone.1);
            assert!(close(&body, &String::from_utf8(alone).unwrap()), "{model}: {body}");
        }
    }
}

/// A single array is taken from where it lies in the body, if it may lie there.
#[tokio::test]
async fn arrays_answer_wherever_they_lie() {
    let Launched { worker, .. } = launch("identity_uint8", &[]).await;
    let bytes = npy(&[vec![1, 2], vec![255, 0]]);
    let answer = invoke(&*worker, call(NPY, bytes)).await.unwrap();
    assert!(answer.payload.body.ends_with(&[1, 2, 255, 0]), "{answer:?}");
    let Launched { worker, .. } = launch("identity_float", &[]).await;
    let mut row = call("text/csv", "0.5,-2");
    row.accept = Some(NPY.to_owned());
    let array = invoke(&*worker, row).await.unwrap().payload.body;
    for shift in 0..8 {
        let body = Bytes::from([vec![0; shift], array.to_vec()].concat()).slice(shift..);
        let answer = invoke(&*worker, call(NPY, body)).await.unwrap();
        assert_eq!(answer.payload.body, array, "shifted by {shift}");
    }
}

/// A picture of one colour.
fn picture(colour: [u8; 3]) -> Call {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = RgbImage::from_pixel(8, 8, Rgb(colour));
    pixels.write_to(&mut png, ImageFormat::Png).unwrap();
    call("image/png", png.into_inner())
}

#[tokio::test]
async fn pictures_go_together() {
    let serving = br#"{"version": 1, "input": {"image": {"width": 8, "height": 8}}}"#;
    let model = model_bytes("identity_images");
    let folder = Folder::with(&[("model.onnx", &model), ("serving.json", serving)]);
    let Launched { worker, log } = try_launch(&runtime(), folder, &[]).await.unwrap();
    assert_eq!(worker.max_batch(), 32);
    let tensor = format!(r#"{{"instances": [[{}]]}}"#, ["[[1]]"; 3].join(","));
    let calls = vec![
        picture([255, 0, 0]),
        picture([0, 51, 0]),
        call("image/png", "no picture"),
        call(JSON, tensor),
        picture([0, 0, 102]),
    ];
    let answers = worker.invoke(calls.clone()).await;
    assert!(answers[2].is_err() && answers[3].is_err(), "{answers:?}");
    let run = |index: usize| answers[index].as_ref().unwrap().timings.model;
    assert!(run(0) == run(1) && run(1) == run(4), "one run for all");
    check(&*worker, calls).await;
    assert_eq!(worker.max_batch(), 32, "{:?}", log.lines());
}

#[tokio::test]
async fn decisions_are_each_callers_own() {
    let serving = br#"{"version": 1, "output": {"classification":
        {"tensor": "probabilities", "activation": "none", "top_k": 1}}}"#;
    let model = model_bytes("iris_forest");
    let folder = Folder::with(&[("model.onnx", &model), ("serving.json", serving)]);
    let Launched { worker, .. } = try_launch(&runtime(), folder, &[]).await.unwrap();
    let flowers = "5.1,3.5,1.4,0.2\n6.2,3.4,5.4,2.3\n";
    let calls = ["6.2,3.4,5.4,2.3", flowers, "5.1,3.5,1.4,0.2", "1,2"];
    check(&*worker, calls.map(|rows| call("text/csv", rows)).to_vec()).await;
}

/// Whether two texts are the same but for the noise of floats.
fn close(a: &str, b: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let is_of_a_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e');
        text.split(|c| !is_of_a_number(c)).map(str::to_owned).collect()
    };
    let (a, b) = (parts(a), parts(b));
    let same = |(a, b): (&String, &String)| match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() < 1e-5,
        _ => a == b,
    };
    a.len() == b.len() && a.iter().zip(&b).all(same)
}
