//! Unpacks a `model.tar.gz`: all of it, or nothing.

use std::fs::File;
use std::io::{self, BufRead, Read, Write as _};

use tar::{Archive, Entry, EntryType};

use crate::Limits;
use crate::folder::Folder;
use crate::gunzip::{Inflate, Meter};
use crate::names::{EntryName, Kind, Names, refuse};

#[cfg(test)]
mod tests;

/// What the headers of one entry may take: a name and its pax records, with xattrs.
const MAX_HEADER_BYTES: u64 = 256 << 10;

const COPY_BYTES: usize = 256 << 10;

/// Why an archive was not unpacked.
#[derive(Debug)]
pub(crate) enum ExtractError {
    /// The archive is broken or hostile.
    Refused(String),
    /// Reading its bytes or writing its files failed.
    Io(io::Error),
}

impl From<io::Error> for ExtractError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for ExtractError {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// Unpacks the archive `packed` into `folder` and returns the bytes of its files. What it wrote
/// before it refuses is for the caller to remove.
pub(crate) fn extract(
    packed: impl BufRead,
    folder: &Folder,
    limits: &Limits,
) -> Result<u64, ExtractError> {
    let meter = Meter::new(limits);
    let mut archive = Archive::new(Inflate::new(packed, meter.clone()));
    let mut unpacking =
        Unpacking { folder, meter: &meter, names: Names::new(limits.entries), written: 0 };
    let unpacked = unpacking.entries(&mut archive);
    let written = unpacking.written;
    let finished = unpacked.and_then(|()| {
        meter.expect_content();
        archive.into_inner().finish().map_err(damaged)
    });
    match finished {
        Ok(()) => Ok(written),
        Err(error) => Err(meter.take_fault().unwrap_or(error)),
    }
}

struct Unpacking<'a> {
    folder: &'a Folder,
    meter: &'a Meter,
    names: Names,
    written: u64,
}

impl Unpacking<'_> {
    fn entries<R: Read>(&mut self, archive: &mut Archive<R>) -> Result<(), ExtractError> {
        let mut entries = archive.entries().map_err(damaged)?;
        loop {
            self.meter.expect_headers(MAX_HEADER_BYTES);
            let Some(entry) = entries.next() else { return Ok(()) };
            let entry = entry.map_err(damaged)?;
            self.meter.expect_content();
            self.entry(entry)?;
        }
    }

    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), ExtractError> {
        self.names.count()?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            return Ok(()); // A remark on the whole archive, as `git archive` makes it.
        }
        let raw = entry.path_bytes().into_owned();
        let name = EntryName::parse(&raw)?;
        let kind = kind(&mut entry, &raw)?;
        if name.is_top() {
            return match kind {
                Kind::Folder => Ok(()),
                Kind::File => Err(refuse(&raw, "is a file without a name").into()),
            };
        }
        self.names.take(&name, kind)?;
        match kind {
            Kind::Folder => Ok(self.folder.make(&name)?),
            Kind::File => self.file(entry, &name),
        }
    }

    fn file<R: Read>(&mut self, entry: Entry<'_, R>, name: &EntryName) -> Result<(), ExtractError> {
        let size = entry.size();
        if size > self.meter.room() {
            return Err(self.meter.too_large().into());
        }
        let is_runnable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mut file = self.folder.file(name, is_runnable)?;
        let copied = copy(entry, &mut file, &mut self.written)?;
        if copied != size {
            return Err(refuse(name.as_str().as_bytes(), "is cut off").into());
        }
        Ok(())
    }
}

/// Says what an entry is, or why it must not be.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever kinds there will be, they are refused"
)]
fn kind<R: Read>(entry: &mut Entry<'_, R>, raw: &[u8]) -> Result<Kind, String> {
    let what = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous if is_sparse(entry) => "is a sparse file",
        // Before ustar, a slash at the end made a folder.
        EntryType::Regular if raw.ends_with(b"/") && entry.size() == 0 => return Ok(Kind::Folder),
        EntryType::Regular if raw.ends_with(b"/") => "is a file with the name of a folder",
        EntryType::Regular | EntryType::Continuous => return Ok(Kind::File),
        EntryType::Directory => return Ok(Kind::Folder),
        EntryType::Symlink => "is a symbolic link: pack the file it names, with `tar czhf`",
        EntryType::Link => "is a hard link: pack its files with `tar --hard-dereference`",
        EntryType::Char | EntryType::Block => "is a device",
        EntryType::Fifo => "is a named pipe",
        EntryType::GNUSparse => "is a sparse file: pack it without `--sparse`",
        _ => "is neither a file nor a folder",
    };
    Err(refuse(raw, what))
}

/// True for a sparse file in pax form, whose content is a map and pieces.
fn is_sparse<R: Read>(entry: &mut Entry<'_, R>) -> bool {
    let Ok(Some(records)) = entry.pax_extensions() else { return false };
    records.flatten().any(|record| record.key_bytes().starts_with(b"GNU.sparse."))
}

/// Copies an entry's content. A failed read is the archive's fault, a failed write the disk's.
fn copy(mut from: impl Read, to: &mut File, written: &mut u64) -> Result<u64, ExtractError> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0_u64;
    loop {
        let count = from.read(&mut buffer).map_err(damaged)?;
        if count == 0 {
            return Ok(copied);
        }
        to.write_all(&buffer[..count])?;
        copied += count as u64;
        *written += count as u64;
    }
}

/// What the tar reader says is not repeated: it quotes the archive.
fn damaged(_: io::Error) -> ExtractError {
    ExtractError::Refused("it is not a tar archive, or one of its headers is damaged".to_owned())
}
