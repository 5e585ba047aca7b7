//! Which bucket a host name means.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Tells `bucket.domain` from `domain`. A host that is neither names no bucket.
pub(super) struct Hosts {
    /// Lower case; the longest first, so that `s3.localhost` wins over `localhost`.
    domains: Vec<String>,
}

impl Hosts {
    pub(super) fn new(domains: Vec<String>) -> Self {
        let mut domains: Vec<_> = domains.iter().map(|domain| domain.to_lowercase()).collect();
        domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
        Self { domains }
    }

    fn bucket<'a>(&self, name: &'a str) -> Option<&'a str> {
        if is_address(name) {
            return None;
        }
        for domain in &self.domains {
            if name.eq_ignore_ascii_case(domain) {
                return None;
            }
            if let Some(bucket) = below(name, domain) {
                return Some(bucket);
            }
        }
        below_aws(name)
    }
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = without_port(host);
        let base = VirtualHost::new(name);
        // Host names know no case, and buckets no upper one.
        Ok(match self.bucket(name) {
            Some(bucket) => base.with_bucket(bucket.to_ascii_lowercase()),
            None => base,
        })
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_address(name: &str) -> bool {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<std::net::IpAddr>().is_ok()
}

fn below<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(domain.len() + 1)?;
    let (bucket, rest) = (name.get(..at)?, name.get(at..)?);
    let is_below = rest.strip_prefix('.')?.eq_ignore_ascii_case(domain);
    (is_below && !bucket.is_empty()).then_some(bucket)
}

/// `bucket.s3.amazonaws.com`, `bucket.s3.<region>.amazonaws.com`, and dual-stack.
fn below_aws(name: &str) -> Option<&str> {
    let service = below(name, "amazonaws.com")?;
    if let Some(bucket) = below(service, "s3") {
        return Some(bucket);
    }
    let (before, _region) = service.rsplit_once('.')?;
    let before = below(before, "dualstack").unwrap_or(before);
    below(before, "s3")
}

#[cfg(test)]
mod tests {
    use s3s::host::S3Host as _;

    use super::Hosts;

    fn check(host: &str, bucket: Option<&str>) {
        let hosts = Hosts::new(vec!["localhost".to_owned(), "s3.localhost".to_owned()]);
        assert_eq!(hosts.parse_host_header(host).unwrap().bucket(), bucket, "{host}");
    }

    #[test]
    fn buckets_of_hosts() {
        check("localhost", None);
        check("localhost:8080", None);
        check("LOCALHOST:8080", None);
        check("b.localhost:8080", Some("b"));
        check("my.dotted.localhost", Some("my.dotted"));
        check("s3.localhost", None);
        check("b.s3.localhost:80", Some("b"));
        check("127.0.0.1:9000", None);
        check("[::1]:9000", None);
        check("[::1]", None);
        check("sagebrush.default.svc.cluster.local:8080", None);
        check("s3.amazonaws.com", None);
        check("b.s3.amazonaws.com", Some("b"));
        check("s3.eu-west-1.amazonaws.com", None);
        check("b.s3.eu-west-1.amazonaws.com", Some("b"));
        check("b.c.s3.dualstack.eu-west-1.amazonaws.com", Some("b.c"));
        check("sts.eu-west-1.amazonaws.com", None);
        check(".localhost", None);
        check("", None);
    }
}
