//! A file out of a pinned wheel on `PyPI`, fetched through the machine's own pip.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::SetupError;

/// A release of a project.
pub(super) struct Release {
    pub(super) project: &'static str,
    pub(super) version: &'static str,
    /// The file that is wanted, in the wheel.
    pub(super) member: &'static str,
    /// Its access rights.
    pub(super) mode: u32,
    /// Which of the project's wheels pip is to take, as options of pip.
    pub(super) tags: &'static [&'static str],
    pub(super) wheels: &'static [Wheel],
}

/// The wheel of a release for one platform.
pub(super) struct Wheel {
    pub(super) arch: &'static str,
    /// The platform in the wheel's name.
    pub(super) platform: &'static str,
    /// SHA-256 of the wheel.
    pub(super) sha256: &'static str,
    /// SHA-256 of the file in it.
    pub(super) member_sha256: &'static str,
}

impl Release {
    /// Fetches the file to `path` unless it is there.
    pub(super) fn fetch(&self, path: &Path) -> Result<(), SetupError> {
        if path.try_exists().unwrap_or(false) {
            return Ok(());
        }
        let arch = std::env::consts::ARCH;
        let is_linux = std::env::consts::OS == "linux";
        let wheel = self.wheels.iter().find(|wheel| wheel.arch == arch && is_linux);
        let wheel = wheel.ok_or(SetupError::Platform { project: self.project, arch })?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let scratch = folder.join(format!("download-{}", std::process::id()));
        fs::create_dir_all(&scratch).map_err(|source| io_error(&scratch, source))?;
        let outcome = self.fetch_into(&scratch, wheel, path);
        if let Err(error) = fs::remove_dir_all(&scratch) {
            tracing::warn!(%error, folder = %scratch.display(), "a scratch folder stays behind");
        }
        outcome
    }

    fn fetch_into(&self, scratch: &Path, wheel: &Wheel, path: &Path) -> Result<(), SetupError> {
        self.download(scratch, wheel)?;
        let bytes = self.read_member(&find_wheel(scratch)?)?;
        if hex::encode(Sha256::digest(&bytes)) != wheel.member_sha256 {
            return Err(SetupError::Checksum(self.member));
        }
        // Written beside and renamed: two that fetch at once do not see each other's half.
        let half = scratch.join("half");
        fs::write(&half, bytes).map_err(|source| io_error(&half, source))?;
        let rights = fs::Permissions::from_mode(self.mode);
        fs::set_permissions(&half, rights).map_err(|source| io_error(&half, source))?;
        fs::rename(&half, path).map_err(|source| io_error(path, source))
    }

    /// pip itself refuses a wheel whose checksum is not the pinned one.
    fn download(&self, scratch: &Path, wheel: &Wheel) -> Result<(), SetupError> {
        let Self { project, version, .. } = *self;
        let requirements = scratch.join("requirements.txt");
        let line = format!("{project}=={version} --hash=sha256:{}\n", wheel.sha256);
        fs::write(&requirements, line).map_err(|source| io_error(&requirements, source))?;
        let program = "python3";
        let output = Command::new(program)
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--require-hashes", "--disable-pip-version-check"])
            .arg(format!("--platform={}", wheel.platform))
            .args(self.tags)
            .arg("--dest")
            .arg(scratch)
            .arg("--requirement")
            .arg(&requirements)
            .output()
            .map_err(|source| SetupError::NoPip { program: program.to_owned(), project, source })?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let reason = last.unwrap_or("no reason given").trim().to_owned();
        Err(SetupError::Pip { project, version, reason })
    }

    fn read_member(&self, wheel: &Path) -> Result<Vec<u8>, SetupError> {
        let broken = |error: zip::result::ZipError| SetupError::Wheel(error.to_string());
        let file = File::open(wheel).map_err(|source| io_error(wheel, source))?;
        let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
        let mut member = archive.by_name(self.member).map_err(broken)?;
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|source| io_error(wheel, source))?;
        Ok(bytes)
    }
}

fn find_wheel(scratch: &Path) -> Result<PathBuf, SetupError> {
    let entries = fs::read_dir(scratch).map_err(|source| io_error(scratch, source))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| SetupError::Wheel("pip left no wheel".to_owned()))
}

fn io_error(path: &Path, source: io::Error) -> SetupError {
    SetupError::Io { path: path.to_owned(), source }
}
