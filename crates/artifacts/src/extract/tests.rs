use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::{Tar, bad_archives, gzip};

/// Contents of files by path, `None` for folders.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// What lies below `dir`.
fn tree(dir: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            let kind = path.symlink_metadata().unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file(), "{name} is neither file nor folder");
            found.insert(name, kind.is_file().then(|| fs::read(&path).unwrap()));
            left.extend(kind.is_dir().then_some(path));
        }
    }
    found
}

/// Unpacks into `<outer>/deep/er/model` and returns what then lies there; nothing else may lie
/// below `outer`.
fn unpack(archive: &[u8]) -> (Result<u64, ExtractError>, Tree) {
    let outer = tempfile::tempdir().unwrap();
    let deep = outer.path().join("deep/er");
    fs::create_dir_all(&deep).unwrap();
    let model = deep.join("model");
    let folder = Folder::create(&model).unwrap();
    let result = extract(archive, &folder, &Limits::default());
    let outside = tree(outer.path());
    let outside: Vec<_> =
        outside.keys().filter(|path| !path.starts_with("deep/er/model/")).collect();
    assert_eq!(outside, ["deep", "deep/er", "deep/er/model"]);
    (result, tree(&model))
}

fn accept(archive: &[u8], expected: &[(&str, Option<&[u8]>)]) {
    let (result, tree) = unpack(archive);
    let expected: Tree = expected
        .iter()
        .map(|(name, file)| ((*name).to_owned(), file.map(<[u8]>::to_vec)))
        .collect();
    let bytes: usize = expected.values().flatten().map(Vec::len).sum();
    assert_eq!(result.unwrap(), bytes as u64);
    assert_eq!(tree, expected);
}

#[test]
fn bad_archives_are_refused() {
    for (name, archive, expected) in bad_archives() {
        let (result, tree) = unpack(&archive);
        match result {
            Err(ExtractError::Refused(reason)) => {
                assert!(reason.contains(expected), "{name}: {reason}");
                let fits_a_message = reason.len() < 250 && !reason.contains(char::is_control);
                assert!(fits_a_message, "{name}: {reason}");
            }
            other => panic!("{name}: {other:?}"),
        }
        let written: usize = tree.values().flatten().map(Vec::len).sum();
        assert!(written <= (64 << 20) + 200 * archive.len(), "{name}: wrote {written}");
        assert!(tree.len() <= 10_000, "{name}: made {} files", tree.len());
    }
}

#[test]
fn as_tar_makes_it() {
    let archive = Tar::default()
        .folder("./")
        .file("./model.onnx", b"weights")
        .folder("./code/")
        .file("./code/inference.py", b"def model_fn(): ..")
        .folder("./code/"); // Comes twice when it is named twice.
    accept(
        &archive.gz(),
        &[
            ("code", None),
            ("code/inference.py", Some(b"def model_fn(): ..")),
            ("model.onnx", Some(b"weights")),
        ],
    );
}

#[test]
fn long_names_and_pax_records() {
    let long = format!("{}/{}", "a".repeat(120), "b".repeat(120));
    let archive = Tar::default()
        .entry(
            b'g',
            "pax_global_header",
            "",
            b"52 comment=0123456789012345678901234567890123456789\n",
        )
        .long_name(&long)
        .file("a", b"1")
        .pax(&[("mtime", "1.5"), ("path", "ünï/cödé"), ("SCHILY.xattr.user.x", "a\nb")])
        .file("u", b"2")
        .file("._model.onnx", b"3")
        .file("PaxHeader/model.onnx", b"4");
    let folder = "a".repeat(120);
    accept(
        &archive.gz(),
        &[
            (&folder, None),
            (&long, Some(b"1")),
            ("ünï", None),
            ("ünï/cödé", Some(b"2")),
            ("._model.onnx", Some(b"3")),
            ("PaxHeader", None),
            ("PaxHeader/model.onnx", Some(b"4")),
        ],
    );
}

