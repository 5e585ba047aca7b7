//! The settings: flags over `SAGEBRUSH_*` over `sagebrush.toml` over defaults.

mod otlp;
mod smtp;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use sagebrush_control::endpoint::IdleAfter;
use sagebrush_core::instance::Limits;
use sagebrush_core::network::Network;
use sagebrush_messaging::SmtpSettings;
use sagebrush_runtime::environment::Environments;
use sagebrush_runtime::sandbox::Mode;
use serde::Deserialize;

pub use self::otlp::OtlpConfig;
use crate::images::ImageEntry;
use crate::server::limits;

/// The account that resources live in unless told otherwise.
const ACCOUNT: &str = "123456789012";
const REGION: &str = "us-east-1";
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4577);
/// The key pair of the first minute; only for loopback addresses.
const DEFAULT_KEY: &str = "sagebrush";
/// SageMaker Runtime API: `BodyBlob` has at most 6,291,456 bytes.
const MAX_PAYLOAD: u64 = 6_291_456;
/// What an instance holds at most, unless told otherwise.
const LIMITS: Limits = Limits { waiting: 256, bytes: 256 << 20 };
/// The file that is read when none is named and it is there.
const FILE: &str = "sagebrush.toml";

/// What a person may set; the same names in the file, in the environment and as flags.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The address to listen on [default: 127.0.0.1:4577].
    #[arg(long, global = true, env = "SAGEBRUSH_LISTEN")]
    pub listen: Option<String>,
    /// Where everything is kept [default: ./.sagebrush].
    #[arg(long, global = true, env = "SAGEBRUSH_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The access key that clients sign with [default: sagebrush, on loopback only].
    #[arg(long, global = true, env = "SAGEBRUSH_ACCESS_KEY")]
    pub access_key: Option<String>,
    /// Its secret [default: sagebrush, on loopback only].
    #[arg(long, global = true, env = "SAGEBRUSH_SECRET_KEY", hide_env_values = true)]
    pub secret_key: Option<String>,
    /// The account id in ARNs [default: 123456789012].
    #[arg(long, global = true, env = "SAGEBRUSH_ACCOUNT_ID")]
    pub account_id: Option<String>,
    /// The region of buckets and of `sagebrush env` [default: us-east-1].
    #[arg(long, global = true, env = "SAGEBRUSH_REGION")]
    pub region: Option<String>,
    /// The ONNX Runtime library [default: the one that `sagebrush setup` fetched].
    #[arg(long, global = true, env = "SAGEBRUSH_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,
    /// The interpreter of Python images: a path, or a name on the PATH [default: python3].
    #[arg(long, global = true, env = "SAGEBRUSH_PYTHON")]
    pub python: Option<String>,
    /// How models' processes are kept apart: `auto`, `namespaces` or `group` [default: auto].
    #[arg(long, global = true, env = "SAGEBRUSH_ISOLATION")]
    pub isolation: Option<String>,
    /// The socket of a Docker-compatible engine, for images that nothing else serves.
    #[arg(long, global = true, env = "SAGEBRUSH_CONTAINER_SOCKET")]
    pub container_socket: Option<PathBuf>,
    /// Whether that engine may pull images that it does not have [default: false].
    #[arg(long, global = true, env = "SAGEBRUSH_PULL_IMAGES")]
    pub pull_images: Option<bool>,
    /// Whether `process://` images run programs of this machine [default: true].
    #[arg(long, global = true, env = "SAGEBRUSH_PROCESS_IMAGES")]
    pub process_images: Option<bool>,
    /// How images are served, before the built-in ways; only in the file.
    #[arg(skip)]
    pub image: Vec<ImageEntry>,
    /// The largest payload of a real-time call, in bytes [default: 6291456].
    #[arg(long, global = true, env = "SAGEBRUSH_MAX_PAYLOAD_BYTES")]
    pub max_payload_bytes: Option<u64>,
    /// How many calls may wait on an instance, besides those under way [default: 256].
    #[arg(long, global = true, env = "SAGEBRUSH_MAX_WAITING_CALLS")]
    pub max_waiting_calls: Option<usize>,
    /// The bytes of payloads that an instance holds at most [default: 268435456].
    #[arg(long, global = true, env = "SAGEBRUSH_MAX_INSTANCE_BYTES")]
    pub max_instance_bytes: Option<u64>,
    /// What the bodies of all calls under way may take together, in bytes; calls beyond it are
    /// refused, objects are streamed [default: a quarter of the memory].
    #[arg(long, global = true, env = "SAGEBRUSH_MAX_BODY_MEMORY")]
    pub max_body_memory: Option<u64>,
    /// After how many seconds without a call a serverless variant goes to zero [default: 60].
    #[arg(long, global = true, env = "SAGEBRUSH_SERVERLESS_IDLE_SECONDS")]
    pub serverless_idle_seconds: Option<u64>,
    /// After how many seconds an instance goes that a variant with `ManagedInstanceScaling` does
    /// not need [default: 300].
    #[arg(long, global = true, env = "SAGEBRUSH_MANAGED_IDLE_SECONDS")]
    pub managed_idle_seconds: Option<u64>,
    /// The mail server, for e-mail subscriptions of topics; without it they are refused.
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_HOST")]
    pub smtp_host: Option<String>,
    /// Its port [default: 587].
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_PORT")]
    pub smtp_port: Option<u16>,
    /// Whom it knows us as.
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_USER")]
    pub smtp_user: Option<String>,
    /// The password for that.
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_PASSWORD", hide_env_values = true)]
    pub smtp_password: Option<String>,
    /// The address that mails come from.
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_FROM")]
    pub smtp_from: Option<String>,
    /// TLS to the mail server: `required` or `off` [default: required, but on loopback].
    #[arg(long, global = true, env = "SAGEBRUSH_SMTP_TLS")]
    pub smtp_tls: Option<String>,
    /// Where traces and metrics go by OTLP over HTTP: `http://127.0.0.1:4318` [default: that of
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; without either nothing is traced].
    #[arg(long, global = true, env = "SAGEBRUSH_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Headers of these requests: name=value,name=value [default: `OTEL_EXPORTER_OTLP_HEADERS`].
    #[arg(long, global = true, env = "SAGEBRUSH_OTLP_HEADERS", hide_env_values = true)]
    pub otlp_headers: Option<String>,
    /// Whether metrics go there, too [default: true].
    #[arg(long, global = true, env = "SAGEBRUSH_OTLP_METRICS")]
    pub otlp_metrics: Option<bool>,
    /// The part of the calls that is traced where the caller says nothing, from 0 to 1
    /// [default: `OTEL_TRACES_SAMPLER_ARG`, or 1].
    #[arg(long, global = true, env = "SAGEBRUSH_TRACE_RATIO")]
    pub trace_ratio: Option<f64>,
    /// The name of this server in traces [default: `OTEL_SERVICE_NAME`, or sagebrush].
    #[arg(long, global = true, env = "SAGEBRUSH_SERVICE_NAME")]
    pub service_name: Option<String>,
    /// Proxies before this server, as addresses or networks: `10.0.0.0/8,::1`. What their
    /// `X-Forwarded-For` and `X-Forwarded-Proto` say is believed [default: none].
    #[arg(long, global = true, env = "SAGEBRUSH_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<String>,
    /// Whether each call of an endpoint gets a line in its access log [default: false].
    #[arg(long, global = true, env = "SAGEBRUSH_ACCESS_LOGS")]
    pub access_logs: Option<bool>,
    /// Whether the audit log also has calls that move data: invocations, messages, log lines
    /// [default: false].
    #[arg(long, global = true, env = "SAGEBRUSH_AUDIT_DATA_EVENTS")]
    pub audit_data_events: Option<bool>,
    /// What to log: error, warn, info, debug, or a `tracing` filter [default: info].
    #[arg(long, global = true, env = "SAGEBRUSH_LOG")]
    pub log: Option<String>,
    /// How to log: `text` or `json` [default: text].
    #[arg(long, global = true, env = "SAGEBRUSH_LOG_FORMAT")]
    pub log_format: Option<String>,
}

