//! The command line: `sagebrush serve | env | setup | deploy | invoke | ...`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Options;

/// SageMaker on your own machines: one binary that unmodified AWS clients talk to.
///
/// Exit codes: 0 it went well; 1 the server refused or something failed; 2 bad usage;
/// 64 bad configuration; 69 the server cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "sagebrush", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// The config file [default: ./sagebrush.toml if it is there].
    #[arg(long, global = true, env = "SAGEBRUSH_CONFIG")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the server until SIGTERM or Ctrl-C.
    Serve,
    /// Prints what unmodified AWS clients need: `eval "$(sagebrush env)"`.
    Env(EnvArgs),
    /// Fetches ONNX Runtime and uv through the machine's own pip.
    Setup,
    /// Puts a model behind an endpoint: a folder, a .onnx file or a model.tar.gz.
    Deploy(DeployArgs),
    /// Sends a file to an endpoint and prints the answer.
    Invoke(InvokeArgs),
    /// Lists the endpoints.
    Endpoints(JsonArg),
    /// Shows an endpoint.
    Describe(NameArgs),
    /// Deletes an endpoint, with the configuration and the model that `deploy` made for it.
    Delete(NameArgs),
    /// Prints the log of an endpoint, or any log group.
    Logs(LogsArgs),
    /// Puts the five alarms that an endpoint should have: latency, duration, errors, CPU, calls.
    Alarms(AlarmsArgs),
}

#[derive(Debug, Args)]
pub struct EnvArgs {
    /// Also writes the endpoint URL, region and keys into ~/.aws/config.
    #[arg(long)]
    pub write_config: bool,
    #[command(flatten)]
    pub json: JsonArg,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A folder with model.onnx or code/inference.py in it, a .onnx file, or a model.tar.gz.
    pub path: PathBuf,
    /// The name of the endpoint; one that exists is updated.
    #[arg(long)]
    pub name: String,
    /// How many instances answer calls.
    #[arg(long, default_value_t = 1)]
    pub instances: u32,
    /// The image that serves the model [default: by what is in it].
    #[arg(long)]
    pub image: Option<String>,
    #[command(flatten)]
    pub json: JsonArg,
}

#[derive(Debug, Args)]
pub struct InvokeArgs {
    /// The name of the endpoint.
    pub name: String,
    /// The payload; `-` reads standard input.
    pub file: PathBuf,
    /// The content type [default: by the file's extension].
    #[arg(long)]
    pub content_type: Option<String>,
    /// The content type of the answer [default: the model's own].
    #[arg(long)]
    pub accept: Option<String>,
    /// Also prints the times to standard error.
    #[arg(long)]
    pub timing: bool,
}

#[derive(Debug, Args)]
pub struct NameArgs {
    /// The name of the endpoint.
    pub name: String,
    #[command(flatten)]
    pub json: JsonArg,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The name of the endpoint, or of a log group, which begins with a slash.
    pub name: String,
    /// Goes on printing what comes.
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub json: JsonArg,
}

#[derive(Debug, Args)]
pub struct AlarmsArgs {
    /// The name of the endpoint.
    pub name: String,
    /// The ARN of the topic that is told; without one, alarms only change their states.
    #[arg(long)]
    pub topic: Option<String>,
    /// The longest time that the model may take, in milliseconds.
    #[arg(long, default_value_t = 1000.0)]
    pub max_latency_ms: f64,
    /// The longest time that a call may take, with its time in queues, in milliseconds.
    #[arg(long, default_value_t = 1250.0)]
    pub max_duration_ms: f64,
    /// The greatest share of calls that may fail with 5xx.
    #[arg(long, default_value_t = 0.01)]
    pub max_error_rate: f64,
    /// How much the instances may compute, in percent of one core.
    #[arg(long, default_value_t = 80.0)]
    pub max_cpu: f64,
    #[command(flatten)]
    pub json: JsonArg,
}

#[derive(Debug, Args)]
pub struct JsonArg {
    /// Prints JSON for scripts instead of tables for people.
    #[arg(long = "json")]
    pub on: bool,
}
