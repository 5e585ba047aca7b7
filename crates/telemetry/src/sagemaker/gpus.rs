//! What NVIDIA's GPUs of this machine do, as their own program tells it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::Command;
use tokio::time::timeout;

/// How long the program may take. One that hangs must not keep back the other metrics for long.
const PATIENCE: Duration = Duration::from_secs(5);

const QUERY: [&str; 2] =
    ["--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"];

/// Tells what the GPUs of this machine do.
#[async_trait]
pub trait Gpus: Send + Sync + 'static {
    /// Each of them, in the order of their numbers; none where that cannot be told.
    async fn look(&self) -> Vec<Gpu>;
}

/// How busy a GPU is, in percent. `None`: it does not tell, as parts of a GPU do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    pub utilization: Option<f64>,
    pub memory: Option<f64>,
}

/// NVIDIA's `nvidia-smi`.
pub struct NvidiaSmi(pub PathBuf);

#[async_trait]
impl Gpus for NvidiaSmi {
    async fn look(&self) -> Vec<Gpu> {
        let asked = Command::new(&self.0)
            .args(QUERY)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .output();
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) if answer.status.success() => {
                parse(&String::from_utf8_lossy(&answer.stdout))
            }
            Ok(Ok(answer)) => {
                tracing::debug!(program = %self.0.display(), status = %answer.status, "no GPUs");
                Vec::new()
            }
            Ok(Err(error)) => {
                tracing::debug!(program = %self.0.display(), %error, "GPUs cannot be looked at");
                Vec::new()
            }
            Err(_late) => {
                tracing::debug!(program = %self.0.display(), "GPUs did not tell in time");
                Vec::new()
            }
        }
    }
}

/// One line for each GPU: `37, 5120, 24576`.
fn parse(text: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let mut numbers = line.split(',').map(|number| number.trim().parse::<f64>().ok());
        let (utilization, used, total) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let part = |(used, total): (f64, f64)| (total > 0.0).then(|| used / total * 100.0);
        Some(Gpu { utilization, memory: used.zip(total).and_then(part) })
    };
    text.lines().filter_map(gpu).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Gpu, Gpus as _, NvidiaSmi, parse};

    fn gpu(utilization: impl Into<Option<f64>>, memory: impl Into<Option<f64>>) -> Gpu {
        Gpu { utilization: utilization.into(), memory: memory.into() }
    }

    #[test]
    fn lines_are_gpus() {
        for (text, wanted) in [
            ("", vec![]),
            ("37, 6144, 24576\n", vec![gpu(37.0, 25.0)]),
            ("0, 0, 100\n100, 100, 100\n", vec![gpu(0.0, 0.0), gpu(100.0, 100.0)]),
            ("[N/A], 50, 100\n5, [N/A], 100\n", vec![gpu(None, 50.0), gpu(5.0, None)]),
            ("5, 0, 0", vec![gpu(5.0, None)]),
            ("No devices were found\n", vec![]),
        ] {
            assert_eq!(parse(text), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn the_program_is_asked_and_one_that_fails_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str, script: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            NvidiaSmi(path)
        };
        let wanted = "--query-gpu=utilization.gpu,memory.used,memory.total \
                      --format=csv,noheader,nounits";
        let tells = program("tells", &format!("[ \"$*\" = '{wanted}' ] && echo '10, 1, 4'"));
        assert_eq!(tells.look().await, [gpu(10.0, 25.0)]);
        assert_eq!(program("fails", "echo '10, 1, 4'; exit 9").look().await, []);
        assert_eq!(NvidiaSmi(dir.path().join("none")).look().await, []);
    }
}
