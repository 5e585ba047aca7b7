use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::serving_json::{Activation, BoxSource, Classification, Detections};

/// Outputs by name.
struct Given(Vec<(&'static str, Vec<usize>, Vec<f32>)>);

impl Outputs for Given {
    fn tensor(&self, name: &str) -> Option<(Vec<usize>, &[f32])> {
        let (_, shape, values) = self.0.iter().find(|(given, ..)| *given == name)?;
        Some((shape.clone(), values))
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, ..)| *name).collect()
    }
}

fn one(shape: &[usize], values: &[f32]) -> Given {
    Given(vec![("out", shape.to_vec(), values.to_vec())])
}

fn detector(source: BoxSource) -> Detections {
    Detections {
        source,
        labels: None,
        score_threshold: 0.4,
        iou_threshold: Some(0.5),
        class_agnostic: false,
        max_detections: 300,
    }
}

fn classifier(activation: Activation, top_k: usize) -> Classification {
    Classification { tensor: None, activation, top_k, labels: None }
}

fn yolov8() -> Detections {
    detector(BoxSource::YoloV8 { tensor: None })
}

fn boxes() -> Detections {
    let [boxes, scores, classes] = ["boxes", "scores", "classes"].map(str::to_owned);
    detector(BoxSource::Boxes { boxes, scores, classes })
}

/// The answer without labels.
fn answer(output: Output, given: &Given, geometry: Option<&Geometry>) -> Value {
    let post = PostProcessor { output, labels: None };
    serde_json::from_slice(&post.apply(given, geometry).unwrap()).unwrap()
}

fn refused(output: Output, given: &Given) -> String {
    PostProcessor { output, labels: None }.apply(given, None).unwrap_err().to_string()
}

/// Class, score and corners of what was found.
fn found(answer: &Value) -> Vec<(u64, f64, Vec<f64>)> {
    let found = |item: &Value| {
        let corners = item["box"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap());
        (item["class"].as_u64().unwrap(), item["score"].as_f64().unwrap(), corners.collect())
    };
    answer["detections"].as_array().unwrap().iter().map(found).collect()
}

/// Anchors in rows, each `[cx, cy, w, h, scores..]`, as `YOLOv8` says them: in columns.
fn columns(rows: &[&[f32]]) -> Given {
    let channels = rows[0].len();
    let values: Vec<f32> =
        (0..channels).flat_map(|channel| rows.iter().map(move |row| row[channel])).collect();
    one(&[1, channels, rows.len()], &values)
}

const TWICE: [&[f32]; 5] = [
    &[50.0, 50.0, 20.0, 20.0, 0.75, 0.1],
    &[52.0, 50.0, 20.0, 20.0, 0.875, 0.2], // The same thing, surer.
    &[51.0, 50.0, 20.0, 20.0, 0.1, 0.5],   // At the same place, but of another class.
    &[90.0, 90.0, 10.0, 10.0, 0.39, 0.0],  // Not sure enough.
    &[10.0, 10.0, 10.0, 10.0, 0.4, 0.0],   // Just sure enough.
];

#[test]
fn yolov8_finds_each_thing_once() {
    let answer = answer(Output::Detections(yolov8()), &columns(&TWICE), None);
    let expected = vec![
        (0, 0.875, vec![42.0, 40.0, 62.0, 60.0]),
        (1, 0.5, vec![41.0, 40.0, 61.0, 60.0]),
        (0, 0.4, vec![5.0, 5.0, 15.0, 15.0]),
    ];
    assert_eq!(found(&answer), expected);
    assert_eq!(answer["detections"][0]["label"], "0");
    assert_eq!(answer.get("image"), None);
}

#[test]
fn yolov5_weighs_by_objectness() {
    let rows = [
        [50.0, 50.0, 20.0, 20.0, 0.5, 1.0, 0.2],
        [52.0, 50.0, 20.0, 20.0, 1.0, 0.75, 0.2],
        [90.0, 90.0, 10.0, 10.0, 0.5, 0.0, 0.75], // 0.375
        [90.0, 90.0, 10.0, 10.0, 0.3, 1.0, 1.0],
        [20.0, 20.0, 10.0, 10.0, 1.0, 0.25, 0.625],
    ];
    let source = BoxSource::YoloV5 { tensor: Some("out".to_owned()) };
    let given = one(&[1, 5, 7], &rows.concat());
    let answer = answer(Output::Detections(detector(source)), &given, None);
    let expected =
        vec![(0, 0.75, vec![42.0, 40.0, 62.0, 60.0]), (1, 0.625, vec![15.0, 15.0, 25.0, 25.0])];
    assert_eq!(found(&answer), expected);
}

