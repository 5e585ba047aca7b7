use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sagebrush_core::objects::Blob;
use sagebrush_store::MemoryStore;
use tempfile::TempDir;

use super::write::discard;
use super::{Blobs, NewBlob, WriteError};
use crate::digest::Digests;

/// How many files there are, drafts too.
pub(crate) fn files_below(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

fn blobs() -> (TempDir, Blobs) {
    let dir = TempDir::new().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    (dir, blobs)
}

async fn write(blobs: &Blobs, chunks: &[&[u8]]) -> NewBlob {
    let chunks: Vec<_> =
        chunks.iter().map(|chunk| io::Result::Ok(Bytes::copy_from_slice(chunk))).collect();
    blobs.write(stream::iter(chunks), Digests::new([]), u64::MAX).await.unwrap().0
}

async fn read(blobs: &Blobs, of: &[Blob], range: std::ops::Range<u64>) -> Vec<u8> {
    let reader = blobs.read(of, range).await.unwrap();
    reader.map_ok(|chunk| chunk.to_vec()).try_concat().await.unwrap()
}

#[tokio::test]
async fn a_blob_comes_back() {
    let (_dir, blobs) = blobs();
    let big = vec![7; 3 << 20];
    let (blob, sums) = blobs
        .write(
            stream::iter(big.chunks(100_000).map(|c| io::Result::Ok(Bytes::copy_from_slice(c)))),
            Digests::new([]),
            u64::MAX,
        )
        .await
        .unwrap();
    let mut direct = Digests::new([]);
    direct.update(&big);
    assert_eq!(sums, direct.finish());
    assert_eq!(blob.blob().size, 3 << 20);
    assert_eq!(read(&blobs, &[blob.blob()], 0..3 << 20).await, big);
}

#[tokio::test]
async fn ranges_span_blobs() {
    let (_dir, blobs) = blobs();
    let written =
        [write(&blobs, &[b"abc"]).await, write(&blobs, &[]).await, write(&blobs, &[b"defg"]).await];
    let of: Vec<_> = written.iter().map(NewBlob::blob).collect();
    for (range, expected) in
        [(0..7, "abcdefg"), (2..4, "cd"), (3..7, "defg"), (0..3, "abc"), (6..7, "g"), (4..4, "")]
    {
        assert_eq!(read(&blobs, &of, range).await, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_body_that_fails_leaves_nothing() {
    for before in [0, 1, 3 << 20] {
        let (dir, blobs) = blobs();
        let body = stream::iter([
            Ok(Bytes::from(vec![1; before])),
            Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        ]);
        let written = blobs.write(body, Digests::new([]), u64::MAX).await;
        assert!(matches!(written, Err(WriteError::Body(_))));
        assert_eq!(files_below(dir.path()), 0);
        assert!(blobs.state().writing.is_empty());
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_leaves_nothing() {
    let (dir, blobs) = blobs();
    let body = stream::repeat_with(|| io::Result::Ok(Bytes::from_static(&[0; 4096])));
    let written = blobs.write(body, Digests::new([]), 5 << 20).await;
    assert!(matches!(written, Err(WriteError::TooLong(_))));
    assert_eq!(files_below(dir.path()), 0);
}

#[tokio::test]
async fn a_writer_who_goes_away_leaves_nothing() {
    let (dir, blobs) = blobs();
    let body =
        stream::iter([io::Result::Ok(Bytes::from(vec![1; 3 << 20]))]).chain(stream::pending());
    let write = blobs.write(body, Digests::new([]), u64::MAX);
    assert!(tokio::time::timeout(Duration::from_millis(200), write).await.is_err());
    assert_eq!(files_below(dir.path()), 0);
    assert!(blobs.state().writing.is_empty());
}

#[tokio::test]
async fn a_blob_nobody_keeps_goes() {
    let (dir, blobs) = blobs();
    discard(write(&blobs, &[b"x"]).await).await;
    assert_eq!(files_below(dir.path()), 0);
    write(&blobs, &[b"x"]).await.keep();
    assert_eq!(files_below(dir.path()), 1);
}

#[tokio::test]
async fn a_reader_finishes_what_is_removed() {
    let (dir, blobs) = blobs();
    let (one, two) = (write(&blobs, &[&[1; 600_000]]).await, write(&blobs, &[b"end"]).await);
    let of = [one.blob(), two.blob()];
    one.keep();
    two.keep();
    let mut reader = blobs.read(&of, 0..600_003).await.unwrap();
    let first = reader.next().await.unwrap().unwrap();
    blobs.remove(of.iter().map(|blob| blob.id.clone()).collect()).await;
    let rest = reader.map_ok(|chunk| chunk.to_vec()).try_concat().await.unwrap();
    assert_eq!(first.len() + rest.len(), 600_003);
    assert!(rest.ends_with(b"end"));
    assert_eq!(files_below(dir.path()), 0); // They went with their last reader.
    let gone = blobs.read(&of, 0..1).await.err().unwrap();
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let (dir, blobs) = blobs();
    let source = write(&blobs, &[b"bytes"]).await;
    let copies = blobs.copy(&[source.blob()]).await.unwrap();
    discard(source).await;
    assert_eq!(read(&blobs, &[copies[0].blob()], 0..5).await, b"bytes");
    assert_eq!(files_below(dir.path()), 1);
    let lost = Blob { id: "0".repeat(32), size: 1 };
    assert_eq!(blobs.copy(&[lost]).await.err().unwrap().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn opening_removes_drafts() {
    let (dir, blobs) = blobs();
    drop(blobs);
    std::fs::write(dir.path().join("tmp/draft"), b"half").unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    assert_eq!(files_below(dir.path()), 0);
    write(&blobs, &[b"x"]).await.keep();
    Blobs::open(dir.path()).unwrap();
    assert_eq!(files_below(dir.path()), 1);
}

#[tokio::test]
async fn a_sweep_takes_only_what_no_row_needs() {
    let (dir, blobs) = blobs();
    let index = Arc::new(MemoryStore::default());
    write(&blobs, &[b"left behind"]).await.keep();
    let being_written = write(&blobs, &[b"its row is still to come"]).await;
    assert_eq!(blobs.sweep(&*index).await.unwrap(), 1);
    assert_eq!(files_below(dir.path()), 1);
    being_written.keep(); // Without a row, after all.
    assert_eq!(blobs.sweep(&*index).await.unwrap(), 1);
    assert_eq!(files_below(dir.path()), 0);
}
