//! Which paths the entries of a model may have.

use std::collections::HashMap;
use std::fmt::Write as _;

const MAX_NAME_BYTES: usize = 1024;
const MAX_DEPTH: usize = 32;
/// What file systems take for one component of a path.
const MAX_COMPONENT_BYTES: usize = 255;

/// A path below a model's folder: components that are neither empty nor `.` nor `..`, without
/// control characters and backslashes, at most [`MAX_DEPTH`] of them. Empty for the folder itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryName(String);

impl EntryName {
    /// Reads a name as an archive or an object key has it; the error says what is wrong with it.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, String> {
        if raw.len() > MAX_NAME_BYTES {
            return Err(refuse(raw, &format!("has a name of more than {MAX_NAME_BYTES} bytes")));
        }
        let name = str::from_utf8(raw).map_err(|_| refuse(raw, "has a name that is not UTF-8"))?;
        if name.starts_with('/') {
            return Err(refuse(raw, "has an absolute path"));
        }
        if name.contains(|char: char| char == '\\' || char.is_control()) {
            return Err(refuse(raw, "has a backslash or a control character in its name"));
        }
        let components: Vec<&str> =
            name.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
        if components.contains(&"..") {
            return Err(refuse(raw, "has `..` in its path"));
        }
        if components.len() > MAX_DEPTH {
            return Err(refuse(raw, &format!("lies more than {MAX_DEPTH} folders deep")));
        }
        if components.iter().any(|component| component.len() > MAX_COMPONENT_BYTES) {
            let what = format!("has a part of more than {MAX_COMPONENT_BYTES} bytes in its path");
            return Err(refuse(raw, &what));
        }
        Ok(Self(components.join("/")))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// True for the model's folder itself, `./` in an archive.
    pub(crate) fn is_top(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|component| !component.is_empty())
    }

    /// The folders that the entry lies in, outermost first.
    fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

/// The reason to refuse the entry `raw`.
pub(crate) fn refuse(raw: &[u8], what: &str) -> String {
    format!("entry `{}` {what}", printable(raw))
}

/// The start of a name, fit for a message of one line.
fn printable(raw: &[u8]) -> String {
    const SHOWN: usize = 100;
    let mut text = String::new();
    for char in String::from_utf8_lossy(&raw[..raw.len().min(SHOWN)]).chars() {
        // Writing to a string cannot fail.
        let _ = match char.is_control() {
            true => write!(text, "{}", char.escape_default()),
            false => write!(text, "{char}"),
        };
    }
    if raw.len() > SHOWN { text + ".." } else { text }
}

/// The names taken so far in one model, and the cap on how many there may be.
pub(crate) struct Names {
    taken: HashMap<String, Kind>,
    left: usize,
    max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
}

impl Names {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: HashMap::new(), left: max, max }
    }

    /// Counts one more entry; the folders that a name implies count too.
    pub(crate) fn count(&mut self) -> Result<(), String> {
        let more = || format!("it has more than {} files and folders", self.max);
        self.left = self.left.checked_sub(1).ok_or_else(more)?;
        Ok(())
    }

    /// Takes a name. A folder may come twice, a file may not, and nothing can be both.
    pub(crate) fn take(&mut self, name: &EntryName, kind: Kind) -> Result<(), String> {
        for folder in name.folders() {
            self.take_one(folder, Kind::Folder, name)?;
        }
        match (kind, self.taken.get(name.as_str())) {
            (_, None) => {
                self.taken.insert(name.as_str().to_owned(), kind);
                Ok(())
            }
            (Kind::Folder, Some(Kind::Folder)) => Ok(()),
            (Kind::File, Some(Kind::File)) => {
                Err(refuse(name.as_str().as_bytes(), "comes more than once"))
            }
            (Kind::File, Some(Kind::Folder)) | (Kind::Folder, Some(Kind::File)) => {
                Err(refuse(name.as_str().as_bytes(), "is both a file and a folder"))
            }
        }
    }

    fn take_one(&mut self, folder: &str, kind: Kind, of: &EntryName) -> Result<(), String> {
        match self.taken.get(folder) {
            Some(Kind::Folder) => Ok(()),
            Some(Kind::File) => Err(refuse(of.as_str().as_bytes(), "lies below a file")),
            None => {
                self.count()?;
                self.taken.insert(folder.to_owned(), kind);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(raw: &str, expected: Result<&str, &str>) {
        match (EntryName::parse(raw.as_bytes()), expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name.as_str(), expected),
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
            (got, expected) => panic!("{raw:?}: {got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn names() {
        check("model.onnx", Ok("model.onnx"));
        check("./code/inference.py", Ok("code/inference.py"));
        check("a//b/./c/", Ok("a/b/c"));
        check("./", Ok(""));
        check("...", Ok("..."));
        check("/etc/passwd", Err("absolute"));
        check("../x", Err("`..`"));
        check("a/../../x", Err("`..`"));
        check("a/..", Err("`..`"));
        check("a\\b", Err("backslash"));
        check("a\0b", Err("entry `a\\u{0}b` has a backslash or a control character"));
        check("a\nb", Err("control"));
        check(&"d/".repeat(33), Err("32 folders deep"));
        check(&"d/".repeat(1000), Err("1024 bytes"));
        check(&"n".repeat(256), Err("255 bytes"));
    }

    #[test]
    fn names_are_taken_once() {
        let mut names = Names::new(4);
        let mut take = |name: &str, kind| {
            names.count()?;
            names.take(&EntryName::parse(name.as_bytes())?, kind)
        };
        take("a/b", Kind::File).unwrap(); // Counts `a` too.
        take("a", Kind::Folder).unwrap();
        assert!(take("a/b/c", Kind::File).unwrap_err().contains("below a file"));
        assert!(take("a/b", Kind::File).unwrap_err().contains("more than 4"));
    }

    proptest! {
        #[test]
        fn a_name_never_leaves_its_folder(raw: Vec<u8>) {
            if let Ok(name) = EntryName::parse(&raw) {
                prop_assert!(!name.as_str().starts_with('/'));
                prop_assert!(name.components().all(|part| part != ".." && part != "."));
                prop_assert!(name.components().count() <= MAX_DEPTH);
            }
        }
    }
}
