//! Files that are none, or promise too much.

use proptest::prelude::*;

use super::*;

#[test]
fn types() {
    for yes in ["image/jpeg", "IMAGE/JPG", "image/png; q=1", " image/webp", "application/x-image"] {
        assert!(accepts(yes), "{yes}");
    }
    for no in ["", "image/gif", "application/json", "image/*", "image/jpegx"] {
        assert!(!accepts(no), "{no}");
    }
    let error = prepare(&spec(1, 1, Resize::Stretch), "image/gif", b"GIF89a").unwrap_err();
    assert_eq!(error.status(), 415);
}

/// A PNG of which only the header is there.
fn claims(width: u32, height: u32) -> Vec<u8> {
    let mut ihdr = b"IHDR".to_vec();
    ihdr.extend(width.to_be_bytes());
    ihdr.extend(height.to_be_bytes());
    ihdr.extend([8, 6, 0, 0, 0]);
    let mut body = b"\x89PNG\r\n\x1A\n\0\0\0\x0D".to_vec();
    body.extend(&ihdr);
    body.extend(crc(&ihdr).to_be_bytes());
    body.extend(b"\0\0\0\0IDAT\x35\xAF\x06\x1E");
    body
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}

#[test]
fn bombs_are_refused_by_their_header() {
    for (width, height) in [(100_000, 100_000), (65_535, 65_535), (8193, 8192), (70_000, 1)] {
        let (status, why) = refused(&claims(width, height));
        assert_eq!(status, 413, "{width} x {height}: {why}");
    }
    for (width, height) in [(0, 0), (0, 5), (5, 0), (u32::MAX, 1)] {
        let (status, why) = refused(&claims(width, height));
        assert!([400, 413].contains(&status), "{width} x {height}: {status} {why}");
    }
    assert_eq!(refused(&vec![0xFF; MAX_BYTES + 1]).0, 413);
}

