//! The boxes of a detector, each thing once.

use std::fmt::Write;

use super::labels::Labels;
use super::{Outputs, PostError, Tensor};
use crate::serving_json::{BoxSource, Detections, MAX_ANSWERS};
use crate::vision::Geometry;

/// Something that may be there.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    class: u32,
    score: f32,
    corners: [f32; 4], // In the pixels of the model's input.
}

pub(super) fn answer(
    spec: &Detections,
    labels: Option<&Labels>,
    outputs: &dyn Outputs,
    geometry: Option<&Geometry>,
) -> Result<Vec<u8>, PostError> {
    let mut candidates = match &spec.source {
        BoxSource::YoloV8 { tensor } => {
            yolov8(spec, labels, &Tensor::of(outputs, tensor.as_deref())?)
        }
        BoxSource::YoloV5 { tensor } => {
            yolov5(spec, labels, &Tensor::of(outputs, tensor.as_deref())?)
        }
        BoxSource::Boxes { boxes, scores, classes } => decoded(
            spec,
            &Tensor::of(outputs, Some(boxes))?,
            &Tensor::of(outputs, Some(scores))?,
            &Tensor::of(outputs, Some(classes))?,
        ),
    }?;
    keep_best(&mut candidates);
    let found = suppressed(spec, &candidates);
    written(&found, labels, geometry)
}

/// Channels first: the boxes' centres and sizes, then a row of scores a class.
fn yolov8(
    spec: &Detections,
    labels: Option<&Labels>,
    tensor: &Tensor<'_>,
) -> Result<Vec<Candidate>, PostError> {
    let [1, channels @ 5..=usize::MAX, anchors] = *tensor.shape.as_slice() else {
        return Err(tensor.mismatch("of shape [1, 4 + classes, anchors]"));
    };
    Labels::check(labels, channels - 4)?;
    if anchors == 0 {
        return Ok(Vec::new());
    }
    let (boxes, scores) = tensor.values.split_at(4 * anchors);
    let mut best = vec![(spec.score_threshold, u32::MAX); anchors];
    for (class, row) in (0..).zip(scores.chunks_exact(anchors)) {
        for (best, score) in best.iter_mut().zip(row) {
            if better(*score, *best) {
                *best = (*score, class);
            }
        }
    }
    let found = best.iter().enumerate().filter(|(_, (_, class))| *class != u32::MAX);
    let candidates = found.filter_map(|(anchor, (score, class))| {
        let side = |row: usize| boxes[row * anchors + anchor];
        candidate(*class, *score, from_centre([side(0), side(1), side(2), side(3)]))
    });
    Ok(candidates.collect())
}

/// Whether a score beats the best so far, which at first is the threshold without a class.
/// "Not a number" beats nothing.
fn better(score: f32, (best, class): (f32, u32)) -> bool {
    let reaches = if class == u32::MAX { score >= best } else { score > best };
    reaches && score < f32::INFINITY
}

/// Anchor by anchor: the box, whether there is anything, a score a class.
fn yolov5(
    spec: &Detections,
    labels: Option<&Labels>,
    tensor: &Tensor<'_>,
) -> Result<Vec<Candidate>, PostError> {
    let [1, _, width @ 6..=usize::MAX] = *tensor.shape.as_slice() else {
        return Err(tensor.mismatch("of shape [1, anchors, 5 + classes]"));
    };
    Labels::check(labels, width - 5)?;
    let candidates = tensor.values.chunks_exact(width).filter_map(|row| {
        let ([x, y, w, h, thing], scores) = row.split_first_chunk::<5>()?;
        if *thing < spec.score_threshold {
            return None; // The most usual case.
        }
        let mut best = (spec.score_threshold, u32::MAX);
        for (class, score) in (0..).zip(scores) {
            if better(score * thing, best) {
                best = (score * thing, class);
            }
        }
        let (score, class) = best;
        (class != u32::MAX).then(|| candidate(class, score, from_centre([*x, *y, *w, *h])))?
    });
    Ok(candidates.collect())
}

