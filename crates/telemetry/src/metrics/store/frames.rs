//! Files that grow by frames: a length, a checksum, and the bytes. What a crash has left of the
//! last frame is dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crc_fast::CrcAlgorithm;

/// The length and the checksum.
const HEAD: usize = 8;

/// A file that is appended to.
pub(super) struct Frames {
    file: File,
    /// Where the last whole frame ends.
    length: u64,
}

impl Frames {
    /// Opens a file behind its last whole frame, and reads its frames.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let (frames, length) = read_whole(path)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.set_len(length)?;
        Ok((Self { file, length }, frames))
    }

    /// Appends a frame; it is on the disk when this returns. What fails leaves no trace.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(HEAD + bytes.len());
        frame.extend(length.to_le_bytes());
        frame.extend(checksum(bytes).to_le_bytes());
        frame.extend(bytes);
        let written =
            self.file.write_all_at(&frame, self.length).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // If this fails too, the checksum tells.
            let _cut = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += frame.len() as u64;
        Ok(())
    }
}

/// Writes a file of `frames` in the place of another.
pub(super) fn replace(path: &Path, frames: &[Vec<u8>]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.set_len(0)?;
    let mut to = Frames { file, length: 0 };
    frames.iter().try_for_each(|frame| to.append(frame))?;
    file = to.file;
    file.flush()?;
    fs::rename(new, path)
}

/// The whole frames of a file; none if it is not there.
pub(super) fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    read_whole(path).map(|(frames, _)| frames)
}

fn read_whole(path: &Path) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        bytes => bytes?,
    };
    let (mut frames, mut left) = (Vec::new(), &*bytes);
    while let Some((frame, rest)) = first(left) {
        frames.push(frame.to_vec());
        left = rest;
    }
    if !left.is_empty() {
        tracing::warn!(path = %path.display(), bytes = left.len(), "dropped an unfinished frame");
    }
    Ok((frames, (bytes.len() - left.len()) as u64))
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (frame, rest) = rest.split_at_checked(length)?;
    (checksum(frame) == u32::from_le_bytes(*sum)).then_some((frame, rest))
}

/// CRC-32, as gzip has it.
#[expect(clippy::cast_possible_truncation, reason = "a checksum of 32 bits")]
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::{Frames, fs, read};

    #[test]
    fn what_is_torn_is_dropped_and_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frames");
        let (mut file, frames) = Frames::open(&path).unwrap();
        assert!(frames.is_empty());
        let all = [b"one".to_vec(), Vec::new(), vec![7; 20]];
        all.iter().for_each(|frame| file.append(frame).unwrap());
        let whole = fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), all);
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let n_whole = [11, 19].iter().filter(|end| **end <= length).count();
            let (mut file, frames) = Frames::open(&path).unwrap();
            assert_eq!(frames, all[..n_whole], "{length}");
            file.append(b"more").unwrap();
            assert_eq!(read(&path).unwrap().last().unwrap(), b"more");
        }
        let mut spoilt = whole;
        spoilt[9] ^= 1;
        fs::write(&path, spoilt).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }
}
