//! Archives made by hand, good and bad, and an object store in memory.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt as _;
use sagebrush_core::Timestamp;
use sagebrush_core::objects::{ByteStream, ObjectError, ObjectMeta, ObjectRef, ObjectStore};
use tokio::sync::Semaphore;

/// Writes tar archives block by block, also such as no tar program would.
#[derive(Default, Clone)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(self, name: impl AsRef<[u8]>, content: &[u8]) -> Self {
        self.entry(b'0', name, "", content)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(b'5', name, "", b"")
    }

    pub(crate) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.entry(kind, name, target, b"")
    }

    pub(crate) fn entry(
        self,
        kind: u8,
        name: impl AsRef<[u8]>,
        target: &str,
        content: &[u8],
    ) -> Self {
        let size = format!("{:011o}", content.len());
        let header = header(kind, name.as_ref(), target, size.as_bytes(), b"0000644");
        self.block(&header).content(content)
    }

    pub(crate) fn with_mode(self, name: &str, mode: &[u8; 7]) -> Self {
        self.block(&header(b'0', name.as_bytes(), "", b"00000000001", mode)).content(b"x")
    }

    /// A file whose header says `size`, in octal or however.
    pub(crate) fn with_size(self, name: &str, size: &[u8], content: &[u8]) -> Self {
        self.block(&header(b'0', name.as_bytes(), "", size, b"0000644")).content(content)
    }

    /// Pax records for the entry that follows.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest..).find(|all| rest + all.to_string().len() == *all).unwrap();
            text += &format!("{length} {key}={value}\n");
        }
        self.entry(b'x', "PaxHeaders.0/x", "", text.as_bytes())
    }

    /// The name of the entry that follows, as GNU tar writes a long one.
    pub(crate) fn long_name(self, name: &str) -> Self {
        self.entry(b'L', "././@LongLink", "", format!("{name}\0").as_bytes())
    }

    pub(crate) fn block(mut self, block: &[u8]) -> Self {
        self.0.extend_from_slice(block);
        self
    }

    fn content(mut self, content: &[u8]) -> Self {
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Ends the archive with zeros up to a whole record.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize((self.0.len() + 1024).next_multiple_of(10_240), 0);
        self.0
    }

    pub(crate) fn gz(self) -> Vec<u8> {
        gzip(&self.end())
    }
}

fn header(kind: u8, name: &[u8], target: &str, size: &[u8], mode: &[u8; 7]) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(100)]);
    put(100, mode);
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, size);
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A bad archive and a part of the reason it is refused for.
pub(crate) type Bad = (&'static str, Vec<u8>, &'static str);

/// The archives that must be refused.
pub(crate) fn bad_archives() -> Vec<Bad> {
    [bad_paths(), bad_names(), links(), special_files(), bombs(), damaged()].concat()
}

fn bad_paths() -> Vec<Bad> {
    let climbing = "`..` in its path";
    vec![
        ("climbs", Tar::default().file("../x", b"x").gz(), climbing),
        ("climbs later", Tar::default().file("a/b/../../../x", b"x").gz(), climbing),
        ("climbs and stays", Tar::default().file("a/../b", b"x").gz(), climbing),
        ("folder climbs", Tar::default().folder("../x/").gz(), climbing),
        (
            "climbs by pax",
            Tar::default().pax(&[("path", "../../x")]).file("x", b"x").gz(),
            climbing,
        ),
        ("climbs by long name", Tar::default().long_name("../x").file("x", b"x").gz(), climbing),
        ("absolute", Tar::default().file("/tmp/evil", b"x").gz(), "absolute path"),
        (
            "absolute by pax",
            Tar::default().pax(&[("path", "/tmp/evil")]).file("x", b"x").gz(),
            "absolute path",
        ),
        ("good before bad", Tar::default().file("good", b"x").file("../x", b"x").gz(), climbing),
    ]
}

