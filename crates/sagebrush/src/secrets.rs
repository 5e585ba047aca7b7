//! The secret that temporary keys are derived from: made at the first start, kept for good.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The master secret of `data`, readable by its owner only.
///
/// # Errors
/// When the file can neither be read nor made.
pub(crate) fn master_secret(data: &Path) -> io::Result<[u8; 32]> {
    let path = data.join("master.key");
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path),
        other => other,
    }
}

fn read(path: &Path) -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    std::fs::File::open(path)?.read_exact(&mut secret)?;
    Ok(secret)
}

fn make(path: &Path) -> io::Result<[u8; 32]> {
    let secret: [u8; 32] = rand::random();
    let half = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    std::fs::rename(&half, path)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::master_secret;

    #[test]
    fn stays_the_same() {
        let data = tempfile::tempdir().unwrap();
        let first = master_secret(data.path()).unwrap();
        assert_eq!(first, master_secret(data.path()).unwrap());
        assert_ne!(first, [0; 32]);
    }
}
