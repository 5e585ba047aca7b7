//! The pinned package that the service models come from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::model::Model;

pub(super) const VERSION: &str = "1.44.5";
const WHEEL: &str = "botocore-1.44.5-py3-none-any.whl";
const SHA256: &str = "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921";

/// The package's file, known to be the pinned one.
pub(super) struct Botocore {
    wheel: PathBuf,
}

impl Botocore {
    /// Opens the package in the folder `cache`, and downloads it first if it is not there.
    pub(super) fn open(cache: &Path) -> Result<Self> {
        let wheel = cache.join(WHEEL);
        if !wheel.try_exists()? {
            download(cache).context("downloading botocore")?;
        }
        let hash = hex::encode(Sha256::digest(fs::read(&wheel)?));
        ensure!(hash == SHA256, "{} has the wrong hash, delete it: {hash}", wheel.display());
        Ok(Self { wheel })
    }

    /// Reads the newest model of a service.
    pub(super) fn model(&self, service: &str) -> Result<Model> {
        let text =
            self.newest(service).with_context(|| format!("reading the model of {service}"))?;
        serde_json::from_slice(&text).with_context(|| format!("parsing the model of {service}"))
    }

    fn newest(&self, service: &str) -> Result<Vec<u8>> {
        let mut wheel = ZipArchive::new(File::open(&self.wheel)?)?;
        let folder = format!("botocore/data/{service}/");
        let name = wheel
            .file_names()
            .filter_map(Result::ok)
            .filter(|name| name.starts_with(&folder) && name.ends_with("/service-2.json.gz"))
            .max() // The folder between is the version's date.
            .context("botocore has no such service")?
            .into_owned();
        let mut text = Vec::new();
        GzDecoder::new(wheel.by_name(&name)?).read_to_end(&mut text)?;
        Ok(text)
    }
}

/// Downloads beside the cache and moves the file in, so that two at once do not meet halfway.
fn download(cache: &Path) -> Result<()> {
    let folder = cache.join(format!("download-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, format!("botocore=={VERSION} --hash=sha256:{SHA256}\n"))?;
    let status = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"])
        .arg("--require-hashes")
        .arg("--requirement")
        .arg(&requirements)
        .arg("--dest")
        .arg(&folder)
        .status()
        .context("running pip")?;
    ensure!(status.success(), "pip failed: {status}");
    fs::rename(folder.join(WHEEL), cache.join(WHEEL))?;
    Ok(fs::remove_dir_all(&folder)?)
}
