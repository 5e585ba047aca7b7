//! The best classes of each row.

use std::fmt::Write;

use super::labels::Labels;
use super::{Outputs, PostError, Tensor};
use crate::serving_json::{Activation, Classification};

pub(super) fn answer(
    spec: &Classification,
    labels: Option<&Labels>,
    outputs: &dyn Outputs,
) -> Result<Vec<u8>, PostError> {
    const WANTED: &str = "of shape [classes] or [batch, classes]";
    let tensor = Tensor::of(outputs, spec.tensor.as_deref())?;
    let (batch, classes) = match tensor.shape.as_slice() {
        [classes] | [classes, 1, 1] => (1, *classes),
        [batch, classes] | [batch, classes, 1, 1] => (*batch, *classes),
        _ => return Err(tensor.mismatch(WANTED)),
    };
    if batch == 0 || classes == 0 {
        return Err(tensor.mismatch(WANTED));
    }
    Labels::check(labels, classes)?;
    let rows = tensor.values.chunks_exact(classes).map(|row| predictions(spec, labels, row));
    let rows = rows.collect::<Result<Vec<String>, PostError>>()?.join(",");
    let predictions = if batch == 1 { rows } else { format!("[{rows}]") };
    Ok(format!("{{\"predictions\":{predictions}}}").into_bytes())
}

fn predictions(
    spec: &Classification,
    labels: Option<&Labels>,
    row: &[f32],
) -> Result<String, PostError> {
    let mut text = String::from("[");
    for (class, score) in best(spec, row) {
        let separator = if text.len() > 1 { "," } else { "" };
        let label = Labels::of(labels, class)?;
        // Writing to a `String` cannot fail.
        let _ =
            write!(text, "{separator}{{\"label\":{label},\"class\":{class},\"score\":{score:.6}}}");
    }
    text.push(']');
    Ok(text)
}

/// The best classes with their scores; of equals the first.
fn best(spec: &Classification, row: &[f32]) -> Vec<(u32, f32)> {
    // Neither "not a number" nor "more than any number" can be ranked.
    let mut scores: Vec<(u32, f32)> =
        (0..).zip(row.iter().copied()).filter(|(_, score)| *score < f32::INFINITY).collect();
    activate(spec.activation, &mut scores);
    scores.retain(|(_, score)| score.is_finite());
    scores.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    scores.truncate(spec.top_k);
    scores
}

fn activate(activation: Activation, scores: &mut [(u32, f32)]) {
    match activation {
        Activation::None => {}
        Activation::Sigmoid => {
            for (_, score) in scores {
                *score = 1.0 / (1.0 + (-*score).exp());
            }
        }
        Activation::Softmax => {
            // With the highest at 0, no power overflows.
            let highest =
                scores.iter().fold(f32::NEG_INFINITY, |most, (_, score)| most.max(*score));
            let sum: f32 = scores.iter().map(|(_, score)| (score - highest).exp()).sum();
            for (_, score) in scores {
                *score = (*score - highest).exp() / sum;
            }
        }
    }
}