#[test]
fn jpeg_bombs_are_refused_by_their_header() {
    let body = jpeg(&scene(16, 16));
    let frame = body.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    let claim = |marker: u8, width: u16, height: u16| {
        let mut body = body.clone();
        body[frame + 1] = marker;
        body[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        body[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
        refused(&body)
    };
    assert_eq!(claim(0xC0, 65_535, 65_535).0, 413);
    assert_eq!(claim(0xC0, 8192, 8193).0, 413);
    let (status, why) = claim(0xC2, 8192, 8192); // Held as coefficients, which takes more.
    assert_eq!(status, 413);
    assert!(why.contains("bytes of memory"), "{why}");
    assert_eq!(claim(0xC0, 0, 16).0, 400);
}

#[test]
fn webp_bombs_are_refused_by_their_header() {
    let mut body = include_bytes!("../testdata/lossy.webp").to_vec();
    let frame = body.windows(3).position(|start| start == [0x9D, 0x01, 0x2A]).unwrap();
    body[frame + 3..frame + 7].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    assert_eq!(refused(&body).0, 413);
    let mut body = include_bytes!("../testdata/animated.webp").to_vec();
    let frame = body.windows(3).position(|start| start == [0x9D, 0x01, 0x2A]).unwrap();
    body[frame + 3..frame + 7].copy_from_slice(&[0xFF, 0x3F, 0xFF, 0x3F]);
    assert_eq!(refused(&body).0, 413);
}

#[test]
fn cut_files_are_refused() {
    let picture = scene(160, 90);
    let progressive = include_bytes!("../testdata/progressive.jpg").to_vec();
    let lossy = include_bytes!("../testdata/lossy.webp").to_vec();
    for body in [jpeg(&picture), png(&picture), webp(&picture), progressive, lossy] {
        for sixteenth in 0..16 {
            let (status, why) = refused(&body[..body.len() * sixteenth / 16]);
            assert_eq!(status, 400, "{sixteenth}/16: {why}");
        }
    }
    let body = jpeg(&picture);
    assert_eq!(refused(&body[..body.len() - 1]).0, 400);
    assert_eq!(refused(&body[..body.len() / 2]).1, "the body is not a JPEG: it is cut short");
}

#[test]
fn what_follows_a_jpeg_does_no_harm() {
    let mut body = jpeg(&scene(32, 32));
    let spec = spec(8, 8, Resize::Stretch);
    let expected = prepared(&spec, &body);
    body.extend([0; 100]);
    assert_eq!(prepared(&spec, &body), expected);
}

#[test]
fn complaints() {
    assert_eq!(refused(b"").1, "the body is not a picture: it is empty");
    assert_eq!(
        refused(b"<html>\xFFetc").1,
        "the body is not a picture: it starts with \"<html>\\xffe\", as no JPEG, PNG or WebP does"
    );
    assert_eq!(
        refused(&claims(9000, 9000)).1,
        "the picture is too large: 9000 x 9000 pixels, of at most 67108864 in all"
    );
}

fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    let picture = scene(24, 16);
    prop::sample::select(vec![
        Vec::new(),
        b"\xFF\xD8\xFF".to_vec(),
        b"\x89PNG\r\n\x1A\n".to_vec(),
        b"RIFF\x40\0\0\0WEBPVP8 ".to_vec(),
        b"RIFF\x40\0\0\0WEBPVP8L".to_vec(),
        b"RIFF\x40\0\0\0WEBPVP8X".to_vec(),
        jpeg(&picture),
        png(&picture),
        webp(&picture),
        include_bytes!("../testdata/progressive.jpg").to_vec(),
        include_bytes!("../testdata/cmyk.jpg").to_vec(),
        include_bytes!("../testdata/luma_420.jpg").to_vec(),
        include_bytes!("../testdata/photo_restarts.jpg").to_vec(),
        include_bytes!("../testdata/lossy_alpha.webp").to_vec(),
        include_bytes!("../testdata/animated.webp").to_vec(),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_panic(
        mut body in beginnings(),
        tail in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        body.extend(tail);
        drop(prepare(&spec(8, 8, Resize::Letterbox), "image/png", &body));
    }

    #[test]
    fn damaged_files_never_panic(
        mut body in beginnings(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for (place, byte) in hits {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        drop(prepare(&spec(8, 8, Resize::Cover), "image/png", &body));
        let gray = ImageInput { channels: Channels::Gray, ..spec(8, 8, Resize::Stretch) };
        drop(prepare(&gray, "image/png", &body));
    }

    /// A damaged file's missing pixels are nobody else's.
    #[test]
    fn nothing_is_left_of_the_picture_before(
        mut body in beginnings(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        for (place, byte) in hits {
            if !body.is_empty() {
                let place = place.index(body.len());
                body[place] = byte;
            }
        }
        let spec = spec(24, 16, Resize::Stretch);
        let after = |byte: u8| {
            let before = RgbImage::from_pixel(32, 32, image::Rgb([byte; 3]));
            prepared(&spec, &png(&before));
            prepare(&spec, "image/png", &body)
        };
        prop_assert_eq!(after(0), after(255));
    }

    #[test]
    fn boxes_come_back(
        picture in (1u32..5000, 1u32..5000),
        resize in prop::sample::select(vec![Resize::Letterbox, Resize::Stretch, Resize::Cover]),
    ) {
        let plan = Plan::new(&spec(640, 480, resize), picture);
        let [x, y, width, height] = plan.crop;
        let (left, top) = (f64::from(plan.at.0), f64::from(plan.at.1));
        let (right, bottom) = (left + f64::from(plan.size.0), top + f64::from(plan.size.1));
        let back = plan.geometry.to_picture([left, top, right, bottom]);
        for (got, wanted) in back.into_iter().zip([x, y, x + width, y + height]) {
            prop_assert!((got - wanted).abs() < 1e-6, "{back:?}");
        }
    }
}