fn decoded(corners: &[f32], scores: &[f32], classes: &[f32]) -> Given {
    Given(vec![
        ("boxes", vec![corners.len() / 4, 4], corners.to_vec()),
        ("scores", vec![1, scores.len()], scores.to_vec()),
        ("classes", vec![classes.len()], classes.to_vec()),
    ])
}

#[test]
fn decoded_boxes() {
    let given = decoded(
        &[0.0, 0.0, 9.0, 9.0, 0.0, 0.0, 9.0, 8.0, 1.0, 1.0, 2.0, 2.0],
        &[0.5, 0.75, 0.5],
        &[3.0, 3.0, 7.0],
    );
    let classes = |spec: Detections| -> Vec<u64> {
        let answer = answer(Output::Detections(spec), &given, None);
        found(&answer).into_iter().map(|(class, ..)| class).collect()
    };
    assert_eq!(classes(boxes()), [3, 7]);
    assert_eq!(classes(Detections { iou_threshold: None, ..boxes() }), [3, 3, 7]);
    assert_eq!(classes(Detections { max_detections: 1, ..boxes() }), [3]);
    let given = decoded(&[0.0, 0.0, 9.0, 9.0, 0.0, 0.0, 9.0, 8.0], &[0.5, 0.75], &[3.0, 7.0]);
    let classes = |spec: Detections| -> Vec<u64> {
        let answer = answer(Output::Detections(spec), &given, None);
        found(&answer).into_iter().map(|(class, ..)| class).collect()
    };
    assert_eq!(classes(boxes()), [7, 3]);
    assert_eq!(classes(Detections { class_agnostic: true, ..boxes() }), [7]);
}

#[test]
fn boxes_lead_back_and_stay_inside() {
    let geometry =
        Geometry { picture: (1280, 720), scale_x: 0.5, scale_y: 0.5, left: 0.0, top: 140.0 };
    let rows: [&[f32]; 3] = [
        &[100.0, 200.0, 20.0, 20.0, 0.75],
        &[0.0, 140.0, 40.0, 40.0, 0.625], // Three quarters of it lie outside.
        &[50.0, 50.0, 20.0, 20.0, 0.5],   // Lies on the bar.
    ];
    let answer = answer(Output::Detections(yolov8()), &columns(&rows), Some(&geometry));
    let expected = json!({
        "detections": [
            {"label": "0", "class": 0, "score": 0.75, "box": [180.0, 100.0, 220.0, 140.0]},
            {"label": "0", "class": 0, "score": 0.625, "box": [0.0, 0.0, 40.0, 40.0]},
        ],
        "image": {"width": 1280, "height": 720},
    });
    assert_eq!(answer, expected);
}

#[test]
fn numbers_have_few_digits() {
    let rows: [&[f32]; 1] = [&[10.0, 10.0, 1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]];
    let post = PostProcessor { output: Output::Detections(yolov8()), labels: None };
    let text = post.apply(&columns(&rows), None).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        r#"{"detections":[{"label":"0","class":0,"score":0.666667,"box":[9.83,9.67,10.17,10.33]}]}"#
    );
}

#[test]
fn what_is_not_a_number_is_not_found() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let rows: [&[f32]; 5] = [
        &[50.0, 50.0, 20.0, 20.0, nan, 0.5],
        &[nan, 50.0, 20.0, 20.0, 0.9, 0.0],
        &[50.0, inf, 20.0, 20.0, 0.9, 0.0],
        &[50.0, 50.0, 20.0, 20.0, inf, 0.0],
        &[50.0, 50.0, 0.0, -5.0, 0.9, 0.0],
    ];
    let answer = answer(Output::Detections(yolov8()), &columns(&rows), None);
    assert_eq!(found(&answer), [(1, 0.5, vec![40.0, 40.0, 60.0, 60.0])]);
}

#[test]
fn nothing_found() {
    let given = one(&[1, 6, 0], &[]);
    let answer = answer(Output::Detections(yolov8()), &given, None);
    assert_eq!(answer, json!({"detections": []}));
}