/// The settings, whole and checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    pub access_key: String,
    pub secret_key: String,
    pub account_id: String,
    pub region: String,
    pub onnxruntime: PathBuf,
    pub python: String,
    pub isolation: Mode,
    pub container_socket: Option<PathBuf>,
    pub pull_images: bool,
    pub process_images: bool,
    pub images: Vec<ImageEntry>,
    /// NVIDIA's program that tells what GPUs do, where it is on the PATH.
    pub nvidia_smi: Option<PathBuf>,
    /// The variables of our environment that set up pip and uv.
    pub installer_environment: BTreeMap<String, String>,
    pub max_payload_bytes: u64,
    /// What an instance holds at most.
    pub limits: Limits,
    pub max_body_memory: u64,
    pub idle_after: IdleAfter,
    /// `None`: no mail is sent.
    pub smtp: Option<SmtpSettings>,
    /// Where traces and metrics are told.
    pub otlp: OtlpConfig,
    pub access_logs: bool,
    pub audit_data_events: bool,
    /// Proxies whose word on their clients is believed.
    pub trusted_proxies: Vec<Network>,
    pub log: String,
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A setting that cannot be used, in one line that says which and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the config file {path}: {reason}")]
    File { path: String, reason: String },
    #[error("{name} is `{value}`: {reason}")]
    Value { name: &'static str, value: String, reason: &'static str },
    #[error("the [[image]] entry of {pattern} cannot be used: {reason}")]
    Image { pattern: String, reason: String },
    #[error(
        "listen is {0}, which others can reach: set access-key and secret-key of your own first"
    )]
    NoKeys(SocketAddr),
}

