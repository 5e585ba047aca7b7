//! The container that SageMaker would start, in the engine's words. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use sagebrush_core::worker::LaunchSpec;
use serde_json::{Value, json};

/// Marks what is ours; its value says whose.
pub(super) const OWNER: &str = "dev.sagebrush.owner";
/// The run of the server that started it.
pub(super) const RUN: &str = "dev.sagebrush.run";
const INSTANCE: &str = "dev.sagebrush.instance";

/// Where every container of SageMaker listens. Each has a network of its own, so none has to be
/// told another port, whatever its label `accept-bind-to-port` says.
pub(super) const PORT: &str = "8080/tcp";

/// Where a container of many models finds them.
pub(super) const MODELS: &str = "/opt/ml/models";

/// The body of `POST /containers/create`.
pub(super) fn body(spec: &LaunchSpec, owner: &str, run: &str, models: Option<&Path>) -> Value {
    let mut mounts = Vec::new();
    mounts.extend(spec.model.as_ref().map(|model| mount(&model.dir(), "/opt/ml/model")));
    mounts.extend(spec.code.as_ref().map(|code| mount(&code.dir(), "/opt/ml/code")));
    mounts.extend(models.map(|models| mount(models, MODELS)));
    json!({
        "Image": spec.image,
        "Cmd": ["serve"],
        "Env": environment(spec, models.is_some()),
        "Hostname": spec.hostname,
        "ExposedPorts": {PORT: {}},
        "Labels": {OWNER: owner, RUN: run, INSTANCE: spec.name},
        "HostConfig": {
            "PortBindings": {PORT: [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "Mounts": mounts,
            "Memory": spec.resources.memory_bytes,
            "NanoCpus": 1_000_000_000 * spec.resources.cpus as u64,
            "AutoRemove": false,
        },
    })
}

/// What the platform says goes on top.
fn environment(spec: &LaunchSpec, hosts_models: bool) -> Vec<String> {
    let given = spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut all: BTreeMap<&str, &str> = given.collect();
    if spec.code.is_some() {
        all.insert("SAGEMAKER_SUBMIT_DIRECTORY", "/opt/ml/code");
    }
    if hosts_models {
        all.insert("SAGEMAKER_MULTI_MODEL", "true");
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// A mount, unlike a bind, takes any path and does not make one that is missing.
fn mount(from: &Path, to: &str) -> Value {
    json!({"Type": "bind", "Source": from.to_string_lossy(), "Target": to, "ReadOnly": true})
}