fn bad_names() -> Vec<Bad> {
    let strange = "backslash or a control character";
    let long_component = "n".repeat(300);
    vec![
        ("nul", Tar::default().pax(&[("path", "a\0b")]).file("x", b"x").gz(), strange),
        ("backslash", Tar::default().file("..\\x", b"x").gz(), strange),
        ("escape sequence", Tar::default().file("a\x1b[2Jb", b"x").gz(), strange),
        ("not utf-8", Tar::default().file(b"a\xff", b"x").gz(), "not UTF-8"),
        ("twice", Tar::default().file("a", b"1").file("./a", b"2").gz(), "more than once"),
        ("file then folder", Tar::default().file("a", b"1").folder("a/").gz(), "both a file"),
        ("file below file", Tar::default().file("a", b"1").file("a/b", b"2").gz(), "below a file"),
        ("nameless", Tar::default().file("./.", b"1").gz(), "without a name"),
        (
            "long component",
            Tar::default().long_name(&long_component).file("x", b"x").gz(),
            "more than 255 bytes",
        ),
        (
            "1 MiB name",
            Tar::default().long_name(&"n/".repeat(512 << 10)).file("x", b"x").gz(),
            "name or header is too long",
        ),
        (
            "100 KiB name",
            Tar::default().long_name(&"n".repeat(100 << 10)).file("x", b"x").gz(),
            "more than 1024 bytes",
        ),
        (
            "2,000 levels deep",
            Tar::default().pax(&[("path", &"d/".repeat(2000))]).file("x", b"x").gz(),
            "more than 1024 bytes",
        ),
        (
            "100 levels deep",
            Tar::default().pax(&[("path", &("d/".repeat(100) + "x"))]).file("x", b"x").gz(),
            "32 folders deep",
        ),
    ]
}

fn links() -> Vec<Bad> {
    let link = "is a symbolic link";
    let tar = Tar::default;
    vec![
        ("link out", tar().link(b'2', "l", "/tmp").file("l/x", b"x").gz(), link),
        ("link up", tar().link(b'2', "l", "..").file("l/x", b"x").gz(), link),
        (
            "chain of links",
            tar().link(b'2', "a", "b").link(b'2', "b", "..").file("a/x", b"x").gz(),
            link,
        ),
        ("link then file", tar().link(b'2', "x", "/tmp/x").file("x", b"x").gz(), link),
        (
            "model is a link",
            tar().link(b'2', "model.onnx", "/etc/shadow").gz(),
            "entry `model.onnx` is a symbolic link",
        ),
        ("hard link out", tar().link(b'1', "x", "../../etc/passwd").gz(), "is a hard link"),
        ("absolute hard link", tar().link(b'1', "x", "/etc/passwd").gz(), "is a hard link"),
    ]
}

fn special_files() -> Vec<Bad> {
    let tar = Tar::default;
    let sparse = tar().pax(&[("GNU.sparse.major", "1")]).file("s", b"x").gz();
    vec![
        ("char device", tar().link(b'3', "null", "").gz(), "entry `null` is a device"),
        ("block device", tar().link(b'4', "sda", "").gz(), "is a device"),
        ("pipe", tar().link(b'6', "inference.py", "").gz(), "`inference.py` is a named pipe"),
        ("sparse by pax", sparse, "is a sparse file"),
        ("volume label", tar().link(b'V', "v", "").gz(), "neither a file nor a folder"),
    ]
}

fn bombs() -> Vec<Bad> {
    let mut many = Tar::default();
    for index in 0..20_000 {
        many = many.file(format!("f{index}"), b"");
    }
    let zeros = vec![0; 96 << 20];
    vec![
        ("zeros", Tar::default().file("zeros", &zeros).gz(), "more than 200 times its size"),
        ("many entries", many.gz(), "more than 10000 files and folders"),
        (
            "says it is large",
            Tar::default().with_size("x", b"77777777777\0", b"x").file("y", b"y").gz(),
            "is cut off",
        ),
        (
            "says it is huge",
            Tar::default().with_size("x", b"\x80\0\0\0\x7f\0\0\0\0\0\0\0", b"x").gz(),
            "more than 21474836480 bytes",
        ),
    ]
}

fn damaged() -> Vec<Bad> {
    let good = Tar::default().file("a", &[7; 100_000]).gz();
    let mut wrong_sum = good.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    let second = Tar::default().file("../x", b"x").gz();
    let not_tar = "is not a tar archive";
    vec![
        ("cut off", good[..good.len() / 2].to_vec(), "truncated: upload it again"),
        ("cut off at the sum", good[..good.len() - 4].to_vec(), "truncated: upload it again"),
        ("cut off in the header", good[..5].to_vec(), "truncated: upload it again"),
        ("wrong sum", wrong_sum, "damaged: upload it again"),
        ("empty", Vec::new(), "the archive is empty"),
        ("plain tar", Tar::default().file("a", b"x").end(), "is not gzip-compressed"),
        ("html", b"<html>404</html>".to_vec(), "is not gzip-compressed"),
        ("gzip of text", gzip(&b"hello ".repeat(200)), not_tar),
        ("second member", [good.clone(), second].concat(), "follows the end of the gzip stream"),
        ("bytes behind", [good, b"x".to_vec()].concat(), "follows the end of the gzip stream"),
        (
            "second archive in the member",
            gzip(&[Tar::default().file("a", b"x").end(), b"more".to_vec()].concat()),
            "follows the end of the archive",
        ),
        (
            "negative size",
            Tar::default().with_size("x", &[0xff; 12], b"x").gz(),
            "", // Too large or damaged, as the tar reader takes it.
        ),
        ("minus one", Tar::default().with_size("x", b"-0000000001\0", b"x").gz(), not_tar),
        ("tar cut off", gzip(&Tar::default().file("x", &[1; 2000]).0[..1024]), "is cut off"),
    ]
}