impl Options {
    /// The settings: these options, the file's where these say nothing, and defaults.
    ///
    /// # Errors
    /// For a file that cannot be read or a value that cannot be used.
    pub fn resolve(self, file: Option<&Path>) -> Result<Config, ConfigError> {
        let options = self.or(read_file(file)?);
        let listen = parse_listen(options.listen.as_deref())?;
        let keys_are_own = options.access_key.is_some() && options.secret_key.is_some();
        if !listen.ip().is_loopback() && !keys_are_own {
            return Err(ConfigError::NoKeys(listen));
        }
        let smtp = smtp::settings(&options)?;
        let otlp = otlp::resolve(&options, variable)?;
        let key = |given: Option<String>| given.unwrap_or_else(|| DEFAULT_KEY.to_owned());
        let config = Config {
            listen,
            data_dir: absolute(options.data_dir.unwrap_or_else(|| ".sagebrush".into()))?,
            access_key: key(options.access_key),
            secret_key: key(options.secret_key),
            account_id: options.account_id.unwrap_or_else(|| ACCOUNT.to_owned()),
            region: options.region.unwrap_or_else(|| REGION.to_owned()),
            onnxruntime: options.onnxruntime.unwrap_or_else(crate::setup::library_path),
            python: options.python.unwrap_or_else(|| "python3".to_owned()),
            isolation: parse_isolation(options.isolation.as_deref())?,
            container_socket: options.container_socket,
            pull_images: options.pull_images.unwrap_or(false),
            process_images: options.process_images.unwrap_or(true),
            images: options.image,
            nvidia_smi: on_path("nvidia-smi"),
            installer_environment: installer_environment(),
            max_payload_bytes: options.max_payload_bytes.unwrap_or(MAX_PAYLOAD),
            limits: Limits {
                waiting: options.max_waiting_calls.unwrap_or(LIMITS.waiting),
                bytes: options.max_instance_bytes.unwrap_or(LIMITS.bytes),
            },
            max_body_memory: options.max_body_memory.unwrap_or_else(|| limits::memory() / 4),
            idle_after: idle_after(options.serverless_idle_seconds, options.managed_idle_seconds),
            smtp,
            otlp,
            access_logs: options.access_logs.unwrap_or(false),
            audit_data_events: options.audit_data_events.unwrap_or(false),
            trusted_proxies: parse_networks(options.trusted_proxies.as_deref())?,
            log: options.log.unwrap_or_else(|| "info".to_owned()),
            log_format: parse_format(options.log_format.as_deref())?,
        };
        config.check()?;
        Ok(config)
    }

