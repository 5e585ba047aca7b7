//! MD5 and the S3 checksums over a stream of bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::{CrcAlgorithm, checksum_combine};
use md5::{Digest as _, Md5};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

/// A checksum that S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub const ALL: [Self; 5] =
        [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As in `x-amz-checksum-algorithm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// How long the checksum is, in bytes.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// Whether the checksum of a whole follows from those of its parts.
    #[must_use]
    pub fn combines(self) -> bool {
        self.crc().is_some()
    }

    /// The checksum of the whole whose parts have these checksums and sizes; only of a CRC.
    #[must_use]
    pub fn combine(self, parts: &[(String, u64)]) -> Option<String> {
        let crc = self.crc()?;
        let mut whole = 0;
        for (sum, size) in parts {
            whole = checksum_combine(crc, whole, self.decode(sum)?, *size);
        }
        let bytes = whole.to_be_bytes();
        Some(BASE64_STANDARD.encode(&bytes[bytes.len() - self.width()..]))
    }

    /// The checksum over the checksums of the parts, with their number behind it.
    #[must_use]
    pub fn compose(self, parts: &[String]) -> Option<String> {
        let mut digests = Digests::new([self]);
        for part in parts {
            digests.update(&BASE64_STANDARD.decode(part).ok()?);
        }
        let sum = digests.finish().checksums.remove(self.name())?;
        Some(format!("{sum}-{}", parts.len()))
    }

    fn decode(self, sum: &str) -> Option<u64> {
        let bytes = BASE64_STANDARD.decode(sum).ok()?;
        let right_length = bytes.len() == self.width();
        right_length.then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// MD5, always, and what checksums were asked for.
pub struct Digests {
    md5: Md5,
    checksums: ChecksumHasher,
}

/// What [`Digests`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    pub md5: [u8; 16],
    /// Base64, by the name of the algorithm.
    pub checksums: BTreeMap<String, String>,
}

impl Digests {
    #[must_use]
    pub fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut checksums = ChecksumHasher::default();
        for algorithm in algorithms {
            match algorithm {
                Algorithm::Crc32 => checksums.crc32 = Some(Crc32::new()),
                Algorithm::Crc32c => checksums.crc32c = Some(Crc32c::new()),
                Algorithm::Crc64Nvme => checksums.crc64nvme = Some(Crc64Nvme::new()),
                Algorithm::Sha1 => checksums.sha1 = Some(Sha1::new()),
                Algorithm::Sha256 => checksums.sha256 = Some(Sha256::new()),
            }
        }
        Self { md5: Md5::new(), checksums }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.checksums.update(bytes);
    }

    #[must_use]
    pub fn finish(self) -> Sums {
        let found = self.checksums.finalize();
        let by_name = [
            (Algorithm::Crc32, found.checksum_crc32),
            (Algorithm::Crc32c, found.checksum_crc32c),
            (Algorithm::Crc64Nvme, found.checksum_crc64nvme),
            (Algorithm::Sha1, found.checksum_sha1),
            (Algorithm::Sha256, found.checksum_sha256),
        ];
        let checksums = by_name
            .into_iter()
            .filter_map(|(algorithm, sum)| Some((algorithm.name().to_owned(), sum?)))
            .collect();
        Sums { md5: self.md5.finalize().into(), checksums }
    }
}

impl Sums {
    #[must_use]
    pub fn etag(&self) -> String {
        hex::encode(self.md5)
    }
}

/// The `ETag` of an object that was uploaded in parts: the MD5 of their MD5s, and their number.
#[must_use]
pub fn etag_of_parts<'a>(etags: impl ExactSizeIterator<Item = &'a str>) -> Option<String> {
    let number = etags.len();
    let mut md5 = Md5::new();
    for etag in etags {
        md5.update(hex::decode(etag).ok()?);
    }
    Some(format!("{}-{number}", hex::encode(md5.finalize())))
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Digests, etag_of_parts};

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut digests = Digests::new([algorithm]);
        digests.update(bytes);
        digests.finish().checksums[algorithm.name()].clone()
    }

    #[test]
    fn known_values() {
        assert_eq!(sum(Algorithm::Crc32, b"123456789"), "y/Q5Jg==");
        assert_eq!(sum(Algorithm::Crc32c, b"123456789"), "4waSgw==");
        assert_eq!(sum(Algorithm::Crc64Nvme, b"123456789"), "rosUhgp5mIg=");
        let md5 = Digests::new([]).finish().etag();
        assert_eq!(md5, "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_crc_of_parts_is_that_of_the_whole() {
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let parts = [b"hello, ".as_slice(), b"", b"world"]
                .map(|part| (sum(algorithm, part), part.len() as u64));
            assert_eq!(algorithm.combine(&parts), Some(sum(algorithm, b"hello, world")));
        }
        assert_eq!(Algorithm::Sha256.combine(&[]), None);
    }

    #[test]
    fn composites_carry_the_number_of_parts() {
        let parts = [sum(Algorithm::Sha256, b"a"), sum(Algorithm::Sha256, b"b")];
        assert!(Algorithm::Sha256.compose(&parts).unwrap().ends_with("=-2"));
        let etag = "d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(
            etag_of_parts([etag].into_iter()).unwrap(),
            "59adb24ef3cdbe0297f05b395827453f-1"
        );
        assert_eq!(etag_of_parts(["zz"].into_iter()), None);
    }
}
