//! The container that SageMaker would start, in the engine's words. Pure.

use std::path::Path;

use sagebrush_core::worker::LaunchSpec;
use serde_json::{Value, json};

/// Marks what is ours; its value says whose.
pub(super) const OWNER: &str = "dev.sagebrush.owner";
/// The run of the server that started it.
pub(super) const RUN: &str = "dev.sagebrush.run";
const INSTANCE: &str = "dev.sagebrush.instance";

/// Where every container of SageMaker listens.
pub(super) const PORT: &str = "8080/tcp";

/// The body of `POST /containers/create`.
pub(super) fn body(spec: &LaunchSpec, owner: &str, run: &str) -> Value {
    let environment = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let mut mounts = Vec::new();
    mounts.extend(spec.model.as_ref().map(|model| mount(&model.dir(), "/opt/ml/model")));
    mounts.extend(spec.code.as_ref().map(|code| mount(&code.dir(), "/opt/ml/code")));
    let code = spec.code.iter().map(|_| "SAGEMAKER_SUBMIT_DIRECTORY=/opt/ml/code".to_owned());
    json!({
        "Image": spec.image,
        "Cmd": ["serve"],
        "Env": environment.chain(code).collect::<Vec<_>>(),
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

/// A mount, unlike a bind, takes any path and does not make one that is missing.
fn mount(from: &Path, to: &str) -> Value {
    json!({"Type": "bind", "Source": from.to_string_lossy(), "Target": to, "ReadOnly": true})
}
