use std::collections::BTreeSet;
use std::fs;

use serde_json::json;

use super::*;

const SCHEMA: &str = include_str!("../../../../docs/schemas/serving-1.json");
const DOCS: &str = include_str!("../../../../docs/serving-json.md");
const EXAMPLE: &str = include_str!("../../../../examples/vision/serving.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn parse(value: &Value) -> Result<ServingConfig, String> {
    ServingConfig::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
}

fn image_of(image: &Value) -> Result<ImageInput, String> {
    parse(&json!({"version": 1, "input": {"image": image}})).map(|config| config.image.unwrap())
}

fn output_of(output: &Value) -> Result<Output, String> {
    parse(&json!({"version": 1, "output": output})).map(|config| config.output.unwrap())
}

#[test]
fn the_example_detector() {
    let config = ServingConfig::parse(EXAMPLE.as_bytes()).unwrap();
    let image = ImageInput {
        tensor: Some("images".to_owned()),
        width: 640,
        height: 640,
        resize: Resize::Letterbox,
        filter: Filter::Bilinear,
        channels: Channels::Rgb,
        layout: Layout::Nchw,
        dtype: Dtype::Float32,
        pad: [114; 3],
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let detections = Detections {
        source: BoxSource::YoloV8 { tensor: Some("detections".to_owned()) },
        labels: Some("labels.txt".to_owned()),
        score_threshold: 0.4,
        iou_threshold: Some(0.5),
        class_agnostic: false,
        max_detections: 300,
    };
    assert_eq!(config.image(), Some(&image));
    assert_eq!(config.output(), Some(&Output::Detections(detections)));
}

#[test]
fn defaults() {
    let nothing = ServingConfig { image: None, output: None, batch: Asked::default() };
    assert_eq!(parse(&json!({"version": 1})), Ok(nothing));
    let image = image_of(&json!({"width": 3, "height": 2})).unwrap();
    let same = json!({
        "width": 3, "height": 2, "resize": "letterbox", "filter": "bilinear", "channels": "rgb",
        "layout": "nchw", "dtype": "float32", "pad": [114], "scale": 0.00392156862745098,
        "mean": [0], "std": [1, 1, 1],
    });
    assert_eq!(image_of(&same), Ok(image));
    let image = image_of(&json!({"width": 3, "height": 2, "dtype": "uint8"})).unwrap();
    assert_eq!(image.scale, 1.0);
    let classification = json!({"activation": "softmax", "top_k": 5});
    assert_eq!(
        output_of(&json!({"classification": {}})),
        output_of(&json!({"classification": classification}))
    );
    let yolo = json!({
        "format": "yolov8", "score_threshold": 0.25, "iou_threshold": 0.45, "max_detections": 300,
    });
    assert_eq!(
        output_of(&json!({"detections": {"format": "yolov8"}})),
        output_of(&json!({"detections": yolo}))
    );
    let boxes = json!({"format": "boxes", "boxes": "b", "scores": "s", "classes": "c"});
    let Ok(Output::Detections(boxes)) = output_of(&json!({"detections": boxes})) else {
        panic!("not detections");
    };
    assert_eq!(boxes.iou_threshold, None);
}

#[test]
fn channels_of_their_own() {
    let image = |extra: Value| {
        let mut image = json!({"width": 1, "height": 1});
        image.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        image_of(&image)
    };
    assert_eq!(image(json!({"mean": [1, 2, 3]})).unwrap().mean, [1.0, 2.0, 3.0]);
    assert_eq!(image(json!({"channels": "gray", "std": [2]})).unwrap().std, [2.0; 3]);
    assert_eq!(
        image(json!({"pad": [1, 2]})).unwrap_err(),
        "serving.json: `input.image.pad` must be a list of 1 or 3 numbers"
    );
    assert_eq!(
        image(json!({"channels": "gray", "mean": [1, 2, 3]})).unwrap_err(),
        "serving.json: `input.image.mean` must be a list of 1 number, as `channels` is gray"
    );
    assert_eq!(
        image(json!({"std": [1, 0, 1]})).unwrap_err(),
        "serving.json: `input.image.std` must not be 0: values are divided by it"
    );
    assert_eq!(
        image(json!({"dtype": "uint8", "mean": [1]})).unwrap_err(),
        "serving.json: `input.image.dtype` of uint8 leaves no room for scale, mean and std"
    );
}

#[test]
fn bad_files() {
    let check = |file: Value, expected: &str| {
        assert_eq!(parse(&file).unwrap_err(), format!("serving.json: {expected}"), "{file}");
        assert!(violation(&schema(), &file).is_some(), "the schema takes {file}");
    };
    check(json!([]), "`$` must be an object");
    check(json!({}), "`version` is missing");
    check(json!({"version": 2}), "`version` must be 1, the only version that there is");
    check(json!({"version": "1"}), "`version` is wrong: invalid type: string \"1\", expected u32");
    check(
        json!({"version": 1, "outputs": {}}),
        "unknown key `outputs`; known there: $schema, version, input, output, batch",
    );
    check(json!({"version": 1, "input": {}}), "`input.image` is missing");
    check(json!({"version": 1, "input": 7}), "`input` must be an object");
    check(
        json!({"version": 1, "input": {"image": {"width": 1, "height": 1}, "text": {}}}),
        "unknown key `input.text`; known there: image",
    );
    check(
        json!({"version": 1, "output": {}}),
        "`output.detections` or `classification` is missing",
    );
    let both = json!({"detections": {"format": "yolov8"}, "classification": {}});
    check(
        json!({"version": 1, "output": both}),
        "`output.classification` and `detections` exclude each other",
    );
}

#[test]
fn bad_images() {
    let check = |extra: Value, expected: &str| {
        let mut image = json!({"width": 8, "height": 8});
        image.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let expected = format!("serving.json: {expected}");
        assert_eq!(image_of(&image).unwrap_err(), expected, "{extra}");
        let file = json!({"version": 1, "input": {"image": image}});
        assert!(violation(&schema(), &file).is_some(), "the schema takes {extra}");
    };
    check(json!({"width": 0}), "`input.image.width` must be from 1 to 8192, not 0");
    check(json!({"height": 8193}), "`input.image.height` must be from 1 to 8192, not 8193");
    check(
        json!({"height": -1}),
        "`input.image.height` is wrong: invalid value: integer `-1`, expected u32",
    );
    check(
        json!({"resize": "fit"}),
        "`input.image.resize` is wrong: unknown variant `fit`, expected one of `letterbox`, \
         `stretch`, `cover`",
    );
    check(
        json!({"pad": [256]}),
        "`input.image.pad` is wrong: invalid value: integer `256`, expected u8",
    );
    check(
        json!({"witdh": 3}),
        "unknown key `input.image.witdh`; known there: channels, dtype, tensor, width, height, \
         resize, filter, layout, pad, scale, mean, std",
    );
}

#[test]
fn bad_outputs() {
    let check = |output: Value, expected: &str| {
        let expected = format!("serving.json: `output.{expected}");
        assert_eq!(output_of(&output).unwrap_err(), expected, "{output}");
        let file = json!({"version": 1, "output": output});
        assert!(violation(&schema(), &file).is_some(), "the schema takes {output}");
    };
    let detections = |extra: Value| {
        let mut detections = json!({"format": "yolov8"});
        detections.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"detections": detections})
    };
    check(json!({"detections": {}}), "detections.format` is missing");
    check(
        json!({"detections": {"format": "ssd"}}),
        "detections.format` is wrong: unknown variant `ssd`, expected one of `yolov8`, `yolov5`, \
         `boxes`",
    );
    check(
        json!({"detections": {"format": "boxes", "boxes": "b", "scores": "s"}}),
        "detections.classes` is missing",
    );
    check(
        detections(json!({"score_threshold": 1.5})),
        "detections.score_threshold` must be from 0 to 1, not 1.5",
    );
    check(
        detections(json!({"iou_threshold": -0.1})),
        "detections.iou_threshold` must be from 0 to 1, not -0.1",
    );
    check(
        detections(json!({"max_detections": 0})),
        "detections.max_detections` must be from 1 to 3000, not 0",
    );
    check(
        detections(json!({"labels": ""})),
        "detections.labels` must name a file inside the archive",
    );
    check(
        json!({"classification": {"top_k": 0}}),
        "classification.top_k` must be from 1 to 3000, not 0",
    );
    check(
        json!({"classification": {"activation": "relu"}}),
        "classification.activation` is wrong: unknown variant `relu`, expected one of `softmax`, \
         `sigmoid`, `none`",
    );
}

