//! What a client says its bytes add up to, and whether they do.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use s3s::dto::ChecksumAlgorithm;
use s3s::{S3Error, S3Result, TrailingHeaders, s3_error};

use crate::digest::{Algorithm, Digests, Sums};

/// The checksums in an input, by the name of their algorithm.
macro_rules! claimed {
    ($input:expr) => {
        [
            ("CRC32", &$input.checksum_crc32),
            ("CRC32C", &$input.checksum_crc32c),
            ("CRC64NVME", &$input.checksum_crc64nvme),
            ("SHA1", &$input.checksum_sha1),
            ("SHA256", &$input.checksum_sha256),
        ]
        .into_iter()
        .filter_map(|(name, sum)| Some((name.to_owned(), sum.clone()?)))
        .collect::<std::collections::BTreeMap<String, String>>()
    };
}

/// Writes checksums into an output.
macro_rules! show_checksums {
    ($output:expr, $checksums:expr) => {{
        let checksums: &std::collections::BTreeMap<String, String> = &$checksums;
        $output.checksum_crc32 = checksums.get("CRC32").cloned();
        $output.checksum_crc32c = checksums.get("CRC32C").cloned();
        $output.checksum_crc64nvme = checksums.get("CRC64NVME").cloned();
        $output.checksum_sha1 = checksums.get("SHA1").cloned();
        $output.checksum_sha256 = checksums.get("SHA256").cloned();
    }};
}

pub(super) use {claimed, show_checksums};

/// Checks to make once the whole body was read.
pub(super) struct Claims {
    md5: Option<[u8; 16]>,
    checksums: BTreeMap<String, String>,
    /// Announced by `x-amz-trailer`; they come behind the body.
    trailing: Vec<Algorithm>,
    trailers: Option<TrailingHeaders>,
    algorithms: Vec<Algorithm>,
}

impl Claims {
    /// Reads the claims of a request. `named` is what the client wants computed.
    pub(super) fn new(
        headers: &HeaderMap,
        trailers: Option<TrailingHeaders>,
        checksums: BTreeMap<String, String>,
        content_md5: Option<&str>,
        named: Option<&ChecksumAlgorithm>,
    ) -> S3Result<Self> {
        if checksums.len() > 1 {
            return Err(s3_error!(
                InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
            ));
        }
        let trailing = announced(headers);
        let mut algorithms = trailing.clone();
        for (name, sum) in &checksums {
            algorithms.push(check_form(name, sum)?);
        }
        if let Some(named) = named {
            algorithms.push(algorithm(named.as_str())?);
        }
        let md5 = content_md5.map(read_md5).transpose()?;
        Ok(Self { md5, checksums, trailing, trailers, algorithms })
    }

    /// Has an algorithm computed that the client does not speak of.
    pub(super) fn also(&mut self, algorithm: Algorithm) {
        self.algorithms.push(algorithm);
    }

    /// What computes all that was claimed; S3's own choice if nothing was.
    pub(super) fn digests(&self) -> Digests {
        if self.algorithms.is_empty() {
            return Digests::new([Algorithm::Crc64Nvme]);
        }
        Digests::new(self.algorithms.iter().copied())
    }

    /// Compares the claims with what was found.
    pub(super) fn verify(&self, found: &Sums) -> S3Result<()> {
        if self.md5.is_some_and(|md5| md5 != found.md5) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        for (name, sum) in &self.checksums {
            compare(name, sum, found)?;
        }
        let trailers = self.trailers.as_ref().and_then(TrailingHeaders::take).unwrap_or_default();
        for algorithm in &self.trailing {
            let sum = trailers.get(algorithm.header()).and_then(|sum| sum.to_str().ok());
            let sum = sum.ok_or_else(|| {
                s3_error!(InvalidRequest, "The trailer {} did not come", algorithm.header())
            })?;
            compare(algorithm.name(), sum, found)?;
        }
        Ok(())
    }
}

pub(super) fn algorithm(name: &str) -> S3Result<Algorithm> {
    Algorithm::by_name(name).ok_or_else(|| {
        s3_error!(
            InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid \
             types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
        )
    })
}

fn announced(headers: &HeaderMap) -> Vec<Algorithm> {
    let names = headers.get_all("x-amz-trailer").into_iter().filter_map(|name| name.to_str().ok());
    names
        .flat_map(|names| names.split(','))
        .filter_map(|name| {
            let name = name.trim();
            Algorithm::ALL.into_iter().find(|known| known.header().eq_ignore_ascii_case(name))
        })
        .collect()
}

fn check_form(name: &str, sum: &str) -> S3Result<Algorithm> {
    let algorithm = algorithm(name)?;
    let bytes = BASE64_STANDARD.decode(sum).ok();
    if bytes.is_none_or(|bytes| bytes.len() != algorithm.width()) {
        return Err(s3_error!(
            InvalidRequest,
            "Value for {} header is invalid.",
            algorithm.header()
        ));
    }
    Ok(algorithm)
}

fn read_md5(content_md5: &str) -> S3Result<[u8; 16]> {
    let bytes = BASE64_STANDARD.decode(content_md5).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid."))
}

fn compare(name: &str, sum: &str, found: &Sums) -> S3Result<()> {
    if found.checksums.get(name).is_some_and(|found| found == sum) {
        return Ok(());
    }
    Err(bad_digest(name))
}

pub(super) fn bad_digest(name: &str) -> S3Error {
    s3_error!(BadDigest, "The {name} you specified did not match the calculated checksum.")
}