/// Boxes that the model gives as they are.
fn decoded(
    spec: &Detections,
    boxes: &Tensor<'_>,
    scores: &Tensor<'_>,
    classes: &Tensor<'_>,
) -> Result<Vec<Candidate>, PostError> {
    let ([count, 4] | [1, count, 4]) = *boxes.shape.as_slice() else {
        return Err(boxes.mismatch("of shape [boxes, 4]"));
    };
    if scores.values.len() != count {
        return Err(scores.mismatch("one score a box"));
    }
    if classes.values.len() != count {
        return Err(classes.mismatch("one class a box"));
    }
    let (corners, _) = boxes.values.as_chunks::<4>();
    let rows = corners.iter().zip(scores.values).zip(classes.values);
    let reached = rows.filter(|((_, score), _)| **score >= spec.score_threshold);
    let candidates =
        reached.filter_map(|((corners, score), class)| candidate(whole(*class)?, *score, *corners));
    Ok(candidates.collect())
}

/// The class that a float says.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 to 2^24")]
fn whole(class: f32) -> Option<u32> {
    const EXACT: f32 = 16_777_216.0; // Up to here an f32 tells whole numbers apart.
    (0.0..EXACT).contains(&class).then(|| class.round() as u32)
}

fn from_centre([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    let (half_width, half_height) = (width / 2.0, height / 2.0);
    [x - half_width, y - half_height, x + half_width, y + half_height]
}

/// `None` for a box that is nowhere.
fn candidate(class: u32, score: f32, corners: [f32; 4]) -> Option<Candidate> {
    let real = score.is_finite() && corners.iter().all(|side| side.is_finite());
    real.then_some(Candidate { class, score, corners })
}

/// Best first, and no more of them than is bearable to compare with each other.
fn keep_best(candidates: &mut Vec<Candidate>) {
    let better_first = |a: &Candidate, b: &Candidate| b.score.total_cmp(&a.score);
    if candidates.len() > MAX_ANSWERS {
        candidates.select_nth_unstable_by(MAX_ANSWERS, better_first);
        candidates.truncate(MAX_ANSWERS);
    }
    candidates.sort_by(better_first);
}

/// The best box of each thing: one that overlaps a better one too much is
/// dropped; one of its class, unless the spec says otherwise.
fn suppressed(spec: &Detections, candidates: &[Candidate]) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == spec.max_detections {
            break;
        }
        let same_thing = |other: &Candidate| {
            let threshold = spec.iou_threshold.unwrap_or(1.0);
            let may_be_one = spec.class_agnostic || other.class == candidate.class;
            may_be_one && overlap(other, candidate) > threshold
        };
        if !kept.iter().any(same_thing) {
            kept.push(*candidate);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: &Candidate, b: &Candidate) -> f32 {
    let ([ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]) = (a.corners, b.corners);
    let width = (ax2.min(bx2) - ax1.max(bx1)).max(0.0);
    let height = (ay2.min(by2) - ay1.max(by1)).max(0.0);
    let common = width * height;
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

fn area(candidate: &Candidate) -> f32 {
    let [x1, y1, x2, y2] = candidate.corners;
    (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
}

fn written(
    found: &[Candidate],
    labels: Option<&Labels>,
    geometry: Option<&Geometry>,
) -> Result<Vec<u8>, PostError> {
    let mut text = String::from("{\"detections\":[");
    let mut separator = "";
    for Candidate { class, score, corners } in found {
        let corners = corners.map(f64::from);
        let [x1, y1, x2, y2] = geometry.map_or(corners, |geometry| geometry.to_picture(corners));
        if x2 <= x1 || y2 <= y1 {
            continue; // All of it lies on the bars around the picture.
        }
        let label = Labels::of(labels, *class)?;
        // Writing to a `String` cannot fail.
        let _ = write!(
            text,
            "{separator}{{\"label\":{label},\"class\":{class},\"score\":{score:.6},\
             \"box\":[{x1:.2},{y1:.2},{x2:.2},{y2:.2}]}}"
        );
        separator = ",";
    }
    text.push(']');
    if let Some(Geometry { picture: (width, height), .. }) = geometry {
        let _ = write!(text, ",\"image\":{{\"width\":{width},\"height\":{height}}}");
    }
    text.push('}');
    Ok(text.into_bytes())
}