    fn or(self, file: Self) -> Self {
        Self {
            listen: self.listen.or(file.listen),
            data_dir: self.data_dir.or(file.data_dir),
            access_key: self.access_key.or(file.access_key),
            secret_key: self.secret_key.or(file.secret_key),
            account_id: self.account_id.or(file.account_id),
            region: self.region.or(file.region),
            onnxruntime: self.onnxruntime.or(file.onnxruntime),
            python: self.python.or(file.python),
            isolation: self.isolation.or(file.isolation),
            container_socket: self.container_socket.or(file.container_socket),
            pull_images: self.pull_images.or(file.pull_images),
            process_images: self.process_images.or(file.process_images),
            image: file.image,
            max_payload_bytes: self.max_payload_bytes.or(file.max_payload_bytes),
            max_waiting_calls: self.max_waiting_calls.or(file.max_waiting_calls),
            max_instance_bytes: self.max_instance_bytes.or(file.max_instance_bytes),
            max_body_memory: self.max_body_memory.or(file.max_body_memory),
            serverless_idle_seconds: self.serverless_idle_seconds.or(file.serverless_idle_seconds),
            managed_idle_seconds: self.managed_idle_seconds.or(file.managed_idle_seconds),
            smtp_host: self.smtp_host.or(file.smtp_host),
            smtp_port: self.smtp_port.or(file.smtp_port),
            smtp_user: self.smtp_user.or(file.smtp_user),
            smtp_password: self.smtp_password.or(file.smtp_password),
            smtp_from: self.smtp_from.or(file.smtp_from),
            smtp_tls: self.smtp_tls.or(file.smtp_tls),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
            otlp_headers: self.otlp_headers.or(file.otlp_headers),
            otlp_metrics: self.otlp_metrics.or(file.otlp_metrics),
            trace_ratio: self.trace_ratio.or(file.trace_ratio),
            service_name: self.service_name.or(file.service_name),
            trusted_proxies: self.trusted_proxies.or(file.trusted_proxies),
            access_logs: self.access_logs.or(file.access_logs),
            audit_data_events: self.audit_data_events.or(file.audit_data_events),
            log: self.log.or(file.log),
            log_format: self.log_format.or(file.log_format),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let is_account =
            self.account_id.len() == 12 && self.account_id.bytes().all(|b| b.is_ascii_digit());
        let is_region = !self.region.is_empty()
            && self.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let checks = [
            ("account-id", &self.account_id, is_account, "an account id has 12 digits"),
            ("region", &self.region, is_region, "a region is like us-east-1"),
            ("access-key", &self.access_key, !self.access_key.is_empty(), "it must not be empty"),
            ("python", &self.python, !self.python.is_empty(), "it must not be empty"),
        ];
        for (name, value, holds, reason) in checks {
            if !holds {
                return Err(ConfigError::Value { name, value: value.clone(), reason });
            }
        }
        if self.secret_key.is_empty() {
            let reason = "it must not be empty";
            return Err(ConfigError::Value { name: "secret-key", value: String::new(), reason });
        }
        Ok(())
    }

    /// The bucket that SageMaker's SDKs use when none is named; there from the first start on.
    #[must_use]
    pub fn default_bucket(&self) -> String {
        format!("sagemaker-{}-{}", self.region, self.account_id)
    }

    /// The role that SDKs are told to run in.
    #[must_use]
    pub fn role_arn(&self) -> String {
        format!("arn:aws:iam::{}:role/SageMakerRole", self.account_id)
    }

    /// The URL that clients set as `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

fn idle_after(serverless: Option<u64>, managed: Option<u64>) -> IdleAfter {
    let default = IdleAfter::default();
    IdleAfter {
        serverless: serverless.map_or(default.serverless, Duration::from_secs),
        managed: managed.map_or(default.managed, Duration::from_secs),
    }
}

/// Other processes, with other working directories, get paths below it.
fn absolute(data_dir: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&data_dir).map_err(|_| ConfigError::Value {
        name: "data-dir",
        value: data_dir.display().to_string(),
        reason: "it is no folder that can be used from here",
    })
}

fn parse_listen(given: Option<&str>) -> Result<SocketAddr, ConfigError> {
    let Some(given) = given else { return Ok(LISTEN) };
    let with_host = given.replace("localhost:", "127.0.0.1:");
    with_host.parse().map_err(|_| ConfigError::Value {
        name: "listen",
        value: given.to_owned(),
        reason: "an address is like 127.0.0.1:4577",
    })
}

fn parse_networks(given: Option<&str>) -> Result<Vec<Network>, ConfigError> {
    let given = given.unwrap_or_default();
    let networks = given.split(',').map(str::trim).filter(|network| !network.is_empty());
    networks.map(str::parse).collect::<Result<_, _>>().map_err(|_| ConfigError::Value {
        name: "trusted-proxies",
        value: given.to_owned(),
        reason: "they are addresses or networks, like 10.0.0.0/8,::1",
    })
}

fn parse_format(given: Option<&str>) -> Result<LogFormat, ConfigError> {
    match given {
        None | Some("text") => Ok(LogFormat::Text),
        Some("json") => Ok(LogFormat::Json),
        Some(other) => Err(ConfigError::Value {
            name: "log-format",
            value: other.to_owned(),
            reason: "it is text or json",
        }),
    }
}

/// A variable of our environment; one that is no text is none.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// The program of that name in the first folder of the PATH that has it.
fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A variable that is no text sets up nothing.
fn installer_environment() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let variables = std::env::vars_os().filter_map(text);
    variables.filter(|(name, _)| Environments::is_setting(name)).collect()
}

