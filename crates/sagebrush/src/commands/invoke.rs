//! `sagebrush invoke`.

use std::io::{Read as _, Write as _};
use std::path::Path;

use super::output;
use crate::cli::InvokeArgs;
use crate::client::Client;
use crate::config::Config;
use crate::failure::Failure;

pub(crate) async fn run(config: &Config, args: &InvokeArgs) -> Result<(), Failure> {
    let content_type = match &args.content_type {
        Some(given) => given.clone(),
        None => guess(&args.file)?.to_owned(),
    };
    let body = read(&args.file)?;
    let client = Client::new(config);
    let answer = client.invoke(&args.name, &content_type, args.accept.as_deref(), body).await?;
    if args.timing {
        let timing = answer.headers.get("server-timing").and_then(|value| value.to_str().ok());
        writeln!(std::io::stderr(), "{}", timing.unwrap_or_default())?;
    }
    std::io::stdout().write_all(&answer.body)?;
    let ends_with_newline = answer.body.last() == Some(&b'\n');
    if ends_with_newline { Ok(()) } else { output::line("") }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    if file != Path::new("-") {
        let context = |error| Failure::Other(format!("cannot read {}: {error}", file.display()));
        return std::fs::read(file).map_err(context);
    }
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    Ok(body)
}

/// The content type that a file's extension stands for.
fn guess(file: &Path) -> Result<&'static str, Failure> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => Ok("text/csv"),
        "json" => Ok("application/json"),
        "npy" => Ok("application/x-npy"),
        "jpg" | "jpeg" => Ok("image/jpeg"),
        "png" => Ok("image/png"),
        "webp" => Ok("image/webp"),
        _ => Err(Failure::Other(format!(
            "cannot tell the content type of {}: say it with --content-type",
            file.display()
        ))),
    }
}
