mod hostile;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ExtendedColorType, GrayImage, ImageEncoder, RgbImage};

use super::*;
use crate::serving_json::{Channels, Dtype, Filter, Layout, Resize};

/// A model's input that takes pixels as they are.
fn spec(width: u32, height: u32, resize: Resize) -> ImageInput {
    ImageInput {
        tensor: None,
        width,
        height,
        resize,
        filter: Filter::Bilinear,
        channels: Channels::Rgb,
        layout: Layout::Nchw,
        dtype: Dtype::Float32,
        pad: [114; 3],
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}

/// A smooth picture without any symmetry.
fn scene(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let byte = |part: u32, of: u32| u8::try_from(part * 255 / of.max(1)).unwrap();
        image::Rgb([byte(x, width), byte(y, height), byte(x * y, width * height)])
    })
}

fn png(picture: &RgbImage) -> Vec<u8> {
    encoded_png(&DynamicImage::from(picture.clone()))
}

fn encoded_png(picture: &DynamicImage) -> Vec<u8> {
    let mut body = Vec::new();
    picture.write_with_encoder(PngEncoder::new(&mut body)).unwrap();
    body
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut body = Vec::new();
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut body, 95)).unwrap();
    body
}

fn webp(picture: &RgbImage) -> Vec<u8> {
    let mut body = Vec::new();
    picture.write_with_encoder(WebPEncoder::new_lossless(&mut body)).unwrap();
    body
}

fn prepared(spec: &ImageInput, body: &[u8]) -> Prepared {
    prepare(spec, "image/jpeg", body).unwrap()
}

fn refused(body: &[u8]) -> (u16, String) {
    let error = prepare(&spec(8, 8, Resize::Stretch), "image/png", body).unwrap_err();
    (error.status(), error.to_string())
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// An EXIF block that says nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    block
}

/// The picture as a camera would store it that wants it turned by `orientation` to be upright.
fn stored(upright: &RgbImage, orientation: u8) -> RgbImage {
    let inverse = match orientation {
        6 => 8,
        8 => 6,
        other => other, // The rest are their own inverses.
    };
    let mut picture = DynamicImage::from(upright.clone());
    picture.apply_orientation(Orientation::from_exif(inverse).unwrap());
    picture.into_rgb8()
}

#[test]
fn each_orientation_gives_the_same_tensor() {
    let upright = scene(90, 40);
    for resize in [Resize::Letterbox, Resize::Stretch, Resize::Cover] {
        let spec = spec(32, 24, resize);
        let expected = prepared(&spec, &png(&upright));
        for orientation in 1..=8 {
            let picture = stored(&upright, orientation);
            for body in with_exif(&picture, orientation) {
                let turned = prepared(&spec, &body);
                assert_eq!(turned.geometry, expected.geometry, "{orientation} {resize:?}");
                let most = furthest(&turned.tensor, &expected.tensor);
                assert!(most <= 4.0, "orientation {orientation}, {resize:?}: {most}");
            }
        }
    }
}

/// The picture in each format.
fn with_exif(picture: &RgbImage, orientation: u8) -> [Vec<u8>; 3] {
    let (width, height) = picture.dimensions();
    let mut bodies = [Vec::new(), Vec::new(), Vec::new()];
    let [jpeg, png, webp] = &mut bodies;
    let mut encoder = JpegEncoder::new_with_quality(jpeg, 100);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(picture, width, height, ExtendedColorType::Rgb8).unwrap();
    let mut encoder = PngEncoder::new(png);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(picture, width, height, ExtendedColorType::Rgb8).unwrap();
    let mut encoder = WebPEncoder::new_lossless(webp);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(picture, width, height, ExtendedColorType::Rgb8).unwrap();
    bodies
}

#[test]
fn letterbox_of_hd() {
    let plan = Plan::new(&spec(640, 640, Resize::Letterbox), (1280, 720));
    assert_eq!((plan.size, plan.at), ((640, 360), (0, 140)));
    let geometry = plan.geometry;
    assert_eq!((geometry.scale_x, geometry.scale_y), (0.5, 0.5));
    assert_eq!((geometry.left, geometry.top), (0.0, 140.0));
    assert_eq!(geometry.to_picture([100.0, 240.0, 200.0, 340.0]), [200.0, 200.0, 400.0, 400.0]);
    assert_eq!(geometry.to_picture([-5.0, 0.0, 900.0, 640.0]), [0.0, 0.0, 1280.0, 720.0]);
}

