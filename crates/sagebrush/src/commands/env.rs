//! `sagebrush env`: what unmodified clients need.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::output;
use crate::cli::EnvArgs;
use crate::config::Config;
use crate::failure::Failure;

pub(crate) fn run(config: &Config, args: &EnvArgs) -> Result<(), Failure> {
    let sdk_config = write_sdk_config(config)?;
    if args.write_config {
        write_aws_config(config)?;
    }
    let variables = variables(config, &sdk_config);
    if args.json.on {
        let object: Map<String, Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return output::json(&Value::Object(object));
    }
    for (name, value) in variables {
        output::line(&format!("export {name}={}", quoted(&value)))?;
    }
    Ok(())
}

fn variables(config: &Config, sdk_config: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", config.endpoint_url()),
        ("AWS_ACCESS_KEY_ID", config.access_key.clone()),
        ("AWS_SECRET_ACCESS_KEY", config.secret_key.clone()),
        ("AWS_REGION", config.region.clone()),
        ("AWS_DEFAULT_REGION", config.region.clone()),
        // The SDKs ask the public STS host for the default bucket and the role unless told here.
        ("SAGEMAKER_USER_CONFIG_OVERRIDE", sdk_config.display().to_string()),
        ("SAGEMAKER_ADMIN_CONFIG_OVERRIDE", sdk_config.display().to_string()),
        ("SAGEMAKER_ROLE_ARN", config.role_arn()),
        // Nothing here has an instance's credentials to offer: clients need not look.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// The configuration of the SageMaker SDKs 2 and 3: default bucket, role, telemetry off.
fn write_sdk_config(config: &Config) -> Result<PathBuf, Failure> {
    let bucket = config.default_bucket();
    let role = config.role_arn();
    let text = format!(
        "SchemaVersion: '1.0'\n\
         SageMaker:\n\
         \x20 PythonSDK:\n\
         \x20   Modules:\n\
         \x20     TelemetryOptOut: true\n\
         \x20     Session:\n\
         \x20       DefaultS3Bucket: {bucket}\n\
         \x20 Model:\n\
         \x20   ExecutionRoleArn: {role}\n\
         \x20 TrainingJob:\n\
         \x20   RoleArn: {role}\n\
         \x20 ProcessingJob:\n\
         \x20   RoleArn: {role}\n\
         \x20 Pipeline:\n\
         \x20   RoleArn: {role}\n"
    );
    let path = std::path::absolute(config.data_dir.join("sagemaker-sdk.yaml"))?;
    write(&path, &text)?;
    Ok(path)
}

/// Puts endpoint, region and keys into the default profile of `~/.aws/config`.
fn write_aws_config(config: &Config) -> Result<(), Failure> {
    let path = aws_config_path()?;
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Failure::Other(format!("cannot read {}: {error}", path.display())));
        }
    };
    let settings = [
        ("endpoint_url", config.endpoint_url()),
        ("region", config.region.clone()),
        ("aws_access_key_id", config.access_key.clone()),
        ("aws_secret_access_key", config.secret_key.clone()),
    ];
    write(&path, &with_settings(&before, &settings))
}

/// `text` with `settings` in its `[default]` section; all else stays as it was.
fn with_settings(text: &str, settings: &[(&str, String)]) -> String {
    let is_ours = |line: &str| {
        let name = line.split('=').next().unwrap_or_default();
        let is_top_level = !name.starts_with(char::is_whitespace);
        is_top_level && settings.iter().any(|(ours, _)| *ours == name.trim())
    };
    let mut lines = Vec::new();
    let (mut in_default, mut written) = (false, false);
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            in_default = line.trim() == "[default]";
        }
        if in_default && is_ours(line) {
            continue;
        }
        lines.push(line.to_owned());
        if in_default && !written {
            lines.extend(settings.iter().map(|(name, value)| format!("{name} = {value}")));
            written = true;
        }
    }
    if !written {
        lines.push("[default]".to_owned());
        lines.extend(settings.iter().map(|(name, value)| format!("{name} = {value}")));
    }
    lines.join("\n") + "\n"
}

#[expect(clippy::disallowed_methods, reason = "the AWS clients' own variables, not ours")]
fn aws_config_path() -> Result<PathBuf, Failure> {
    if let Ok(path) = std::env::var("AWS_CONFIG_FILE") {
        return Ok(PathBuf::from(path));
    }
    match std::env::var("HOME") {
        Ok(home) => Ok(PathBuf::from(home).join(".aws").join("config")),
        Err(_) => Err(Failure::Other("cannot tell where ~/.aws is: HOME is not set".to_owned())),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let outcome =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    outcome.map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}

/// Quoted for a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{quoted, with_settings};

    fn check(before: &str, after: &str) {
        let settings = [("endpoint_url", "http://x".to_owned()), ("region", "r".to_owned())];
        assert_eq!(with_settings(before, &settings), after);
        assert_eq!(with_settings(after, &settings), after, "a second time changes nothing");
    }

    #[test]
    fn only_our_settings_of_the_default_profile_change() {
        check("", "[default]\nendpoint_url = http://x\nregion = r\n");
        check(
            "[profile a]\nregion = z\n[default]\noutput = json\nregion = old\n[profile b]\nregion = y\n",
            "[profile a]\nregion = z\n[default]\nendpoint_url = http://x\nregion = r\noutput = json\n\
             [profile b]\nregion = y\n",
        );
    }

    #[test]
    fn quotes_for_the_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
