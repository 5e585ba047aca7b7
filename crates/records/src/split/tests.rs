//! Objects of each format, whole and broken, however they come in pieces.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Record, SplitType, Splitter};
use crate::RecordError;
use crate::split::tfrecord::masked_crc;

const MAGIC: [u8; 4] = 0xced7_230a_u32.to_le_bytes();

fn split_in_pieces(
    split: SplitType,
    limit: usize,
    pieces: &[&[u8]],
) -> Result<Vec<Record>, RecordError> {
    let mut splitter = Splitter::new(split, limit);
    let mut records = Vec::new();
    for piece in pieces {
        splitter.push(&Bytes::copy_from_slice(piece));
        while let Some(record) = splitter.next_record()? {
            records.push(record);
        }
    }
    splitter.end();
    while let Some(record) = splitter.next_record()? {
        records.push(record);
    }
    Ok(records)
}

fn bodies(split: SplitType, object: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let records = split_in_pieces(split, 1 << 20, &[object]).map_err(|error| error.to_string())?;
    Ok(records.into_iter().map(|record| record.body.to_vec()).collect())
}

/// A `RecordIO` record as it is written: cut where the magic number stands at a multiple of 4.
fn record_io(body: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    for at in (0..body.len()).step_by(4) {
        if body[at..].starts_with(&MAGIC) {
            parts.push(&body[start..at]);
            start = at + 4;
        }
    }
    parts.push(&body[start..]);
    let last = parts.len() - 1;
    let mut out = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let flag = match at {
            0 if last == 0 => 0,
            0 => 1,
            _ if at == last => 3,
            _ => 2_u32,
        };
        out.extend(MAGIC);
        out.extend((flag << 29 | u32::try_from(part.len()).unwrap()).to_le_bytes());
        out.extend_from_slice(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

fn tf_record(body: &[u8]) -> Vec<u8> {
    let length = u64::try_from(body.len()).unwrap().to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend_from_slice(body);
    out.extend(masked_crc(body).to_le_bytes());
    out
}

#[test]
fn checksums_are_those_of_tensorflow() {
    // The length 5 as `tf.io.TFRecordWriter` writes it.
    assert_eq!(tf_record(b"hello")[..12], *b"\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3e");
}

#[test]
fn lines() {
    let check = |object: &[u8], wanted: &[&str]| {
        let wanted: Vec<_> = wanted.iter().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(bodies(SplitType::Line, object).unwrap(), wanted);
    };
    check(b"", &[]);
    check(b"a", &["a"]);
    check(b"a\nb\n", &["a", "b"]);
    check(b"a\nb", &["a", "b"]);
    check(b"a\n\nb\n\n", &["a", "", "b", ""]);
    check(b"a\r\nb\r\n", &["a\r", "b\r"]);
}

#[test]
fn one_record_of_an_object() {
    assert_eq!(bodies(SplitType::None, b"a\nb").unwrap(), [b"a\nb"]);
    assert!(bodies(SplitType::None, b"").unwrap().is_empty());
}

#[test]
fn parts_get_their_magic_number_back() {
    let body = [b"abcd", &MAGIC[..], b"efgh", &MAGIC[..], b"ij"].concat();
    let framed = record_io(&body);
    assert_eq!(framed.len(), 12 + 12 + 12);
    assert_eq!(bodies(SplitType::RecordIo, &framed).unwrap(), [body]);
}

#[test]
fn broken_objects_say_which_record() {
    let check = |split, object: &[u8], wanted: &str| {
        let error = bodies(split, object).unwrap_err();
        assert!(error.contains(wanted), "{error}");
    };
    let good = record_io(b"first");
    let mut second = record_io(b"second");
    check(SplitType::RecordIo, &[&good[..], &second[..9]].concat(), "within RecordIO record 2");
    second[0] ^= 1;
    check(SplitType::RecordIo, &[&good[..], &second[..]].concat(), "record 2 is no RecordIO");
    check(SplitType::RecordIo, &good[..3], "within RecordIO record 1");
    let middle = [&MAGIC[..], &(2_u32 << 29).to_le_bytes()].concat();
    check(SplitType::RecordIo, &middle, "its parts are not in order");
    let flag = [&MAGIC[..], &(5_u32 << 29).to_le_bytes()].concat();
    check(SplitType::RecordIo, &flag, "its flag is unknown");
    let good = tf_record(b"first");
    for (at, wanted) in [(0, "its length"), (9, "its length"), (13, "its bytes"), (18, "its bytes")]
    {
        let mut bad = good.clone();
        bad[at] ^= 1;
        check(SplitType::TfRecord, &[&good[..], &bad[..]].concat(), "record 2 is no TFRecord");
        check(SplitType::TfRecord, &bad, wanted);
    }
    check(SplitType::TfRecord, &good[..15], "within TFRecord record 1");
}

#[test]
fn a_record_over_the_limit_is_refused_before_it_is_whole() {
    for (split, object) in [
        (SplitType::None, vec![b'a'; 11]),
        (SplitType::Line, vec![b'a'; 11]),
        (SplitType::Line, [vec![b'a'; 11], b"\n".to_vec()].concat()),
        (SplitType::RecordIo, record_io(&[b'a'; 100])[..9].to_vec()),
        (SplitType::TfRecord, tf_record(&[b'a'; 100])[..12].to_vec()),
    ] {
        let mut splitter = Splitter::new(split, 10);
        splitter.push(&object.into());
        let error = splitter.next_record().unwrap_err();
        assert!(matches!(error, RecordError::TooLong { record: 1, limit: 10 }), "{error}");
    }
    let lines = split_in_pieces(SplitType::Line, 10, &[b"0123456789\n0123456789"]).unwrap();
    assert_eq!(lines.len(), 2);
}

/// Bytes in which the magic number is not rare.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(MAGIC.to_vec()),
        prop::collection::vec(any::<u8>(), 0..9),
        Just(vec![0; 4])
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn any_split() -> impl Strategy<Value = SplitType> {
    prop_oneof![
        Just(SplitType::None),
        Just(SplitType::Line),
        Just(SplitType::RecordIo),
        Just(SplitType::TfRecord)
    ]
}

/// An object of these records.
fn written(split: SplitType, bodies: &[Vec<u8>]) -> Vec<u8> {
    let record = |body: &Vec<u8>| match split {
        SplitType::None => body.clone(),
        SplitType::Line => [body.as_slice(), b"\n"].concat(),
        SplitType::RecordIo => record_io(body),
        SplitType::TfRecord => tf_record(body),
    };
    bodies.iter().flat_map(record).collect()
}

fn cut<'o>(object: &'o [u8], cuts: &[prop::sample::Index]) -> Vec<&'o [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(object.len() + 1)).collect();
    at.extend([0, object.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &object[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        split in any_split(),
        bodies in prop::collection::vec(body(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let bodies: Vec<Vec<u8>> = bodies.into_iter().map(|body| match split {
            SplitType::Line => body.into_iter().filter(|byte| *byte != b'\n').collect(),
            SplitType::None | SplitType::RecordIo | SplitType::TfRecord => body,
        }).collect();
        let object = written(split, &bodies);
        let records = split_in_pieces(split, 1 << 20, &cut(&object, &cuts)).unwrap();
        let read: Vec<_> = records.iter().map(|record| record.body.to_vec()).collect();
        let whole: Vec<_> = [object.clone()].into_iter().filter(|one| !one.is_empty()).collect();
        prop_assert_eq!(read, if split == SplitType::None { whole } else { bodies });
        if split != SplitType::Line {
            let framed: Vec<u8> = records.iter().flat_map(|record| record.framed.to_vec()).collect();
            prop_assert_eq!(framed, object);
        }
    }

    #[test]
    fn any_bytes_end_in_records_or_an_error_however_they_come(
        split in any_split(),
        object in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            body(),
            body().prop_map(|body| record_io(&body)),
            body().prop_map(|body| [tf_record(&body), vec![1]].concat()),
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        limit in 0_usize..40,
    ) {
        let at_once = split_in_pieces(split, limit, &[&object]);
        let in_pieces = split_in_pieces(split, limit, &cut(&object, &cuts));
        prop_assert_eq!(at_once.is_ok(), in_pieces.is_ok());
        if let (Ok(at_once), Ok(in_pieces)) = (at_once, in_pieces) {
            prop_assert_eq!(at_once, in_pieces);
        }
    }
}