#[test]
fn sizes_and_places() {
    let check = |resize, picture, size, at, crop: [f64; 4]| {
        let plan = Plan::new(&spec(100, 60, resize), picture);
        assert_eq!((plan.size, plan.at), (size, at), "{resize:?} {picture:?}");
        let most = plan.crop.iter().zip(crop).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(most < 1e-6, "{resize:?} {picture:?}: {:?}", plan.crop);
    };
    let whole = |width, height| [0.0, 0.0, width, height];
    check(Resize::Letterbox, (100, 60), (100, 60), (0, 0), whole(100.0, 60.0));
    check(Resize::Letterbox, (50, 60), (50, 60), (25, 0), whole(50.0, 60.0));
    check(Resize::Letterbox, (51, 60), (51, 60), (24, 0), whole(51.0, 60.0));
    check(Resize::Letterbox, (10, 1), (100, 10), (0, 25), whole(10.0, 1.0));
    check(Resize::Letterbox, (10_000, 1), (100, 1), (0, 29), whole(10_000.0, 1.0));
    check(Resize::Letterbox, (200, 101), (100, 50), (0, 5), whole(200.0, 101.0)); // 50.5, to even.
    check(Resize::Stretch, (7, 900), (100, 60), (0, 0), whole(7.0, 900.0));
    check(Resize::Cover, (200, 60), (100, 60), (0, 0), [50.0, 0.0, 100.0, 60.0]);
    check(Resize::Cover, (200, 200), (100, 60), (0, 0), [0.0, 40.0, 200.0, 120.0]);
}

#[test]
fn cover_leads_back_to_the_picture() {
    let geometry = Plan::new(&spec(100, 60, Resize::Cover), (400, 120)).geometry;
    let close = geometry.to_picture([0.0, 0.0, 100.0, 60.0]).map(|side| (side * 1e6).round() / 1e6);
    assert_eq!(close, [100.0, 0.0, 300.0, 120.0]);
}

#[test]
fn bars_are_padding() {
    let spec = ImageInput { pad: [1, 2, 3], ..spec(4, 4, Resize::Letterbox) };
    let white = RgbImage::from_pixel(4, 2, image::Rgb([255; 3]));
    let plane = |pad: f32| {
        let mut plane = vec![pad; 4];
        plane.extend([255.0; 8]);
        plane.extend([pad; 4]);
        plane
    };
    let expected = [plane(1.0), plane(2.0), plane(3.0)].concat();
    assert_eq!(prepared(&spec, &png(&white)).tensor, expected);
}

#[test]
fn values_and_their_order() {
    let picture = RgbImage::from_pixel(1, 1, image::Rgb([10, 20, 30]));
    let body = png(&picture);
    let plain = spec(1, 1, Resize::Stretch);
    let check = |spec: ImageInput, shape: &[usize], values: &[f32]| {
        let prepared = prepared(&spec, &body);
        assert_eq!((prepared.shape.as_slice(), prepared.tensor.as_slice()), (shape, values));
    };
    check(plain.clone(), &[1, 3, 1, 1], &[10.0, 20.0, 30.0]);
    let bgr = ImageInput { channels: Channels::Bgr, ..plain.clone() };
    check(bgr.clone(), &[1, 3, 1, 1], &[30.0, 20.0, 10.0]);
    check(ImageInput { layout: Layout::Nhwc, ..bgr }, &[1, 1, 1, 3], &[30.0, 20.0, 10.0]);
    let gray = ImageInput { channels: Channels::Gray, ..plain.clone() };
    check(gray.clone(), &[1, 1, 1, 1], &[18.0]); // 2.99 + 11.74 + 3.42
    check(ImageInput { layout: Layout::Nhwc, ..gray }, &[1, 1, 1, 1], &[18.0]);
    let normalised =
        ImageInput { scale: 0.1, mean: [1.0, 1.0, 2.0], std: [1.0, 0.5, 0.25], ..plain.clone() };
    check(normalised, &[1, 3, 1, 1], &[0.0, 2.0, 4.0]);
    check(ImageInput { dtype: Dtype::Uint8, ..plain }, &[1, 3, 1, 1], &[10.0, 20.0, 30.0]);
}

