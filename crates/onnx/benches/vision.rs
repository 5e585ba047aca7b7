//! What a picture costs before the model sees it: a 1280x720 JPEG to a detector's 640x640 tensor and
//! to a classifier's 224x224.

use criterion::{Criterion, criterion_group, criterion_main};
use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::{ImageDecoder, Rgb, RgbImage};
use sagebrush_onnx::serving_json::{Channels, Dtype, Filter, ImageInput, Layout, Resize};
use sagebrush_onnx::vision;
use std::hint::black_box;
use std::io::Cursor;

const QUALITY: u8 = 85;

fn spec() -> ImageInput {
    ImageInput {
        tensor: None,
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
    }
}

/// Slopes with some grain, about 250 kB.
fn photograph() -> Vec<u8> {
    let picture = RgbImage::from_fn(1280, 720, |x, y| {
        let hashed = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(40_503));
        let grain = hashed.to_be_bytes()[1] / 12;
        let byte = |slope: u32| slope.to_le_bytes()[0].wrapping_add(grain);
        Rgb([byte(x / 5), byte(y / 3), byte((x + y) / 7)])
    });
    let mut body = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut body, QUALITY);
    picture.write_with_encoder(encoder).expect("a Vec takes what is written");
    body
}

fn prepare(criterion: &mut Criterion) {
    let (spec, body) = (spec(), photograph());
    let mut group = criterion.benchmark_group("jpeg 1280x720");
    // What a server pays that decodes with `image`, before it has resized anything.
    group.bench_function("decode alone", |bencher| {
        bencher.iter(|| {
            let decoder = JpegDecoder::new(Cursor::new(&body[..])).expect("it is a JPEG");
            let mut pixels = vec![0; 1280 * 720 * 3];
            decoder.read_image(&mut pixels).expect("it is a JPEG");
            pixels
        });
    });
    group.bench_function("to a tensor", |bencher| {
        bencher.iter(|| vision::prepare(&spec, "image/jpeg", black_box(&body)));
    });
    let cover = ImageInput { width: 224, height: 224, resize: Resize::Cover, ..spec.clone() };
    let mut tensor = vec![0.0; vision::tensor_len(&cover)];
    group.bench_function("into a batch, 224x224", |bencher| {
        bencher.iter(|| vision::prepare_into(&cover, "image/jpeg", black_box(&body), &mut tensor));
    });
    let nhwc = ImageInput { layout: Layout::Nhwc, ..spec };
    group.bench_function("to a tensor, nhwc", |bencher| {
        bencher.iter(|| vision::prepare(&nhwc, "image/jpeg", black_box(&body)));
    });
    group.finish();
}

criterion_group!(benches, prepare);
criterion_main!(benches);
