//! The same question in each side's own words.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Side;
use crate::bench::load::{Expected, Question, Rule};
use crate::bench::workload::{Item, Kind};

pub(super) fn question(side: Side, kind: Kind, item: &Item) -> Result<Question> {
    let in_json = match side {
        Side::Ours | Side::Limit | Side::FastApi | Side::MultiModelServer => None,
        Side::BentoMl if kind == Kind::Image => None,
        Side::LitServe => Some(json!({ "input": litserve(kind, item)? })),
        Side::MlServer => Some(open_inference(kind, item)?),
        Side::BentoMl if kind == Kind::Row => Some(json!({ "rows": [row(item)?] })),
        Side::BentoMl => Some(json!({ "body": text(item)? })),
    };
    let (content_type, body) = match &in_json {
        Some(value) => ("application/json", serde_json::to_vec(value)?.into()),
        None => (kind.content_type(), item.body.clone()),
    };
    // In JSON, a text comes back as a part of the answer.
    let rule = match &item.rule {
        Rule::Exactly(bytes) if in_json.is_some() => Rule::Holds(bytes.clone()),
        rule @ (Rule::Exactly(_) | Rule::Holds(_) | Rule::Numbers(_)) => rule.clone(),
    };
    Ok(Question { content_type, headers: Vec::new(), body, expected: Expected::new(rule) })
}

fn litserve(kind: Kind, item: &Item) -> Result<Value> {
    Ok(match kind {
        Kind::Row => json!([row(item)?]),
        Kind::Image => json!(STANDARD.encode(&item.body)),
        Kind::Echo => json!(text(item)?),
    })
}

/// The Open Inference Protocol, version 2.
fn open_inference(kind: Kind, item: &Item) -> Result<Value> {
    let input = match kind {
        Kind::Row => {
            let row = row(item)?;
            json!({ "name": "X", "datatype": "FP32", "shape": [1, row.len()], "data": row })
        }
        Kind::Image => {
            let body = STANDARD.encode(&item.body);
            json!({ "name": "image", "datatype": "BYTES", "shape": [1], "data": [body] })
        }
        Kind::Echo => {
            json!({ "name": "body", "datatype": "BYTES", "shape": [1], "data": [text(item)?] })
        }
    };
    // Without an id each answer would have another one.
    Ok(json!({ "id": "bench", "inputs": [input] }))
}

fn row(item: &Item) -> Result<Vec<f64>> {
    Ok(text(item)?.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

fn text(item: &Item) -> Result<&str> {
    Ok(std::str::from_utf8(&item.body)?)
}

#[cfg(test)]
mod tests {
    use super::{Side, question};
    use crate::bench::load::Rule;
    use crate::bench::workload::{Item, Kind};

    fn check(side: Side, kind: Kind, body: &'static str, content_type: &str, expected: &str) {
        let body = bytes::Bytes::from(body);
        let asked = question(side, kind, &Item { rule: Rule::Exactly(body.clone()), body });
        let asked = asked.unwrap();
        assert_eq!(asked.content_type, content_type, "{side:?}");
        assert_eq!(std::str::from_utf8(&asked.body).unwrap(), expected, "{side:?}");
    }

    #[test]
    fn each_side_is_asked_in_its_own_way() {
        let json = "application/json";
        check(Side::Ours, Kind::Row, "1,2", "text/csv", "1,2");
        check(Side::LitServe, Kind::Row, "1,2", json, r#"{"input":[[1.0,2.0]]}"#);
        check(Side::LitServe, Kind::Image, "ab", json, r#"{"input":"YWI="}"#);
        check(Side::BentoMl, Kind::Image, "ab", "image/jpeg", "ab");
        check(Side::BentoMl, Kind::Echo, "ab", json, r#"{"body":"ab"}"#);
        check(
            Side::MlServer,
            Kind::Echo,
            "ab",
            json,
            r#"{"id":"bench","inputs":[{"data":["ab"],"datatype":"BYTES","name":"body","shape":[1]}]}"#,
        );
    }
}