#[test]
fn batches() {
    let batch = |batch: Value| {
        let file = json!({"version": 1, "batch": batch});
        let violation = violation(&schema(), &file);
        let parsed = parse(&file).map(|config| config.batch());
        assert_eq!(parsed.is_err(), violation.is_some(), "{file}: {violation:?}");
        parsed
    };
    let asked =
        |size, delay: Option<u64>| Ok(Asked { size, delay: delay.map(Duration::from_millis) });
    assert_eq!(batch(json!({})), asked(None, None));
    assert_eq!(batch(json!({"max_size": 1})), asked(Some(1), None));
    assert_eq!(batch(json!({"max_size": 1024, "max_delay_ms": 0})), asked(Some(1024), Some(0)));
    assert_eq!(batch(json!({"max_delay_ms": 1000})), asked(None, Some(1000)));
    let check = |wrong, why: &str| {
        assert_eq!(batch(wrong), Err(format!("serving.json: {why}")));
    };
    check(json!({"max_size": 0}), "`batch.max_size` must be from 1 to 1024, not 0");
    check(json!({"max_size": 1025}), "`batch.max_size` must be from 1 to 1024, not 1025");
    check(json!({"max_delay_ms": 1001}), "`batch.max_delay_ms` must be from 0 to 1000, not 1001");
    check(json!({"size": 1}), "unknown key `batch.size`; known there: max_size, max_delay_ms");
    check(json!(8), "`batch` must be an object");
    let text = "`batch.max_size` is wrong: invalid type: string \"8\", expected usize";
    check(json!({"max_size": "8"}), text);
}

