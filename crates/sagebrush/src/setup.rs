//! Fetches what the server uses but is not made of: ONNX Runtime's library, and uv, which installs
//! what models require. Both are inside wheels on `PyPI`.

use std::io;
use std::path::PathBuf;

use wheel::{Release, Wheel};

mod wheel;

const ONNX_RUNTIME: Release = Release {
    project: "onnxruntime",
    version: "1.31.1",
    member: "onnxruntime/capi/libonnxruntime.so.1.31.1",
    mode: 0o644,
    // The wheel is made for this Python; the library in it does not care.
    tags: &["--python-version=3.12", "--implementation=cp", "--abi=cp312"],
    wheels: &[
        Wheel {
            arch: "x86_64",
            platform: "manylinux_2_28_x86_64",
            sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
            member_sha256: "fc44112fbe06d7d689c57e11d3862031f64711007e4ee020f8eed5185fd2c1d3",
        },
        Wheel {
            arch: "aarch64",
            platform: "manylinux_2_28_aarch64",
            sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
            member_sha256: "8aa3b76b28c778a2b1dd660d34161adb1d508c9ccd04ff9dc80e26eca5df8467",
        },
    ],
};

const UV: Release = Release {
    project: "uv",
    version: "0.13.9",
    member: "uv-0.13.9.data/scripts/uv",
    mode: 0o755,
    tags: &[],
    wheels: &[
        Wheel {
            arch: "x86_64",
            platform: "manylinux_2_17_x86_64",
            sha256: "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
            member_sha256: "b73acdf73b96c3ac9e56d2fa933427b3ee6a901e3cce6ba1e3ecb3f91ca0d86a",
        },
        Wheel {
            arch: "aarch64",
            platform: "manylinux_2_28_aarch64",
            sha256: "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
            member_sha256: "6109e47a75f2380d1cc90b00a6ee82b7b5792ddf66588625ec168545ae17512e",
        },
    ],
};

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("there is no pinned {project} for {arch}: name one of your own in the settings")]
    Platform { project: &'static str, arch: &'static str },
    #[error("cannot run `{program}`: {source}; Python 3 with pip is needed to fetch {project}")]
    NoPip { program: String, project: &'static str, source: io::Error },
    #[error("pip could not download {project} {version}: {reason}")]
    Pip { project: &'static str, version: &'static str, reason: String },
    #[error("the downloaded {0} does not have the pinned checksum")]
    Checksum(&'static str),
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the wheel is broken: {0}")]
    Wheel(String),
}

/// Where ONNX Runtime's library is kept, for all data directories of this user.
#[must_use]
pub fn library_path() -> PathBuf {
    kept(&ONNX_RUNTIME, "libonnxruntime.so")
}

/// Where uv is kept, beside it.
#[must_use]
pub fn uv_path() -> PathBuf {
    kept(&UV, "uv")
}

/// True if the library is there; [`fetch`] is done then.
#[must_use]
pub fn is_fetched() -> bool {
    library_path().try_exists().unwrap_or(false)
}

/// Fetches ONNX Runtime's library unless it is there, and returns its path.
///
/// # Errors
/// When pip cannot download it or its checksum is not the pinned one.
pub fn fetch() -> Result<PathBuf, SetupError> {
    let path = library_path();
    ONNX_RUNTIME.fetch(&path)?;
    Ok(path)
}

/// Fetches uv unless it is there, and returns its path.
///
/// # Errors
/// When pip cannot download it or its checksum is not the pinned one.
pub fn fetch_uv() -> Result<PathBuf, SetupError> {
    let path = uv_path();
    UV.fetch(&path)?;
    Ok(path)
}

fn kept(release: &Release, file: &str) -> PathBuf {
    cache_dir().join(format!("{}-{}", release.project, release.version)).join(file)
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