/// A threshold of 0 makes a candidate of each anchor; the work stays bearable.
#[test]
fn all_anchors_are_candidates() {
    const ANCHORS: u16 = 25_200;
    let row = |anchor: u16| {
        let (x, y) = (f32::from(anchor % 160), f32::from(anchor / 160));
        [x * 4.0, y * 4.0, 3.0, 3.0, f32::from(anchor) / f32::from(ANCHORS)]
    };
    let rows: Vec<[f32; 5]> = (0..ANCHORS).map(row).collect();
    let rows: Vec<&[f32]> = rows.iter().map(<[f32; 5]>::as_slice).collect();
    let spec = Detections { score_threshold: 0.0, max_detections: 3000, ..yolov8() };
    let found = found(&answer(Output::Detections(spec), &columns(&rows), None));
    assert_eq!(found.len(), 3000);
    assert!(found.is_sorted_by(|(_, a, _), (_, b, _)| a >= b));
    assert!(found[2999].1 > 0.88);
}

#[test]
fn softmax_of_large_logits() {
    let given = one(&[1, 4], &[1000.0, 1001.0, -1000.0, f32::NEG_INFINITY]);
    let answer = answer(Output::Classification(classifier(Activation::Softmax, 3)), &given, None);
    let expected = json!({"predictions": [
        {"label": "1", "class": 1, "score": 0.731059},
        {"label": "0", "class": 0, "score": 0.268941},
        {"label": "2", "class": 2, "score": 0.0},
    ]});
    assert_eq!(answer, expected);
}

#[test]
fn activations_and_order() {
    let check = |activation, row: &[f32], expected: &[(u64, f64)]| {
        let given = one(&[row.len()], row);
        let answer = answer(Output::Classification(classifier(activation, 3)), &given, None);
        let pairs = answer["predictions"].as_array().unwrap().iter();
        let pairs =
            pairs.map(|one| (one["class"].as_u64().unwrap(), one["score"].as_f64().unwrap()));
        assert_eq!(pairs.collect::<Vec<_>>(), expected, "{activation:?} {row:?}");
    };
    let nan = f32::NAN;
    check(Activation::None, &[1.0, 3.0, -2.0, 3.0], &[(1, 3.0), (3, 3.0), (0, 1.0)]);
    check(Activation::None, &[nan, 0.5, f32::INFINITY, nan], &[(1, 0.5)]);
    check(Activation::Sigmoid, &[0.0, -1000.0, 1000.0], &[(2, 1.0), (0, 0.5), (1, 0.0)]);
    check(Activation::Softmax, &[nan, 5.0, nan, 5.0], &[(1, 0.5), (3, 0.5)]);
    check(Activation::Softmax, &[nan, nan], &[]);
    check(Activation::Softmax, &[f32::NEG_INFINITY], &[]);
}

#[test]
fn a_list_a_row() {
    let given = one(&[2, 2, 1, 1], &[1.0, 0.0, 0.0, 1.0]);
    let answer = answer(Output::Classification(classifier(Activation::None, 1)), &given, None);
    let expected = json!({"predictions": [
        [{"label": "0", "class": 0, "score": 1.0}],
        [{"label": "1", "class": 1, "score": 1.0}],
    ]});
    assert_eq!(answer, expected);
}

#[test]
fn outputs_that_do_not_fit() {
    let detections = || Output::Detections(yolov8());
    let classes = || Output::Classification(classifier(Activation::None, 1));
    let check = |output, given: &Given, expected| assert_eq!(refused(output, given), expected);
    let two = Given(vec![("a", vec![1], vec![0.0]), ("b", vec![1], vec![0.0])]);
    check(
        classes(),
        &two,
        "the model has several outputs (a, b); serving.json must name the one to read",
    );
    let named =
        Classification { tensor: Some("logits".to_owned()), ..classifier(Activation::None, 1) };
    check(
        Output::Classification(named),
        &two,
        "the model has no output `logits`, which serving.json names; it has a, b",
    );
    check(
        detections(),
        &one(&[2, 6, 1], &[0.0; 12]),
        "the output `out` must be of shape [1, 4 + classes, anchors], not [2, 6, 1]",
    );
    check(
        detections(),
        &one(&[1, 4, 1], &[0.0; 4]),
        "the output `out` must be of shape [1, 4 + classes, anchors], not [1, 4, 1]",
    );
    check(
        classes(),
        &one(&[1, 0], &[]),
        "the output `out` must be of shape [classes] or [batch, classes], not [1, 0]",
    );
    check(
        classes(),
        &one(&[1, 2], &[0.0]),
        "the output `out` must be as long as its shape says, not [1, 2]",
    );
    check(
        Output::Detections(boxes()),
        &decoded(&[0.0; 8], &[0.0], &[0.0; 2]),
        "the output `scores` must be one score a box, not [1, 1]",
    );
}

