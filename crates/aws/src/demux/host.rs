//! What the `Host` header says of the service.

use http::header::HOST;
use http::request::Parts;

/// Whom a host name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// `s3.localhost`, `bucket.s3.localhost`, `bucket.localhost`, `bucket.s3.us-east-1.amazonaws.com`.
    S3,
    /// Another service's own name; what it signs with.
    Service(&'static str),
    /// An address, `localhost`, or any other name.
    Any,
}

impl Host {
    pub(super) fn service(self) -> Option<&'static str> {
        match self {
            Self::Service(service) => Some(service),
            Self::S3 | Self::Any => None,
        }
    }
}

/// What stands before the region, and the service that it is.
const SERVICES: [(&str, &str); 8] = [
    ("api.sagemaker", "sagemaker"),
    ("runtime.sagemaker", "sagemaker"),
    ("sts", "sts"),
    ("iam", "iam"),
    ("logs", "logs"),
    ("monitoring", "monitoring"),
    ("sns", "sns"),
    ("sqs", "sqs"),
];

pub(super) fn of(parts: &Parts) -> Host {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = || parts.uri.authority().map(http::uri::Authority::as_str);
    classify(header.or_else(authority).unwrap_or_default())
}

pub(super) fn classify(host: &str) -> Host {
    let name = without_port(host).trim_end_matches('.');
    if !name.contains('.') || name.ends_with(|last: char| last.is_ascii_digit()) {
        return Host::Any; // `localhost` or an address.
    }
    let name = name.to_ascii_lowercase();
    if let Some(name) = name.strip_suffix(".localhost") {
        return service_named(name).unwrap_or(Host::S3); // What is no service is a bucket.
    }
    let amazon =
        name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn"));
    match amazon {
        Some(name) => service_named(name).unwrap_or(Host::Any),
        None => Host::Any,
    }
}

/// `sts`, `sts.us-east-1`, `s3`, `bucket.s3`, `my.bucket.s3.us-east-1`.
fn service_named(name: &str) -> Option<Host> {
    let is_of = |prefix: &str| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    // A bucket may be named like a service, but it then stands before `.s3`.
    if name.split('.').any(|label| label == "s3" || label.starts_with("s3-")) {
        return Some(Host::S3);
    }
    let found = SERVICES.iter().find(|(prefix, _)| is_of(prefix));
    found.map(|(_, service)| Host::Service(service))
}

fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host; // An IPv6 address.
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}
