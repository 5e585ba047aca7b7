//! The machine's settings of pip, and how uv is told of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long pip may take to list its settings.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings that say where to install, or for which Python: we say that.
const PLACES: &[&str] =
    &["prefix", "python", "require-virtualenv", "root", "src", "target", "user"];

/// True for the variables that set up installers. Not for their caches: what one model's packages
/// leave there while they are built would reach others.
pub(super) fn is_setting(name: &str) -> bool {
    let is_tool = name.starts_with("PIP_") || name.starts_with("UV_");
    let is_cache = name.ends_with("_CACHE_DIR");
    let upper = name.to_ascii_uppercase();
    let is_network = upper.ends_with("_PROXY")
        || name.starts_with("SSL_CERT_")
        || matches!(name, "REQUESTS_CA_BUNDLE" | "CURL_CA_BUNDLE");
    let is_place = PLACES.iter().any(|place| name == variable(place));
    (is_tool && !is_cache && !is_place) || is_network
}

/// Pip's settings by their name (`index-url`): those in its files, and over them those in
/// `environment`.
pub(super) async fn read(
    python: &Path,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = list(Command::new(python).args(["-m", "pip"]), environment).await;
    let listed = match own {
        Some(listed) => Some(listed),
        // An interpreter may come without pip.
        None => list(&mut Command::new("pip"), environment).await,
    };
    parse(&listed.unwrap_or_default())
}

async fn list(command: &mut Command, environment: &BTreeMap<String, String>) -> Option<String> {
    command
        .args(["config", "list"])
        .envs(environment)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines are like `global.index-url='https://..'`; `install` is over `global`, and `:env:` over
/// both.
fn parse(listed: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for wanted in ["global", "install", ":env:"] {
        for line in listed.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let Some((section, name)) = key.rsplit_once('.') else { continue };
            if section == wanted {
                let value = value.trim_matches(['\'', '"']).replace("\\n", " ");
                found.insert(name.to_owned(), value.trim().to_owned());
            }
        }
    }
    found
}

/// The variables that give uv pip's settings, unless `environment` gives it its own.
pub(super) fn for_uv(
    pip: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut given = environment.clone();
    let mut add = |names: &[&str], value: Option<String>| {
        let is_set = names.iter().any(|name| given.contains_key(*name));
        if let (false, Some(name), Some(value)) = (is_set, names.first(), value) {
            given.insert((*name).to_owned(), value);
        }
    };
    let of = |name: &str| pip.get(name).filter(|value| !value.is_empty()).cloned();
    let words = |name: &str, between: &str| {
        of(name).map(|value| value.split_whitespace().collect::<Vec<_>>().join(between))
    };
    add(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"], of("index-url"));
    add(&["UV_INDEX", "UV_EXTRA_INDEX_URL"], words("extra-index-url", " "));
    // Pip takes the best version of all indexes.
    let has_more = pip.contains_key("extra-index-url");
    add(&["UV_INDEX_STRATEGY"], has_more.then(|| "unsafe-best-match".to_owned()));
    add(&["UV_FIND_LINKS"], words("find-links", ","));
    add(&["UV_INSECURE_HOST"], words("trusted-host", " "));
    add(&["UV_CONSTRAINT"], words("constraint", " "));
    add(&["UV_HTTP_TIMEOUT"], of("timeout").or_else(|| of("default-timeout")));
    add(&["SSL_CERT_FILE"], of("cert"));
    add(&["ALL_PROXY", "HTTPS_PROXY", "https_proxy"], of("proxy"));
    given
}

/// The variables that give pip itself all settings, also those of files that it does not see where
/// it runs.
pub(super) fn for_pip(
    pip: &BTreeMap<String, String>,
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let others = pip.iter().filter(|(setting, _)| !PLACES.contains(&setting.as_str()));
    let mut given: BTreeMap<String, String> =
        others.map(|(setting, value)| (variable(setting), value.clone())).collect();
    given.extend(environment.clone());
    given
}

/// The variable that gives pip a setting.
fn variable(setting: &str) -> String {
    format!("PIP_{}", setting.to_ascii_uppercase().replace('-', "_"))
}

/// True if only what links name may be installed.
pub(super) fn has_no_index(pip: &BTreeMap<String, String>) -> bool {
    let is_on =
        |value: &String| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on");
    pip.get("no-index").is_some_and(is_on)
}

/// Files and folders that settings name: certificates, folders of wheels.
pub(super) fn paths(settings: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let words = settings.values().flat_map(|value| value.split([' ', ',', ':']));
    let paths = words.map(|word| PathBuf::from(word.trim_start_matches("file://")));
    let is_there = |path: &PathBuf| path.is_absolute() && path.try_exists().unwrap_or(false);
    paths.filter(is_there).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{for_pip, for_uv, has_no_index, is_setting, parse};

    const LISTED: &str = "global.index-url='https://mirror/simple'\nglobal.timeout='60'\n\
        install.timeout='90'\n:env:.find-links='/a\\n/b'\n:env:.no-index='1'\n\
        global.cert=\"/it's/ca.pem\"\nfreeze.timeout='1'\n";

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_nearest_setting_counts() {
        let wanted = [
            ("cert", "/it's/ca.pem"),
            ("find-links", "/a /b"),
            ("index-url", "https://mirror/simple"),
            ("no-index", "1"),
            ("timeout", "90"),
        ];
        assert_eq!(parse(LISTED), strings(&wanted));
        assert!(has_no_index(&parse(LISTED)));
    }

    #[test]
    fn uv_gets_them_in_its_own_words() {
        let own = strings(&[("UV_INDEX_URL", "https://own/")]);
        let wanted = [
            ("SSL_CERT_FILE", "/it's/ca.pem"),
            ("UV_FIND_LINKS", "/a,/b"),
            ("UV_HTTP_TIMEOUT", "90"),
            ("UV_INDEX_URL", "https://own/"),
        ];
        assert_eq!(for_uv(&parse(LISTED), &own), strings(&wanted));
        let mapped = for_uv(&parse(LISTED), &BTreeMap::new());
        assert_eq!(mapped["UV_DEFAULT_INDEX"], "https://mirror/simple");
        let pip = for_pip(&parse(LISTED), &own);
        assert_eq!(pip["PIP_INDEX_URL"], "https://mirror/simple");
        assert_eq!(pip["PIP_FIND_LINKS"], "/a /b");
        assert_eq!(for_pip(&parse("install.user='1'"), &BTreeMap::new()), BTreeMap::new());
    }

    #[test]
    fn only_settings_reach_installers() {
        for name in ["PIP_INDEX_URL", "UV_INDEX", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE"] {
            assert!(is_setting(name), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "HOME", "PIP_CACHE_DIR", "PIP_USER", "PATH"] {
            assert!(!is_setting(name), "{name}");
        }
    }
}
