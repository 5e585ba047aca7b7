//! A payload in a file of its own, read through memory that the system may take back.

use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

/// A file without a name, which is gone when it is dropped.
pub(super) struct Spool(File);

impl Spool {
    /// # Errors
    /// When there is no space in `folder`, or no right to it.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self(File::from_std(tempfile::tempfile_in(folder)?)))
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// All that was written.
    pub(super) async fn into_bytes(mut self) -> io::Result<Bytes> {
        self.0.flush().await?;
        let file = self.0.into_std().await;
        #[expect(unsafe_code, reason = "no safe call maps a file")]
        // SAFETY: the file has no name and nobody else has its descriptor, which is closed here:
        // nothing can change or cut it while it is mapped.
        let mapped = unsafe { Mmap::map(&file) }?;
        Ok(Bytes::from_owner(mapped))
    }
}

#[cfg(test)]
mod tests {
    use super::Spool;

    #[tokio::test]
    async fn gives_back_what_was_written_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(folder.path()).unwrap();
        for part in [&b"ab"[..], b"", b"c"] {
            spool.write(part).await.unwrap();
        }
        let bytes = spool.into_bytes().await.unwrap();
        assert_eq!(bytes, "abc");
        assert_eq!(bytes.slice(1..), "bc");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