#[test]
fn keys_of_another_format() {
    let boxes = json!({
        "format": "boxes", "boxes": "b", "scores": "s", "classes": "c", "tensor": "t",
    });
    for output in [boxes, json!({"format": "yolov5", "scores": "s"})] {
        let file = json!({"version": 1, "output": {"detections": output}});
        let error = parse(&file).unwrap_err();
        assert!(error.starts_with("serving.json: unknown key `output.detections."), "{error}");
        assert!(violation(&schema(), &file).is_some(), "the schema takes {file}");
    }
}

#[test]
fn labels_stay_inside() {
    let labels = |labels: &str| output_of(&json!({"classification": {"labels": labels}}));
    for inside in ["labels.txt", "./a/b.txt", "..labels"] {
        assert!(labels(inside).is_ok(), "{inside}");
    }
    for outside in ["", "/etc/passwd", "../x", "a/../../x", "a/.."] {
        let expected =
            "serving.json: `output.classification.labels` must name a file inside the archive";
        assert_eq!(labels(outside), Err(expected.to_owned()), "{outside}");
    }
}

#[test]
fn files() {
    let dir = tempfile::tempdir().unwrap();
    let read = |text: &[u8]| {
        fs::write(dir.path().join("serving.json"), text).unwrap();
        ServingConfig::read(dir.path()).map(|config| config.is_some())
    };
    assert!(ServingConfig::read(dir.path()).unwrap().is_none());
    assert!(read(EXAMPLE.as_bytes()).unwrap());
    let error = read(b"{\"version\": 1,}").unwrap_err().to_string();
    assert_eq!(error, "serving.json is not JSON: trailing comma at line 1 column 15");
    assert!(matches!(read(&vec![b' '; (1 << 20) + 1]), Err(ConfigError::TooLarge)));
    fs::remove_file(dir.path().join("serving.json")).unwrap();
    fs::create_dir(dir.path().join("serving.json")).unwrap();
    let error = ServingConfig::read(dir.path()).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable(_)), "{error}");
}

#[test]
fn documented_examples() {
    let examples: Vec<&str> =
        DOCS.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let (configs, answers): (Vec<&str>, Vec<&str>) =
        examples.into_iter().partition(|example| example.contains("\"version\""));
    assert_eq!((configs.len(), answers.len()), (3, 2));
    for text in configs.into_iter().chain([EXAMPLE]) {
        let value: Value = serde_json::from_str(text).unwrap();
        parse(&value).unwrap();
        assert_eq!(violation(&schema(), &value), None, "{text}");
    }
    for text in answers {
        serde_json::from_str::<Value>(text).unwrap();
    }
}

