//! Fetches ONNX Runtime: the shared library inside the wheel on `PyPI`, through the machine's own pip.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const VERSION: &str = "1.31.1";
/// Where the library is in the wheel.
const MEMBER: &str = "onnxruntime/capi/libonnxruntime.so.1.31.1";
/// The wheel is made for this Python; the library in it does not care.
const PYTHON: &str = "3.12";

/// The pinned wheel of a platform.
struct Wheel {
    arch: &'static str,
    /// SHA-256 of the wheel.
    sha256: &'static str,
    /// SHA-256 of the library in it.
    library_sha256: &'static str,
}

const WHEELS: &[Wheel] = &[
    Wheel {
        arch: "x86_64",
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        library_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
    },
    Wheel {
        arch: "aarch64",
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        library_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
    },
];

/// Why ONNX Runtime could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "there is no pinned ONNX Runtime for {0}: name a library of your own with --onnxruntime"
    )]
    Platform(&'static str),
    #[error("cannot run `{program}`: {source}; Python 3 with pip is needed to fetch ONNX Runtime")]
    NoPip { program: String, source: io::Error },
    #[error("pip could not download onnxruntime {VERSION}: {0}")]
    Pip(String),
    #[error("the downloaded {0} does not have the pinned checksum")]
    Checksum(&'static str),
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the wheel is broken: {0}")]
    Wheel(String),
}

/// Where the library is kept, for all data directories of this user.
#[must_use]
pub fn library_path() -> PathBuf {
    cache_dir().join(format!("onnxruntime-{VERSION}")).join("libonnxruntime.so")
}

/// True if the library is there; `fetch` is done then.
#[must_use]
pub fn is_fetched() -> bool {
    library_path().try_exists().unwrap_or(false)
}

/// Fetches the library unless it is there, and returns its path.
///
/// # Errors
/// When pip cannot download it or its checksum is not the pinned one.
pub fn fetch() -> Result<PathBuf, SetupError> {
    let library = library_path();
    if is_fetched() {
        return Ok(library);
    }
    let arch = std::env::consts::ARCH;
    let is_linux = std::env::consts::OS == "linux";
    let wheel = WHEELS.iter().find(|wheel| wheel.arch == arch && is_linux);
    let wheel = wheel.ok_or(SetupError::Platform(arch))?;
    let folder = library.parent().unwrap_or_else(|| Path::new(".")).to_owned();
    let scratch = folder.join(format!("download-{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(|source| io_error(&scratch, source))?;
    let outcome = fetch_into(&scratch, wheel, &library);
    if let Err(error) = fs::remove_dir_all(&scratch) {
        tracing::warn!(%error, folder = %scratch.display(), "a scratch folder stays behind");
    }
    outcome.map(|()| library)
}

fn fetch_into(scratch: &Path, wheel: &Wheel, library: &Path) -> Result<(), SetupError> {
    download(scratch, wheel)?;
    let bytes = read_member(&find_wheel(scratch)?)?;
    if hex::encode(Sha256::digest(&bytes)) != wheel.library_sha256 {
        return Err(SetupError::Checksum("library"));
    }
    // Written beside and renamed: two that fetch at once do not see each other's half.
    let half = scratch.join("libonnxruntime.so");
    fs::write(&half, bytes).map_err(|source| io_error(&half, source))?;
    fs::rename(&half, library).map_err(|source| io_error(library, source))
}

/// pip itself refuses a wheel whose checksum is not the pinned one.
fn download(scratch: &Path, wheel: &Wheel) -> Result<(), SetupError> {
    let requirements = scratch.join("requirements.txt");
    let line = format!("onnxruntime=={VERSION} --hash=sha256:{}\n", wheel.sha256);
    fs::write(&requirements, line).map_err(|source| io_error(&requirements, source))?;
    let program = "python3";
    let output = Command::new(program)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--require-hashes", "--disable-pip-version-check"])
        .arg(format!("--platform=manylinux_2_28_{}", wheel.arch))
        .arg(format!("--python-version={PYTHON}"))
        .args(["--implementation=cp", "--abi=cp312", "--dest"])
        .arg(scratch)
        .arg("--requirement")
        .arg(&requirements)
        .output()
        .map_err(|source| SetupError::NoPip { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    Err(SetupError::Pip(last.trim().to_owned()))
}

fn find_wheel(scratch: &Path) -> Result<PathBuf, SetupError> {
    let entries = fs::read_dir(scratch).map_err(|source| io_error(scratch, source))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheel.ok_or_else(|| SetupError::Wheel("pip left no wheel".to_owned()))
}

fn read_member(wheel: &Path) -> Result<Vec<u8>, SetupError> {
    let broken = |error: zip::result::ZipError| SetupError::Wheel(error.to_string());
    let file = File::open(wheel).map_err(|source| io_error(wheel, source))?;
    let mut archive = zip::ZipArchive::new(file).map_err(broken)?;
    let mut member = archive.by_name(MEMBER).map_err(broken)?;
    let mut bytes = Vec::new();
    member.read_to_end(&mut bytes).map_err(|source| io_error(wheel, source))?;
    Ok(bytes)
}

fn io_error(path: &Path, source: io::Error) -> SetupError {
    SetupError::Io { path: path.to_owned(), source }
}

/// `$XDG_CACHE_HOME/sagebrush`, or the like in the home folder.
#[expect(clippy::disallowed_methods, reason = "a well-known place that is no setting of ours")]
fn cache_dir() -> PathBuf {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var(name).ok()?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("sagebrush")
}
