//! `cargo xtask demo`: from a fresh clone to an answered picture.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt::Interrupt;
use crate::process::{self, now, seconds, step};
use crate::server::Server;
use crate::venv;
use crate::workspace::{cargo, is_ci, root, target};

const ENDPOINT: &str = "digits";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The port to serve on [default: a free one].
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Ask once and stop, instead of serving until Ctrl-C.
    #[arg(long)]
    once: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let started = now();
    let binary = step("build the release binary", || build(&interrupt))?;
    let library = step("fetch ONNX Runtime", || setup(&binary))?;
    let python = venv::ready("venv-demo", "examples/vision/demo-requirements.txt")?;
    let data_dir = root()?.join(".sagebrush/demo");
    let mut server =
        step("start the server", || Server::start(&binary, &data_dir, &library, None, args.port))?;
    step("deploy examples/vision", || deploy(&interrupt, &binary, &server))?;
    step("ask about a page", || ask(&interrupt, &python, &server))?;
    println!("\nReady after {}.", seconds(started.elapsed()));
    try_next(&server);
    if args.once {
        return Ok(());
    }
    println!(
        "\nThe server runs on {} until Ctrl-C; its log is {}.",
        server.url,
        server.log().display()
    );
    interrupt.wait(|| server.has_ended());
    if server.has_ended() && !interrupt.is_raised() {
        bail!("the server ended by itself; see {}", server.log().display());
    }
    Ok(())
}

/// Builds the server, with a bar that counts the crates that are done.
fn build(interrupt: &Interrupt) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--release", "--package", "sagebrush", "--locked"])
        .args(["--message-format=json-render-diagnostics"])
        .current_dir(root()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let bar = progress_bar(count_crates()?);
    let mut complaints = String::new();
    std::thread::scope(|scope| {
        // Read apart: a full pipe would stop cargo.
        let stderr = stderr.map(BufReader::new);
        scope.spawn(|| stderr.map(|mut stderr| stderr.read_to_string(&mut complaints)));
        let lines = stdout.map(BufReader::new).into_iter().flat_map(BufReader::lines);
        count_artifacts(lines.map_while(Result::ok), &bar);
    });
    bar.finish_and_clear();
    let status = child.wait()?;
    if interrupt.is_raised() {
        bail!("interrupted");
    }
    if !status.success() {
        bail!("cargo build ended with {status}:\n{complaints}");
    }
    Ok(target()?.join("release/sagebrush"))
}

fn count_artifacts(lines: impl Iterator<Item = String>, bar: &ProgressBar) {
    let mut built = BTreeSet::new();
    for line in lines {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if let Some(name) = message["target"]["name"].as_str() {
            bar.set_message(name.to_owned());
        }
        built.insert(message["package_id"].as_str().unwrap_or_default().to_owned());
        bar.set_position(built.len() as u64);
    }
}

/// How many crates the server is built from.
fn count_crates() -> Result<u64> {
    let mut tree = cargo();
    tree.args(["tree", "--package", "sagebrush", "--edges", "normal,build", "--prefix", "none"]);
    tree.args(["--format", "{p}", "--locked"]).current_dir(root()?);
    let printed = process::output(&mut tree)?;
    let crates: BTreeSet<&str> = printed
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|l| !l.is_empty())
        .collect();
    Ok(crates.len() as u64)
}

fn progress_bar(length: u64) -> ProgressBar {
    if is_ci() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} crates, {elapsed} {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn setup(binary: &Path) -> Result<PathBuf> {
    let printed = process::output(Command::new(binary).arg("setup"))?;
    let path = printed.lines().last().context("`sagebrush setup` printed no path")?;
    Ok(PathBuf::from(path.trim()))
}

fn deploy(interrupt: &Interrupt, binary: &Path, server: &Server) -> Result<()> {
    let mut deploy = Command::new(binary);
    deploy.args(["deploy", "examples/vision", "--name", ENDPOINT]);
    interrupt.run(deploy.env("SAGEBRUSH_LISTEN", server.address()).current_dir(root()?))
}

fn ask(interrupt: &Interrupt, python: &Path, server: &Server) -> Result<()> {
    let mut demo = Command::new(python);
    demo.arg("examples/vision/demo.py")
        .args(["--endpoint", ENDPOINT, "--out"])
        .arg(target()?.join("demo/annotated.png"))
        .envs(aws_variables(server))
        .current_dir(root()?);
    interrupt.run(&mut demo)
}

/// What an unmodified AWS client needs; `sagebrush env` prints the same.
fn aws_variables(server: &Server) -> [(&'static str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", &server.url),
        ("AWS_ACCESS_KEY_ID", "sagebrush"),
        ("AWS_SECRET_ACCESS_KEY", "sagebrush"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ]
}

fn try_next(server: &Server) {
    let (url, address) = (&server.url, server.address());
    println!(
        "Try next:\n\
         1. curl --user sagebrush:sagebrush --aws-sigv4 aws:amz:us-east-1:sagemaker -H 'content-type: image/png' \
         --data-binary @target/demo/page.png {url}/endpoints/{ENDPOINT}/invocations\n\
         2. eval \"$(SAGEBRUSH_LISTEN={address} target/release/sagebrush env)\"  # then boto3 and the aws CLI just work\n\
         3. python3 -c \"import boto3; print(boto3.client('sagemaker').list_endpoints()['Endpoints'])\"  # needs boto3: target/venv-demo/bin/python\n\
         4. SAGEBRUSH_LISTEN={address} target/release/sagebrush endpoints\n\
         5. SAGEBRUSH_LISTEN={address} target/release/sagebrush deploy your-model.onnx --name mine"
    );
}