#[test]
fn the_size_in_pax_records_holds() {
    // CVE-2025-62518: who goes by the header reads the inner archive's entries instead.
    let inner = Tar::default().file("../evil", b"x").end();
    let size = inner.len().to_string();
    let archive =
        Tar::default().pax(&[("size", &size)]).with_size("inner.tar", b"00000000000", &inner);
    accept(&archive.gz(), &[("inner.tar", Some(&inner))]);
}

#[test]
fn an_archive_without_files() {
    accept(&Tar::default().gz(), &[]);
    accept(&gzip(b""), &[]);
}

#[test]
fn modes_are_forced() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    let folder = Folder::create(&model).unwrap();
    let archive = Tar::default().with_mode("setuid", b"0006777").with_mode("closed", b"0000000");
    extract(&*archive.gz(), &folder, &Limits::default()).unwrap();
    let mode = |name: &str| model.join(name).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("setuid"), mode("closed")), (0o755, 0o644));
}

#[test]
fn caps_hold_to_the_byte() {
    let archive = Tar::default().file("a", &[1; 1000]).gz();
    for (max, fits) in [(10_240, true), (10_239, false), (999, false)] {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(&dir.path().join("model")).unwrap();
        let limits = Limits { unpacked_bytes: max, ..Limits::default() };
        assert_eq!(extract(&*archive, &folder, &limits).is_ok(), fits, "{max}");
    }
}

#[test]
fn folders_that_a_name_implies_count_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(&dir.path().join("model")).unwrap();
    let limits = Limits { entries: 100, ..Limits::default() };
    let names = (0..5).map(|index| format!("{index}/{}x", "d/".repeat(30)));
    let archive = names.fold(Tar::default(), |archive, name| archive.file(name, b""));
    let error = extract(&*archive.gz(), &folder, &limits).unwrap_err();
    let ExtractError::Refused(reason) = error else { panic!("{error:?}") };
    assert_eq!(reason, "it has more than 100 files and folders");
}

#[test]
fn zeros_behind_the_end_count_too() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::create(&dir.path().join("model")).unwrap();
    let limits = Limits { ratio_free_bytes: 1 << 20, ..Limits::default() };
    let error = extract(&*gzip(&vec![0; 4 << 20]), &folder, &limits).unwrap_err();
    let ExtractError::Refused(reason) = error else { panic!("{error:?}") };
    assert_eq!(reason, "it unpacks to more than 200 times its size");
}

#[test]
fn gnu_tar_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir_all(from.join("code/lib")).unwrap();
    fs::write(from.join("model.onnx"), vec![3; 700_000]).unwrap();
    fs::write(from.join("code/lib").join("n".repeat(200)), b"long").unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        if matches!(format, "ustar" | "v7") {
            drop(fs::remove_dir_all(from.join("code"))); // They have no such long names.
        }
        let packed = dir.path().join(format);
        let tar = std::process::Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-czf".as_ref(), packed.as_os_str(), "-C".as_ref(), from.as_os_str()])
            .arg(".")
            .status();
        let Ok(status) = tar else { return }; // No GNU tar here.
        assert!(status.success());
        let (result, unpacked) = unpack(&fs::read(packed).unwrap());
        result.unwrap();
        assert_eq!(unpacked, tree(&from), "{format}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_stay_inside(bytes: Vec<u8>) {
        drop(unpack(&bytes));
        drop(unpack(&gzip(&bytes)));
    }

    #[test]
    fn arbitrary_entries_stay_inside(
        entries in prop::collection::vec(
            (prop::sample::select(b"0125xgLK67S".to_vec()), "[a./x\\\\-]{0,12}", "[./a]{0,9}", prop::collection::vec(any::<u8>(), 0..700)),
            0..8,
        ),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut tar = Tar::default();
        for (kind, name, target, content) in &entries {
            tar = tar.entry(*kind, name, target, content);
        }
        let mut bytes = tar.end();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        drop(unpack(&gzip(&bytes)));
    }
}