fn parse_isolation(given: Option<&str>) -> Result<Mode, ConfigError> {
    match given {
        None | Some("auto") => Ok(Mode::Auto),
        Some("namespaces") => Ok(Mode::Namespaces),
        Some("group") => Ok(Mode::Group),
        Some(other) => Err(ConfigError::Value {
            name: "isolation",
            value: other.to_owned(),
            reason: "it is auto, namespaces or group",
        }),
    }
}

fn read_file(named: Option<&Path>) -> Result<Options, ConfigError> {
    let path = named.unwrap_or_else(|| Path::new(FILE));
    let error = |reason: String| {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" "); // One line.
        ConfigError::File { path: path.display().to_string(), reason }
    };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|reason| error(reason.to_string())),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            Ok(Options::default())
        }
        Err(reason) => Err(error(reason.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, ConfigError, Options};

    fn resolve(toml: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        Options::default().resolve(Some(file.path()))
    }

    fn check_error(toml: &str, wanted: &str) {
        let error = resolve(toml).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn defaults_hold_on_loopback() {
        let config = resolve("").unwrap();
        assert_eq!(config.endpoint_url(), "http://127.0.0.1:4577");
        assert_eq!(
            (config.access_key.as_str(), config.account_id.as_str()),
            ("sagebrush", "123456789012")
        );
    }

    #[test]
    fn the_data_folder_is_the_same_from_everywhere() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(resolve("").unwrap().data_dir, here.join(".sagebrush"));
        assert_eq!(resolve("data-dir = \"data\"").unwrap().data_dir, here.join("data"));
        assert_eq!(resolve("data-dir = \"/data\"").unwrap().data_dir.to_str(), Some("/data"));
        check_error("data-dir = \"\"", "data-dir is ``");
    }

    #[test]
    fn another_address_wants_keys() {
        check_error("listen = \"0.0.0.0:80\"", "set access-key and secret-key");
        check_error("listen = \"0.0.0.0:80\"\naccess-key = \"a\"", "set access-key and secret-key");
        resolve("listen = \"0.0.0.0:80\"\naccess-key = \"a\"\nsecret-key = \"b\"").unwrap();
    }

    #[test]
    fn bad_values_are_one_line() {
        check_error("listen = \"here\"", "listen is `here`");
        check_error("account-id = \"12\"", "12 digits");
        check_error("region = \"a/b\"", "like us-east-1");
        check_error("secret-key = \"\"", "must not be empty");
        check_error("python = \"\"", "python is ``: it must not be empty");
        check_error("log-format = \"xml\"", "text or json");
        check_error(
            "trusted-proxies = \"::1, proxy\"",
            "trusted-proxies is `::1, proxy`: they are",
        );
        check_error("lissten = \"x\"", "unknown field `lissten`");
        check_error("listen = ", "cannot read the config file");
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "region = \"eu-west-1\"\nlog = \"debug\"").unwrap();
        let flags = Options { region: Some("us-west-2".to_owned()), ..Options::default() };
        let config = flags.resolve(Some(file.path())).unwrap();
        assert_eq!((config.region.as_str(), config.log.as_str()), ("us-west-2", "debug"));
    }
}