/// The answer or the complaint with these labels.
fn labelled(text: &str, output: Output, given: &Given) -> Result<Value, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("labels.txt"), text).unwrap();
    let labels = Some("labels.txt".to_owned());
    let output = match output {
        Output::Detections(spec) => Output::Detections(Detections { labels, ..spec }),
        Output::Classification(spec) => Output::Classification(Classification { labels, ..spec }),
    };
    let post = PostProcessor::load(dir.path(), &output).map_err(|error| error.to_string())?;
    let answer = post.apply(given, None).map_err(|error| error.to_string())?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

#[test]
fn labels_name_the_classes() {
    let given = one(&[1, 3], &[0.1, 0.7, 0.2]);
    let label = |text| {
        let output = Output::Classification(classifier(Activation::None, 1));
        labelled(text, output, &given).map(|answer| answer["predictions"][0]["label"].clone())
    };
    assert_eq!(label("a\nb\nc"), Ok(json!("b")));
    assert_eq!(label("\u{FEFF}a\r\n\"b\" é\r\nc\r\n\r\n"), Ok(json!("\"b\" é")));
    let too_few = "the labels file has 2 labels, but the model has 3 classes";
    assert_eq!(label("a\nb\n"), Err(too_few.to_owned()));
    let too_many = "the labels file has 4 labels, but the model has 3 classes";
    assert_eq!(label("a\nb\nc\nd\n"), Err(too_many.to_owned()));
    assert_eq!(label(" \n"), Err("the labels file `labels.txt` has no labels".to_owned()));
}

#[test]
fn labels_of_detectors() {
    let label = |text, output, given: &Given| {
        labelled(text, Output::Detections(output), given)
            .map(|answer| answer["detections"][0]["label"].clone())
    };
    assert_eq!(label("cat\ndog", yolov8(), &columns(&TWICE)), Ok(json!("cat")));
    let too_few = "the labels file has 1 labels, but the model has 2 classes";
    assert_eq!(label("cat", yolov8(), &columns(&TWICE)), Err(too_few.to_owned()));
    let given = decoded(&[0.0, 0.0, 9.0, 9.0], &[0.5], &[2.0]);
    let beyond = "the model says class 2, but the labels file has 2 labels";
    assert_eq!(label("cat\ndog", boxes(), &given), Err(beyond.to_owned()));
}

#[test]
fn labels_outside_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(dir.path().join("secret"), "s").unwrap();
    std::os::unix::fs::symlink("../secret", model.join("labels.txt")).unwrap();
    let load = |labels: &str| {
        let spec =
            Classification { labels: Some(labels.to_owned()), ..classifier(Activation::None, 1) };
        PostProcessor::load(&model, &Output::Classification(spec)).unwrap_err().to_string()
    };
    assert_eq!(load("labels.txt"), "the labels file `labels.txt` lies outside the archive");
    assert!(load("absent.txt").starts_with("the labels file `absent.txt` cannot be read: "));
}

proptest! {
    #[test]
    fn any_values_give_json(
        values in prop::collection::vec(any::<f32>(), 60),
        threshold in 0.0f32..=1.0,
    ) {
        let spec = Detections { score_threshold: threshold, ..yolov8() };
        answer(Output::Detections(spec), &one(&[1, 6, 10], &values), None);
        let source = BoxSource::YoloV5 { tensor: None };
        answer(Output::Detections(detector(source)), &one(&[1, 10, 6], &values), None);
        let given = decoded(&values[..40], &values[40..50], &values[50..]);
        answer(Output::Detections(boxes()), &given, None);
        for activation in [Activation::Softmax, Activation::Sigmoid, Activation::None] {
            let spec = classifier(activation, 5);
            answer(Output::Classification(spec), &one(&[6, 10], &values), None);
        }
    }
}