#[test]
fn layouts_agree_with_bars() {
    let (width, height) = (8, 6);
    let body = png(&scene(9, 3));
    let nchw = prepared(&spec(width, height, Resize::Letterbox), &body).tensor;
    let nhwc = ImageInput { layout: Layout::Nhwc, ..spec(width, height, Resize::Letterbox) };
    let nhwc = prepared(&nhwc, &body).tensor;
    for (index, pixel) in nhwc.chunks_exact(3).enumerate() {
        let planes = [0, 1, 2].map(|channel| nchw[channel * 48 + index]);
        assert_eq!(pixel, planes, "pixel {index}");
    }
}

#[test]
fn formats_agree() {
    let picture = scene(200, 120);
    let spec = spec(64, 64, Resize::Letterbox);
    let exact = prepared(&spec, &png(&picture)).tensor;
    assert_eq!(prepared(&spec, &webp(&picture)).tensor, exact);
    let most = furthest(&prepared(&spec, &jpeg(&picture)).tensor, &exact);
    assert!(most <= 6.0, "{most}");
}

#[test]
fn kinds_of_pixels_agree() {
    let picture = DynamicImage::from(scene(40, 30));
    let spec = spec(20, 15, Resize::Stretch);
    let exact = prepared(&spec, &encoded_png(&picture)).tensor;
    let kinds = [DynamicImage::from(picture.to_rgba8()), picture.to_rgb16().into()];
    for kind in kinds.into_iter().chain([picture.to_rgba16().into()]) {
        let color = kind.color();
        assert_eq!(prepared(&spec, &encoded_png(&kind)).tensor, exact, "{color:?}");
    }
    let gray = DynamicImage::from(picture.to_luma8());
    let exact = prepared(&spec, &encoded_png(&gray)).tensor;
    assert_eq!(exact[..300], exact[300..600]);
    for kind in [gray.to_luma_alpha8().into(), gray.to_luma16().into()] {
        let kind: DynamicImage = kind;
        let color = kind.color();
        assert_eq!(prepared(&spec, &encoded_png(&kind)).tensor, exact, "{color:?}");
    }
}

#[test]
fn transparency_is_dropped() {
    let clear = image::RgbaImage::from_pixel(3, 3, image::Rgba([9, 8, 7, 0]));
    let tensor = prepared(&spec(1, 1, Resize::Stretch), &encoded_png(&clear.into())).tensor;
    assert_eq!(tensor, [9.0, 8.0, 7.0]);
}

#[test]
fn gray_jpeg() {
    let mut body = Vec::new();
    let gray = GrayImage::from_pixel(16, 16, image::Luma([77]));
    gray.write_with_encoder(JpegEncoder::new(&mut body)).unwrap();
    assert_eq!(prepared(&spec(1, 1, Resize::Stretch), &body).tensor, [77.0; 3]);
    let gray = ImageInput { channels: Channels::Gray, ..spec(1, 1, Resize::Stretch) };
    assert_eq!(prepared(&gray, &body).tensor, [77.0]);
}

/// Files that `image` cannot make; `testdata/make.py` did, with Pillow.
#[test]
fn files_of_others() {
    let check = |name: &str, body: &[u8], expected: [f32; 3], slack: f32| {
        let tensor = prepared(&spec(1, 1, Resize::Stretch), body).tensor;
        let most = furthest(&tensor, &expected);
        assert!(most <= slack, "{name}: {tensor:?}");
    };
    check("palette", include_bytes!("testdata/palette.png"), [200.0, 100.0, 50.0], 0.0);
    check("1 bit", include_bytes!("testdata/one_bit.png"), [255.0; 3], 0.0);
    check(
        "palette, alpha",
        include_bytes!("testdata/palette_alpha.png"),
        [200.0, 100.0, 50.0],
        0.0,
    );
    check("interlaced", include_bytes!("testdata/interlaced.png"), [200.0, 100.0, 50.0], 0.0);
    check("CMYK", include_bytes!("testdata/cmyk.jpg"), [200.0, 100.0, 50.0], 3.0);
    check("progressive", include_bytes!("testdata/progressive.jpg"), [200.0, 100.0, 50.0], 3.0);
    check("lossy", include_bytes!("testdata/lossy.webp"), [200.0, 100.0, 50.0], 4.0);
    check("lossy, alpha", include_bytes!("testdata/lossy_alpha.webp"), [200.0, 100.0, 50.0], 4.0);
    check("animated", include_bytes!("testdata/animated.webp"), [200.0, 100.0, 50.0], 4.0);
}

