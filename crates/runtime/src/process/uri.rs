//! Images that say themselves what to run.
//!
//! ```text
//! process:///opt/app/serve?ping=/health&invocations=/predict&arg=--threads&arg=4
//! ```
//!
//! After `process://` stands the absolute path of a program. After `?` stand `name=value` pairs
//! between `&`: `arg` (repeatable, in order), `ping`, `invocations`, `directory`, `concurrency`,
//! `multi-model` and `isolated` (`true` or `false`) and `readable` (repeatable). Path and values
//! are percent-decoded; `+` is a plus. Without any `arg` the program gets the argument `serve`, as
//! `docker run <image> serve` gives it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::recipe::ProcessRecipe;

pub(crate) const SCHEME: &str = "process://";

/// Why an image of the form `process://` names no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UriError {
    #[error("it does not start with process://")]
    NotAProcess,
    #[error("after process:// stands no absolute path, as in process:///opt/app/serve")]
    NoPath,
    #[error("{0:?} is not percent-encoded UTF-8 without a NUL")]
    Encoding(String),
    #[error("{0:?} is no parameter of it")]
    Unknown(String),
    #[error("{name} cannot be {value:?}")]
    Value { name: &'static str, value: String },
}

/// What `image` says, on top of `recipe`.
pub(crate) fn parse(image: &str, recipe: &ProcessRecipe) -> Result<ProcessRecipe, UriError> {
    let rest = image.strip_prefix(SCHEME).ok_or(UriError::NotAProcess)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = decode(path)?;
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(UriError::NoPath);
    }
    let mut found = recipe.clone();
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match name {
            "arg" => arguments.push(value),
            "ping" => found.ping = route("ping", value)?,
            "invocations" => found.invocations = route("invocations", value)?,
            "directory" => found.directory = Some(folder("directory", value)?),
            "concurrency" => found.concurrency = Some(count(value)?),
            "multi-model" => found.multi_model = flag("multi-model", value)?,
            "isolated" => found.isolated = flag("isolated", value)?,
            "readable" => found.readable.push(folder("readable", value)?),
            _ => return Err(UriError::Unknown(name.to_owned())),
        }
    }
    if arguments.is_empty() {
        arguments.push("serve".to_owned());
    }
    arguments.insert(0, path);
    found.command = Some(arguments);
    Ok(found)
}

fn decode(text: &str) -> Result<String, UriError> {
    let decoded = percent_decode_str(text).decode_utf8().ok();
    let decoded = decoded.filter(|decoded| !decoded.contains('\0'));
    decoded.map_or_else(|| Err(UriError::Encoding(text.to_owned())), |text| Ok(text.into_owned()))
}

fn route(name: &'static str, value: String) -> Result<String, UriError> {
    if value.starts_with('/') { Ok(value) } else { Err(UriError::Value { name, value }) }
}

fn folder(name: &'static str, value: String) -> Result<PathBuf, UriError> {
    route(name, value).map(PathBuf::from)
}

fn flag(name: &'static str, value: String) -> Result<bool, UriError> {
    value.parse().map_err(|_other| UriError::Value { name, value })
}

fn count(value: String) -> Result<usize, UriError> {
    let count = value.parse().ok().filter(|count| *count > 0);
    count.ok_or(UriError::Value { name: "concurrency", value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(image: &str) -> Result<ProcessRecipe, UriError> {
        parse(image, &ProcessRecipe::default())
    }

    fn check(image: &str, command: &[&str]) {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        assert_eq!(parsed(image).unwrap().command, Some(command), "{image}");
    }

    fn refused(image: &str, why: &str) {
        assert_eq!(parsed(image).unwrap_err().to_string(), why, "{image}");
    }

    #[test]
    fn a_program_with_its_arguments() {
        check("process:///opt/app/serve", &["/opt/app/serve", "serve"]);
        check("process:///opt/app/serve?", &["/opt/app/serve", "serve"]);
        check("process:///a%20b/run?arg=-x&arg=1+1%26", &["/a b/run", "-x", "1+1&"]);
        check("process:///run?arg=", &["/run", ""]);
        check("process:///run?arg={port}&ping=/p", &["/run", "{port}"]);
    }

    #[test]
    fn what_else_it_may_say() {
        let recipe = parsed(
            "process:///run?ping=/health&invocations=/v1/predict%3Fa=b&directory=/srv&\
             concurrency=4&multi-model=true&isolated=true&readable=/data&readable=/more",
        );
        let recipe = recipe.unwrap();
        assert_eq!(
            (recipe.ping.as_str(), recipe.invocations.as_str()),
            ("/health", "/v1/predict?a=b")
        );
        assert_eq!(recipe.directory, Some(PathBuf::from("/srv")));
        assert_eq!(
            (recipe.concurrency, recipe.multi_model, recipe.isolated),
            (Some(4), true, true)
        );
        assert_eq!(recipe.readable, [PathBuf::from("/data"), PathBuf::from("/more")]);
    }

    #[test]
    fn what_names_no_program() {
        let no_path = "after process:// stands no absolute path, as in process:///opt/app/serve";
        refused("python:3", "it does not start with process://");
        refused("process://", no_path);
        refused("process://host/run", no_path);
        refused("process:///opt/", no_path);
        refused("process:///run?port=8080", "\"port\" is no parameter of it");
        refused("process:///run?ping=health", "ping cannot be \"health\"");
        refused("process:///run?concurrency=0", "concurrency cannot be \"0\"");
        refused("process:///run?isolated=yes", "isolated cannot be \"yes\"");
        refused("process:///%ff", "\"/%ff\" is not percent-encoded UTF-8 without a NUL");
        refused("process:///a%00", "\"/a%00\" is not percent-encoded UTF-8 without a NUL");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(rest in "\\PC*", raw in "process:///[a-z%0-9?&=/{}+]*") {
            for image in [format!("{SCHEME}{rest}"), raw] {
                if let Ok(recipe) = parsed(&image) {
                    let command = recipe.command.unwrap();
                    prop_assert!(command.len() >= 2 && command[0].starts_with('/'));
                }
            }
        }

        #[test]
        fn what_was_encoded_comes_back(path in "/[^/\0]{1,20}", value in "[^\0]{0,20}") {
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                    .to_string()
            };
            let image = format!("{SCHEME}{}?arg={}", encode(&path), encode(&value));
            prop_assert_eq!(parsed(&image).unwrap().command, Some(vec![path, value]));
        }
    }
}