/// Objects in memory. Their bytes come in small chunks.
pub(crate) struct MemoryObjects {
    objects: Mutex<BTreeMap<String, (Bytes, u64)>>,
    writes: Mutex<u64>,
    pub(crate) heads: AtomicUsize,
    pub(crate) gets: AtomicUsize,
    /// A permit lets one object's bytes through.
    pub(crate) gate: Arc<Semaphore>,
    /// Runs once at the next `get`, before it answers.
    pub(crate) before_get: Mutex<Option<(String, Vec<u8>)>>,
    /// The bytes after which reading fails.
    pub(crate) fail_after: Mutex<Option<usize>>,
}

impl MemoryObjects {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: Mutex::default(),
            writes: Mutex::default(),
            gets: AtomicUsize::new(0),
            heads: AtomicUsize::new(0),
            gate: Arc::new(Semaphore::new(1000)),
            before_get: Mutex::default(),
            fail_after: Mutex::default(),
        })
    }

    pub(crate) fn set(&self, key: &str, bytes: Vec<u8>) {
        let mut writes = self.writes.lock().unwrap();
        *writes += 1;
        self.objects.lock().unwrap().insert(key.to_owned(), (bytes.into(), *writes));
    }

    pub(crate) fn remove(&self, key: &str) {
        *self.writes.lock().unwrap() += 1;
        self.objects.lock().unwrap().remove(key);
    }

    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    fn find(&self, at: &ObjectRef) -> Result<(ObjectMeta, Bytes), ObjectError> {
        let objects = self.objects.lock().unwrap();
        let found = objects.get(&at.key);
        let (bytes, write) = found.ok_or_else(|| ObjectError::NoSuchKey(at.clone()))?;
        Ok((meta(&at.key, bytes, *write), bytes.clone()))
    }
}

fn meta(key: &str, bytes: &Bytes, write: u64) -> ObjectMeta {
    ObjectMeta {
        key: key.to_owned(),
        size: bytes.len() as u64,
        etag: format!("etag-{write}"),
        modified_at: Timestamp(0),
        content_type: None,
    }
}

#[async_trait]
impl ObjectStore for MemoryObjects {
    async fn head(&self, at: &ObjectRef) -> Result<ObjectMeta, ObjectError> {
        self.heads.fetch_add(1, Ordering::SeqCst);
        Ok(self.find(at)?.0)
    }

    async fn get(
        &self,
        at: &ObjectRef,
        _range: Option<Range<u64>>,
    ) -> Result<(ObjectMeta, ByteStream), ObjectError> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        let overwrite = self.before_get.lock().unwrap().take();
        if let Some((key, bytes)) = overwrite {
            self.set(&key, bytes);
        }
        let (meta, bytes) = self.find(at)?;
        let mut chunks: Vec<io::Result<Bytes>> =
            bytes.chunks(4000).map(|chunk| Ok(bytes.slice_ref(chunk))).collect();
        if let Some(after) = *self.fail_after.lock().unwrap() {
            chunks.truncate(after.div_ceil(4000));
            chunks.push(Err(io::Error::other("secret detail")));
        }
        let gate = self.gate.clone();
        let opened = async move { gate.acquire_owned().await.map(|permit| permit.forget()) };
        let opened = futures::stream::once(opened).filter_map(|_| async { None });
        Ok((meta, opened.chain(futures::stream::iter(chunks)).boxed()))
    }

    async fn put(
        &self,
        _: &ObjectRef,
        _: Option<&str>,
        _: ByteStream,
    ) -> Result<ObjectMeta, ObjectError> {
        Err(ObjectError::Full)
    }

    async fn delete(&self, at: &ObjectRef) -> Result<(), ObjectError> {
        self.remove(&at.key);
        Ok(())
    }

    async fn list(
        &self,
        _: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let objects = self.objects.lock().unwrap();
        let below = objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let behind = below.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let metas = behind.map(|(key, (bytes, write))| meta(key, bytes, *write));
        // Short pages, to see that there is a next one.
        Ok(metas.take(limit.min(2)).collect())
    }

    fn changes(&self) -> u64 {
        *self.writes.lock().unwrap()
    }
}