/// What Pillow 13 makes of `testdata/scene.png`. The two round differently here and there.
#[test]
fn resampling_is_pillows() {
    let body = include_bytes!("testdata/scene.png");
    let check = |filter, expected: &[u8], slack: f32| {
        let spec = ImageInput { filter, layout: Layout::Nhwc, ..spec(16, 9, Resize::Stretch) };
        let expected: Vec<f32> = expected.iter().copied().map(f32::from).collect();
        let most = furthest(&prepared(&spec, body).tensor, &expected);
        assert!(most <= slack, "{filter:?}: {most}");
    };
    check(Filter::Nearest, include_bytes!("testdata/scene_nearest.rgb"), 0.0);
    check(Filter::Bilinear, include_bytes!("testdata/scene_bilinear.rgb"), 1.0);
    check(Filter::Bicubic, include_bytes!("testdata/scene_bicubic.rgb"), 1.0);
    check(Filter::Lanczos, include_bytes!("testdata/scene_lanczos.rgb"), 1.0);
}

#[test]
fn a_batch_is_written_side_by_side() {
    let pictures = [png(&scene(40, 9)), jpeg(&scene(9, 40)), webp(&scene(20, 20))];
    for (channels, layout) in [
        (Channels::Rgb, Layout::Nchw),
        (Channels::Bgr, Layout::Nchw),
        (Channels::Bgr, Layout::Nhwc),
        (Channels::Gray, Layout::Nhwc),
    ] {
        let spec = ImageInput { channels, layout, ..spec(16, 12, Resize::Letterbox) };
        let each = tensor_len(&spec);
        let mut batch = vec![f32::NAN; pictures.len() * each]; // Whatever was there is gone.
        for (body, tensor) in pictures.iter().zip(batch.chunks_exact_mut(each)) {
            let geometry = prepare_into(&spec, "image/png", body, tensor).unwrap();
            let alone = prepared(&spec, body);
            assert_eq!((tensor, geometry), (alone.tensor.clone().as_mut_slice(), alone.geometry));
            assert_eq!(alone.shape.iter().product::<usize>(), each);
        }
    }
}

#[test]
fn a_huge_picture_leaves_no_buffers_behind() {
    let kept = |side: u32| {
        let body = png(&RgbImage::from_pixel(side, side, image::Rgb([9; 3])));
        prepared(&spec(64, 64, Resize::Stretch), &body);
        scratch::lend(|scratch| scratch.size())
    };
    let usual = kept(700);
    assert!(usual >= 700 * 700 * 3, "an usual picture's are kept: {usual}");
    assert!(kept(1700) <= limits::MAX_KEPT);
    assert!(kept(700) >= usual, "and again after it");
    // What is at fault does not matter.
    let mut body = png(&RgbImage::from_fn(1700, 1700, |x, y| {
        image::Rgb([x.to_le_bytes()[0], y.to_le_bytes()[0], 0])
    }));
    body.truncate(body.len() / 2);
    assert_eq!(refused(&body).0, 400);
    assert!(scratch::lend(|scratch| scratch.size()) <= limits::MAX_KEPT);
}

/// What Pillow 13 makes of `testdata/luma_*.jpg`, of each way to store less colour than light.
#[test]
fn gray_of_a_jpeg_is_its_luma() {
    let check = |name: &str, body: &[u8], gray: &[u8]| {
        let plain = ImageInput { layout: Layout::Nhwc, ..spec(37, 23, Resize::Stretch) };
        let wanted = ImageInput { channels: Channels::Gray, ..plain };
        let expected: Vec<f32> = gray.iter().copied().map(f32::from).collect();
        let most = furthest(&prepared(&wanted, body).tensor, &expected);
        assert!(most <= 1.0, "{name}: {most}");
    };
    check("4:4:4", include_bytes!("testdata/luma_444.jpg"), include_bytes!("testdata/luma_444.l"));
    check("4:2:2", include_bytes!("testdata/luma_422.jpg"), include_bytes!("testdata/luma_422.l"));
    check("4:2:0", include_bytes!("testdata/luma_420.jpg"), include_bytes!("testdata/luma_420.l"));
    check(
        "progressive",
        include_bytes!("testdata/luma_progressive.jpg"),
        include_bytes!("testdata/luma_progressive.l"),
    );
}

