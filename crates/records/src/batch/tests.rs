//! Payloads: what goes together, what is refused, and that pieces do not matter.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::{Batch, Batches, Shape, Strategy as BatchStrategy};
use crate::{Assemble, Format, Path, Processing, RecordError, SplitType};

fn shape(split: SplitType, strategy: BatchStrategy, limit: usize) -> Shape {
    let processing = Processing {
        input_filter: Path::parse("$").unwrap(),
        output_filter: Path::parse("$").unwrap(),
        joins: false,
        format: Format::Opaque,
        assemble: Assemble::Line,
    };
    Shape { gzip: false, split, strategy, limit, processing: Arc::new(processing) }
}

fn csv(input_filter: &str, joins: bool, limit: usize) -> Shape {
    let shape = shape(SplitType::Line, BatchStrategy::MultiRecord, limit);
    let processing = Processing {
        input_filter: Path::parse(input_filter).unwrap(),
        joins,
        format: Format::Csv,
        ..Processing::clone(&shape.processing)
    };
    Shape { processing: Arc::new(processing), ..shape }
}

fn batches(shape: &Shape, pieces: &[&[u8]]) -> Result<Vec<Batch>, RecordError> {
    let mut batches = Batches::new(shape.clone());
    let mut all = Vec::new();
    for piece in pieces {
        batches.push(Bytes::copy_from_slice(piece));
        while let Some(batch) = batches.next_batch()? {
            all.push(batch);
        }
    }
    batches.end();
    while let Some(batch) = batches.next_batch()? {
        all.push(batch);
    }
    Ok(all)
}

#[track_caller]
fn check(shape: &Shape, object: &str, wanted: &[(u64, u64, &str)]) {
    let batches = batches(shape, &[object.as_bytes()]).unwrap();
    let told: Vec<_> = batches
        .iter()
        .map(|batch| (batch.first, batch.n_records, std::str::from_utf8(&batch.payload).unwrap()))
        .collect();
    assert_eq!(told, wanted);
}

fn zipped(object: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(object).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn as_many_records_as_fit() {
    use BatchStrategy::{MultiRecord, SingleRecord};
    let lines = |strategy, limit| shape(SplitType::Line, strategy, limit);
    check(&lines(MultiRecord, 5), "ab\ncd\nef\n", &[(1, 2, "ab\ncd"), (3, 1, "ef")]);
    check(&lines(MultiRecord, 4), "ab\ncd\nef", &[(1, 1, "ab"), (2, 1, "cd"), (3, 1, "ef")]);
    check(&lines(MultiRecord, 99), "ab\n\ncd\n", &[(1, 3, "ab\n\ncd")]);
    check(&lines(SingleRecord, 99), "ab\ncd\n", &[(1, 1, "ab"), (2, 1, "cd")]);
    check(&lines(MultiRecord, 99), "", &[]);
    check(&shape(SplitType::None, MultiRecord, 99), "ab\ncd\n", &[(1, 1, "ab\ncd\n")]);
}

#[test]
fn filtered_rows_without_blank_ones() {
    check(&csv("$[1:]", false, 99), "id,1,2\r\n\r\nie,3,4\n\n", &[(1, 2, "1,2\n3,4")]);
    let joined = batches(&csv("$[1:]", true, 99), &[b"id,1\nie,2\n"]).unwrap();
    assert_eq!(joined[0].originals, [&b"id,1"[..], b"ie,2"]);
    let error = batches(&csv("$[5]", false, 99), &[b"1,2\n"]).unwrap_err();
    assert_eq!(error.to_string(), "record 1: it has no element 5, for there are 2");
    let error = batches(&csv("$[0]", false, 99), &[b"1\n\xff\n"]).unwrap_err();
    assert_eq!(error.to_string(), "record 2: it is not text in UTF-8");
}

#[test]
fn a_record_that_is_longer_than_a_payload() {
    let shape = shape(SplitType::Line, BatchStrategy::MultiRecord, 3);
    let error = batches(&shape, &[b"abc\nabcd\n"]).unwrap_err().to_string();
    assert_eq!(error, "record 2 is longer than the allowed 3 bytes (MaxPayloadInMB)");
}

#[test]
fn gzip_in_members_and_broken() {
    let mut shape = shape(SplitType::Line, BatchStrategy::MultiRecord, 99);
    shape.gzip = true;
    let object = [zipped(b"ab\nc"), zipped(b"d\n")].concat();
    assert_eq!(batches(&shape, &[&object]).unwrap()[0].payload, "ab\ncd");
    for broken in [&object[..object.len() - 9], b"plain text", b""] {
        let error = batches(&shape, &[broken]).unwrap_err().to_string();
        assert!(error.starts_with("the object is not readable as gzip"), "{error}");
    }
}

#[test]
fn a_gzip_bomb_is_inflated_bit_by_bit() {
    let mut shape = shape(SplitType::Line, BatchStrategy::SingleRecord, 1 << 20);
    shape.gzip = true;
    let object = zipped(&vec![b'\n'; 64 << 20]);
    let mut batches = Batches::new(shape);
    batches.push(object.into());
    assert!(batches.next_batch().unwrap().is_some());
    assert!(!batches.pending.is_empty(), "what is not asked for is not inflated");
}

proptest! {
    #[test]
    fn pieces_do_not_matter_and_nothing_is_lost(
        lines in prop::collection::vec("[a-z,]{0,12}", 0..20),
        size in 1_usize..40,
        limit in 12_usize..60,
        gzip: bool,
        single: bool,
    ) {
        let strategy =
            if single { BatchStrategy::SingleRecord } else { BatchStrategy::MultiRecord };
        let mut shape = shape(SplitType::Line, strategy, limit);
        shape.gzip = gzip;
        let object: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let stored = if gzip { zipped(object.as_bytes()) } else { object.clone().into_bytes() };
        let pieces: Vec<&[u8]> = stored.chunks(size).collect();
        let in_pieces = batches(&shape, &pieces).unwrap();
        prop_assert_eq!(&in_pieces, &batches(&shape, &[&stored]).unwrap());
        let echoed: Vec<u8> = in_pieces.iter().flat_map(|batch| {
            let echo = batch.payload.clone();
            let echo = [&echo[..], b"\n"].concat();
            shape.processing.written(batch, None, &echo.into()).unwrap().to_vec()
        }).collect();
        prop_assert_eq!(String::from_utf8(echoed).unwrap(), object);
        prop_assert!(in_pieces.iter().all(|batch| batch.payload.len() <= limit));
    }

    #[test]
    fn any_bytes_end_in_payloads_or_an_error(
        object in prop::collection::vec(any::<u8>(), 0..200),
        filter in prop::sample::select(vec!["$", "$[0]", "$.a", "$[*]", "$['a','b']", "$[1:]"]),
        format in prop::sample::select(vec![Format::Csv, Format::Json, Format::Opaque]),
        split in prop::sample::select(vec![
            SplitType::None, SplitType::Line, SplitType::RecordIo, SplitType::TfRecord,
        ]),
        joins: bool,
        gzip: bool,
    ) {
        let shape = csv("$", joins, 64);
        let processing = Processing {
            input_filter: Path::parse(filter).unwrap(),
            output_filter: Path::parse(filter).unwrap(),
            format,
            ..Processing::clone(&shape.processing)
        };
        let shape = Shape { processing: Arc::new(processing), split, gzip, ..shape };
        for batch in batches(&shape, &[&object]).into_iter().flatten() {
            let written = shape.processing.written(&batch, Some("text/csv"), &batch.payload);
            prop_assert!(written.is_err() || batch.n_records > 0);
        }
    }
}
