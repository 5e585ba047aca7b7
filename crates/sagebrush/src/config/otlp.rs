//! The settings of what is told by OTLP: ours, and where they say nothing those of OpenTelemetry.

use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use sagebrush_telemetry::otlp::Destination;

use super::{ConfigError, Options};

/// How long spans wait for others, unless told otherwise; as OpenTelemetry has it.
const DELAY: Duration = Duration::from_secs(5);
/// How often metrics are told, unless told otherwise; as OpenTelemetry has it.
const EVERY: Duration = Duration::from_mins(1);

/// What is told to a collector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtlpConfig {
    /// `None`: nothing is traced.
    pub traces: Option<TraceConfig>,
    /// `None`: metrics are told to nobody but who asks for them.
    pub metrics: Option<MetricConfig>,
}

/// Where traces are told, and of how many calls.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceConfig {
    pub destination: Destination,
    /// How long a span waits for others at most.
    pub delay: Duration,
    /// Of the calls that come without a decision, `0.0..=1.0`.
    pub ratio: f64,
}

/// Where metrics are told, and how often.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricConfig {
    pub destination: Destination,
    pub every: Duration,
}

/// One of the kinds of things that OTLP tells.
#[derive(Clone, Copy)]
struct Signal {
    /// Where it goes below an endpoint.
    path: &'static str,
    /// The variable that names the whole of its URL.
    variable: &'static str,
}

