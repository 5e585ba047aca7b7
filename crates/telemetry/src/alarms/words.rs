//! Times, numbers and places in CloudWatch's words.

use sagebrush_core::Timestamp;

fn format(at: Timestamp, format: &str) -> String {
    jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().strftime(format).to_string()
}

/// `2017-01-12T16:30:42.236+0000`
pub(super) fn iso(at: Timestamp) -> String {
    format(at, "%Y-%m-%dT%H:%M:%S.%3f+0000")
}

/// `01/02/20 15:04:05`, the day first.
pub(super) fn short(at: Timestamp) -> String {
    format(at, "%d/%m/%y %H:%M:%S")
}

/// `Friday 21 August, 2020 00:00:00 UTC`
pub(super) fn long(at: Timestamp) -> String {
    format(at, "%A %d %B, %Y %H:%M:%S UTC")
}

/// The first characters of a text, at most `n`.
pub(super) fn cut(text: &str, n: usize) -> String {
    text.chars().take(n).collect()
}

/// `US East (N. Virginia)`; other regions by their code.
pub(super) fn place(region: &str) -> &str {
    match region {
        "us-east-1" => "US East (N. Virginia)",
        "us-east-2" => "US East (Ohio)",
        "us-west-1" => "US West (N. California)",
        "us-west-2" => "US West (Oregon)",
        "ca-central-1" => "Canada (Central)",
        "eu-central-1" => "EU (Frankfurt)",
        "eu-west-1" => "EU (Ireland)",
        "eu-west-2" => "EU (London)",
        "eu-west-3" => "EU (Paris)",
        "eu-north-1" => "EU (Stockholm)",
        "eu-south-1" => "EU (Milan)",
        "ap-south-1" => "Asia Pacific (Mumbai)",
        "ap-southeast-1" => "Asia Pacific (Singapore)",
        "ap-southeast-2" => "Asia Pacific (Sydney)",
        "ap-northeast-1" => "Asia Pacific (Tokyo)",
        "ap-northeast-2" => "Asia Pacific (Seoul)",
        "sa-east-1" => "South America (Sao Paulo)",
        other => other,
    }
}