/// What we know a section by, from what we say when a key is unknown.
fn known(file: &Value) -> BTreeSet<&'static str> {
    match ServingConfig::parse(file.to_string().as_bytes()) {
        Err(ConfigError::UnknownKey { known, .. }) => known.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

fn properties(section: &Value) -> BTreeSet<String> {
    section["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn schema_and_parser_know_the_same_keys() {
    let schema = schema();
    let check = |section: &Value, files: &[Value]| {
        let known: BTreeSet<String> = files.iter().flat_map(known).map(str::to_owned).collect();
        assert_eq!(properties(section), known);
    };
    check(&schema, &[json!({"version": 1, "?": 1})]);
    let image = json!({"width": 1, "height": 1, "?": 1});
    check(&schema["$defs"]["image"], &[json!({"version": 1, "input": {"image": image}})]);
    let output = |output: Value| json!({"version": 1, "output": output});
    check(&schema["properties"]["output"], &[output(json!({"?": 1}))]);
    check(&schema["$defs"]["batch"], &[json!({"version": 1, "batch": {"?": 1}})]);
    check(&schema["$defs"]["classification"], &[output(json!({"classification": {"?": 1}}))]);
    let yolo = json!({"format": "yolov8", "?": 1});
    let boxes = json!({"format": "boxes", "boxes": "", "scores": "", "classes": "", "?": 1});
    check(
        &schema["$defs"]["detections"],
        &[output(json!({"detections": yolo})), output(json!({"detections": boxes}))],
    );
    for key in properties(&schema["$defs"]["image"]) {
        assert!(DOCS.contains(&format!("`{key}`")), "{key} is not documented");
    }
    for key in properties(&schema["$defs"]["batch"]) {
        assert!(DOCS.contains(&format!("`{key}`")), "{key} is not documented");
    }
    for key in properties(&schema["$defs"]["detections"]) {
        assert!(DOCS.contains(&format!("`{key}`")), "{key} is not documented");
    }
}

/// The first violation of a schema, for as much of JSON Schema as ours uses.
fn violation(schema: &Value, value: &Value) -> Option<String> {
    violated(schema, schema, value)
}

fn violated(root: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = schema.as_bool() {
        return (!allowed).then(|| format!("{value} must not be there"));
    }
    schema.as_object().unwrap().iter().find_map(|(keyword, rule)| {
        let holds = match keyword.as_str() {
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#'));
                return violated(root, target.unwrap(), value);
            }
            "properties" => {
                let rules = rule.as_object().unwrap().iter();
                return rules
                    .filter_map(|(key, rule)| Some((rule, value.get(key)?)))
                    .find_map(|(rule, member)| violated(root, rule, member));
            }
            "items" => {
                let mut items = value.as_array()?.iter();
                return items.find_map(|item| violated(root, rule, item));
            }
            "if" => {
                let branch = if violated(root, rule, value).is_none() { "then" } else { "else" };
                return violated(root, &schema[branch], value);
            }
            _ => holds(schema, keyword, rule, value),
        };
        (!holds).then(|| format!("{value} violates {keyword}: {rule}"))
    })
}

fn holds(schema: &Value, keyword: &str, rule: &Value, value: &Value) -> bool {
    let number = |holds: fn(f64, f64) -> bool, value: Option<f64>| {
        value.is_none_or(|value| holds(value, rule.as_f64().unwrap()))
    };
    let count = |count: Option<usize>| count.map(|count| f64::from(u32::try_from(count).unwrap()));
    let members = value.as_object();
    match keyword {
        "type" => match rule.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("type {other}"),
        },
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => number(|value, least| value >= least, value.as_f64()),
        "maximum" => number(|value, most| value <= most, value.as_f64()),
        "minItems" => number(|n, least| n >= least, count(value.as_array().map(Vec::len))),
        "maxItems" => number(|n, most| n <= most, count(value.as_array().map(Vec::len))),
        "minLength" => number(|n, least| n >= least, count(value.as_str().map(str::len))),
        "minProperties" => number(|n, least| n >= least, count(members.map(|all| all.len()))),
        "maxProperties" => number(|n, most| n <= most, count(members.map(|all| all.len()))),
        "required" => {
            let mut keys = rule.as_array().unwrap().iter().map(|key| key.as_str().unwrap());
            members.is_none_or(|members| keys.all(|key| members.contains_key(key)))
        }
        "additionalProperties" => {
            let known = schema["properties"].as_object().unwrap();
            members.is_none_or(|members| members.keys().all(|key| known.contains_key(key)))
        }
        "$schema" | "$id" | "title" | "description" | "default" | "$defs" | "then" | "else" => true,
        other => panic!("keyword {other}"),
    }
}