const TRACES: Signal =
    Signal { path: "/v1/traces", variable: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" };
const METRICS: Signal =
    Signal { path: "/v1/metrics", variable: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" };

/// Without an endpoint nothing is told.
pub(super) fn resolve(
    options: &Options,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<OtlpConfig, ConfigError> {
    // Empty is like unset, as OpenTelemetry has it.
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let tells_metrics = options.otlp_metrics.unwrap_or(true);
    let traces = destination(options, variable, TRACES)?;
    let metrics = tells_metrics.then(|| destination(options, variable, METRICS));
    let metrics = metrics.transpose()?.flatten();
    let ratio = options.trace_ratio.map(|ratio| ratio.to_string());
    let ratio = ratio.or_else(|| variable("OTEL_TRACES_SAMPLER_ARG"));
    let time = |name, default, least| {
        variable(name).map_or(Ok(default), |given| parse_millis(name, &given, least))
    };
    let trace_config = |destination| {
        let ratio = ratio.map_or(Ok(1.0), |ratio| parse_ratio(&ratio))?;
        Ok(TraceConfig { destination, delay: time("OTEL_BSP_SCHEDULE_DELAY", DELAY, 0)?, ratio })
    };
    let metric_config = |destination| {
        Ok(MetricConfig { destination, every: time("OTEL_METRIC_EXPORT_INTERVAL", EVERY, 1)? })
    };
    Ok(OtlpConfig {
        traces: traces.map(trace_config).transpose()?,
        metrics: metrics.map(metric_config).transpose()?,
    })
}

/// Where a kind of things is told.
fn destination(
    options: &Options,
    variable: impl Fn(&str) -> Option<String>,
    signal: Signal,
) -> Result<Option<Destination>, ConfigError> {
    let is_disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value == "true");
    let own = options.otlp_endpoint.clone().filter(|value| !value.is_empty());
    let standard = || Some(below(&variable("OTEL_EXPORTER_OTLP_ENDPOINT")?, signal));
    let found = match own {
        Some(own) => Some(below(&own, signal)),
        None if is_disabled => None,
        None => variable(signal.variable).or_else(standard),
    };
    let Some(url) = found else { return Ok(None) };
    let headers = options.otlp_headers.clone();
    let headers = headers.or_else(|| variable("OTEL_EXPORTER_OTLP_HEADERS"));
    let service = options.service_name.clone().or_else(|| variable("OTEL_SERVICE_NAME"));
    Ok(Some(Destination {
        url: parse_url(&url)?,
        headers: headers.map_or(Ok(HeaderMap::new()), |headers| parse_headers(&headers))?,
        service: service.unwrap_or_else(|| "sagebrush".to_owned()),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

/// Endpoints are also known by the whole URL of what is told there.
fn below(endpoint: &str, signal: Signal) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    let whole = [TRACES, METRICS].iter().find_map(|one| endpoint.strip_suffix(one.path));
    format!("{}{}", whole.unwrap_or(endpoint), signal.path)
}

fn parse_url(given: &str) -> Result<Uri, ConfigError> {
    let url = given.parse::<Uri>().ok().filter(|url| {
        let is_web = |scheme| scheme == &Scheme::HTTP || scheme == &Scheme::HTTPS;
        url.scheme().is_some_and(is_web) && url.host().is_some_and(|host| !host.is_empty())
    });
    url.ok_or_else(|| ConfigError::Value {
        name: "otlp-endpoint",
        value: given.to_owned(),
        reason: "an endpoint is like http://127.0.0.1:4318",
    })
}

/// `name=value,name=value`; values may be percent-encoded, as OpenTelemetry says.
fn parse_headers(given: &str) -> Result<HeaderMap, ConfigError> {
    let pairs = given.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let parsed = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
    });
    parsed.collect::<Option<HeaderMap>>().ok_or_else(|| ConfigError::Value {
        name: "otlp-headers",
        value: "...".to_owned(), // It may hold a key.
        reason: "headers are like name=value,name=value",
    })
}

fn parse_millis(name: &'static str, given: &str, least: u64) -> Result<Duration, ConfigError> {
    let millis = given.parse().ok().filter(|millis| *millis >= least).map(Duration::from_millis);
    millis.ok_or_else(|| ConfigError::Value {
        name,
        value: given.to_owned(),
        reason: "it is a number of milliseconds",
    })
}

fn parse_ratio(given: &str) -> Result<f64, ConfigError> {
    let ratio = given.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| ConfigError::Value {
        name: "trace-ratio",
        value: given.to_owned(),
        reason: "a ratio is from 0 to 1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(own: Option<&str>, variables: &[(&str, &str)], url: Option<&str>, ratio: f64) {
        let options = Options { otlp_endpoint: own.map(str::to_owned), ..Options::default() };
        let found = of(&options, variables).unwrap().traces;
        let found = found.map(|it| (it.destination.url.to_string(), it.ratio));
        assert_eq!(found, url.map(|url| (url.to_owned(), ratio)), "{own:?} {variables:?}");
    }

    fn of(options: &Options, variables: &[(&str, &str)]) -> Result<OtlpConfig, ConfigError> {
        resolve(options, |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn our_settings_count_before_those_of_opentelemetry() {
        let [base, ratio] =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")];
        check(None, &[], None, 0.0);
        check(None, &[ratio], None, 0.0);
        check(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None, 0.0);
        check(None, &[base], Some("http://c:4318/v1/traces"), 1.0);
        check(None, &[base, ratio], Some("http://c:4318/v1/traces"), 0.5);
        check(None, &[base, ("OTEL_SDK_DISABLED", "true")], None, 0.0);
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://d/t");
        check(None, &[base, whole], Some("http://d/t"), 1.0);
        check(Some("https://e"), &[base, whole], Some("https://e/v1/traces"), 1.0);
        check(Some("https://e/v1/traces"), &[], Some("https://e/v1/traces"), 1.0);
    }

    #[test]
    fn metrics_go_where_traces_go_unless_told_otherwise() {
        let check = |own: Option<&str>, is_on, variables: &[(&str, &str)], wanted: Option<&str>| {
            let otlp_endpoint = own.map(str::to_owned);
            let options = Options { otlp_endpoint, otlp_metrics: is_on, ..Options::default() };
            let found = of(&options, variables).unwrap().metrics;
            let found = found.map(|it| (it.destination.url.to_string(), it.every.as_millis()));
            let wanted = wanted.map(|url| (url.to_owned(), 60_000));
            assert_eq!(found, wanted, "{own:?} {is_on:?} {variables:?}");
        };
        check(None, None, &[], None);
        check(Some("http://c:4318"), None, &[], Some("http://c:4318/v1/metrics"));
        check(Some("http://c/v1/traces"), Some(true), &[], Some("http://c/v1/metrics"));
        check(Some("http://c"), Some(false), &[], None);
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        check(None, None, &[base], Some("http://c:4318/v1/metrics"));
        check(None, None, &[base, ("OTEL_SDK_DISABLED", "true")], None);
        check(None, None, &[base, (METRICS.variable, "http://d/m")], Some("http://d/m"));
        check(None, None, &[(TRACES.variable, "http://d/t")], None);
        let every = ("OTEL_METRIC_EXPORT_INTERVAL", "500");
        let found = of(&Options::default(), &[base, every]).unwrap().metrics.unwrap().every;
        assert_eq!(found, Duration::from_millis(500));
        let never = ("OTEL_METRIC_EXPORT_INTERVAL", "0");
        let error = of(&Options::default(), &[base, never]).unwrap_err().to_string();
        assert!(error.contains("OTEL_METRIC_EXPORT_INTERVAL is `0`"), "{error}");
    }

    #[test]
    fn headers_are_sent_as_they_are_given() {
        let options = Options {
            otlp_endpoint: Some("http://c".to_owned()),
            otlp_headers: Some("api-key=a%20b, x=1".to_owned()),
            service_name: Some("mine".to_owned()),
            ..Options::default()
        };
        let destination = of(&options, &[]).unwrap().traces.unwrap().destination;
        assert_eq!(destination.headers["api-key"], "a b");
        assert_eq!(
            (destination.headers["x"].as_bytes(), &*destination.service),
            (&b"1"[..], "mine")
        );
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let check = |options: Options, wanted: &str| {
            let error = of(&options, &[]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        let at = |endpoint: &str| Options {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..Options::default()
        };
        for endpoint in ["here", "127.0.0.1:4318", "ftp://c", "http://"] {
            check(at(endpoint), "an endpoint is like http://127.0.0.1:4318");
        }
        check(Options { trace_ratio: Some(1.5), ..at("http://c") }, "a ratio is from 0 to 1");
        let headers = Some("secret".to_owned());
        check(Options { otlp_headers: headers, ..at("http://c") }, "otlp-headers is `...`");
    }
}