/// What the other decoder makes of the whole file, as a PNG.
fn decoded_whole(body: &[u8]) -> Vec<u8> {
    let whole = image::load_from_memory_with_format(body, image::ImageFormat::Jpeg).unwrap();
    encoded_png(&whole)
}

/// How far the tensors are from each other: at most, and on average.
fn distance(a: &[f32], b: &[f32]) -> (f32, f32) {
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
    (furthest(a, b), sum / a.len() as f32)
}

/// The usual JPEGs are resized before their colours are converted where they are much larger than
/// the target, and decoded at a reduced size where twice the target's is left. Both stay near what the whole picture gives, even where
/// writing and saturated edges make it hard; `photo_*.jpg` are 333 x 251.
#[test]
fn jpegs_are_decoded_no_larger_than_need_be() {
    let bodies: [(&str, &[u8]); 4] = [
        ("4:4:4", include_bytes!("testdata/photo_444.jpg")),
        ("4:2:2", include_bytes!("testdata/photo_422.jpg")),
        ("4:2:0", include_bytes!("testdata/photo_420.jpg")),
        ("restarts", include_bytes!("testdata/photo_restarts.jpg")),
    ];
    let bodies = bodies.map(|(name, body)| (name, body, decoded_whole(body)));
    let check = |spec: &ImageInput, bound: (f32, f32)| {
        for (name, body, whole) in &bodies {
            let whole = prepared(spec, whole).tensor;
            let (most, mean) = distance(&prepared(spec, body).tensor, &whole);
            let bounded = most <= bound.0 && mean <= bound.1;
            assert!(bounded, "{name}, {spec:?}: {most} at most, {mean} on average");
        }
    };
    let resized =
        |size: (u32, u32), resize, filter| ImageInput { filter, ..spec(size.0, size.1, resize) };
    // Not worth it, then in its own colours, then reduced by 2, 4 and 8.
    check(&resized((333, 251), Resize::Stretch, Filter::Lanczos), (0.0, 0.0));
    check(&resized((140, 110), Resize::Letterbox, Filter::Bicubic), (0.0, 0.0));
    check(&resized((120, 90), Resize::Letterbox, Filter::Bilinear), (16.0, 0.6));
    check(&resized((90, 70), Resize::Cover, Filter::Lanczos), (16.0, 0.6));
    check(&resized((80, 60), Resize::Letterbox, Filter::Bilinear), (20.0, 0.9));
    check(&resized((41, 31), Resize::Stretch, Filter::Lanczos), (32.0, 0.9));
    check(&resized((20, 15), Resize::Cover, Filter::Bicubic), (20.0, 1.2));
    let nearest = ImageInput { filter: Filter::Nearest, ..spec(41, 31, Resize::Stretch) };
    check(&nearest, (0.0, 0.0));
}

#[test]
fn the_usual_jpegs_take_the_short_way() {
    let check = |body: &[u8], expected: bool| {
        let decodes = |file: baseline::Baseline<'_>| file.decode(&[1, 1, 1], &mut Vec::new());
        assert_eq!(baseline::Baseline::read(body).and_then(decodes).is_some(), expected);
    };
    check(include_bytes!("testdata/photo_444.jpg"), true);
    check(include_bytes!("testdata/photo_422.jpg"), true);
    check(include_bytes!("testdata/photo_420.jpg"), true);
    check(include_bytes!("testdata/photo_restarts.jpg"), true);
    check(include_bytes!("testdata/progressive.jpg"), false);
    check(include_bytes!("testdata/cmyk.jpg"), false);
    let whole = include_bytes!("testdata/photo_420.jpg");
    check(&whole[..whole.len() / 2], false); // The other decoder says what is wrong.
}
