//! What a container takes, as the kernel accounts for it: of version 2 of cgroups, and of version 1.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagebrush_core::worker::Usage;

/// The files that account for one container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    cpu: Cpu,
    /// The bytes that it has, pages of files included.
    memory: PathBuf,
    /// Says how many of these are pages of files that are not in use: the kernel takes them back
    /// whenever it likes.
    stat: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Cpu {
    /// A line `usage_usec 1234` of it.
    Micros(PathBuf),
    Nanos(PathBuf),
}

impl Cgroup {
    /// The cgroup of the container `id`, whose first process is `pid`, below `root`. `None` where
    /// that is no process of this machine: another one of the same number may be, so the cgroup
    /// has to name the container. Blocks.
    pub(super) fn find(root: &Path, pid: u32, id: &str) -> Option<Self> {
        let membership = fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).ok()?;
        let found = Self::of(&root.join("sys/fs/cgroup"), &membership, id)?;
        found.usage().map(|_| found)
    }

    /// By the lines of `/proc/<pid>/cgroup`: `0::/path`, or `5:cpu,cpuacct:/path` of version 1.
    fn of(tree: &Path, membership: &str, id: &str) -> Option<Self> {
        let path = |controller: &str| {
            membership.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                let is_it = controllers.split(',').any(|name| name == controller);
                (is_it && path.contains(id)).then(|| path.trim_start_matches('/'))
            })
        };
        if let (Some(cpu), Some(memory)) = (path("cpuacct"), path("memory")) {
            let memory = tree.join("memory").join(memory);
            return Some(Self {
                cpu: Cpu::Nanos(tree.join("cpuacct").join(cpu).join("cpuacct.usage")),
                memory: memory.join("memory.usage_in_bytes"),
                stat: memory.join("memory.stat"),
            });
        }
        let group = tree.join(path("")?);
        Some(Self {
            cpu: Cpu::Micros(group.join("cpu.stat")),
            memory: group.join("memory.current"),
            stat: group.join("memory.stat"),
        })
    }

    /// `None` once the container has ended.
    pub(super) fn usage(&self) -> Option<Usage> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let cpu = match &self.cpu {
            Cpu::Micros(stat) => Duration::from_micros(field(stat, &["usage_usec"])?),
            Cpu::Nanos(usage) => Duration::from_nanos(number(usage)?),
        };
        let unused = field(&self.stat, &["total_inactive_file", "inactive_file"]).unwrap_or(0);
        Some(Usage { cpu, memory_bytes: number(&self.memory)?.saturating_sub(unused) })
    }
}

/// The number that stands after the first of these names that the file has.
fn field(path: &Path, names: &[&str]) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = |wanted: &&str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(' '));
        fields.find_map(|(name, value)| (name == *wanted).then(|| value.trim().parse().ok()))?
    };
    names.iter().find_map(value)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use sagebrush_core::worker::Usage;

    use super::Cgroup;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn usage(files: &[(&str, &str)]) -> Option<Usage> {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), files);
        Cgroup::find(dir.path(), 7, "abc123")?.usage()
    }

    const WANTED: Usage = Usage { cpu: Duration::from_millis(1500), memory_bytes: 3000 };

    #[test]
    fn version_2_as_docker_and_podman_name_it() {
        for group in ["system.slice/docker-abc123.scope", "user/libpod-abc123.scope/container"] {
            let file = |name: &str| format!("sys/fs/cgroup/{group}/{name}");
            let found = usage(&[
                ("proc/7/cgroup", &format!("0::/{group}\n")),
                (&file("cpu.stat"), "usage_usec 1500000\nuser_usec 9\n"),
                (&file("memory.current"), "4000\n"),
                (&file("memory.stat"), "anon 1\ninactive_file 1000\nactive_file 5\n"),
            ]);
            assert_eq!(found, Some(WANTED), "{group}");
        }
    }

    #[test]
    fn version_1() {
        let membership = "12:memory:/docker/abc123\n5:cpu,cpuacct:/docker/abc123\n0::/system\n";
        let memory = "sys/fs/cgroup/memory/docker/abc123";
        let found = usage(&[
            ("proc/7/cgroup", membership),
            ("sys/fs/cgroup/cpuacct/docker/abc123/cpuacct.usage", "1500000000\n"),
            (&format!("{memory}/memory.usage_in_bytes"), "4000\n"),
            (&format!("{memory}/memory.stat"), "inactive_file 7\ntotal_inactive_file 1000\n"),
        ]);
        assert_eq!(found, Some(WANTED));
    }

    #[test]
    fn what_is_not_the_containers_is_not_told() {
        let other = "0::/system.slice/ssh.service\n";
        let files = [
            ("sys/fs/cgroup/system.slice/ssh.service/cpu.stat", "usage_usec 5\n"),
            ("sys/fs/cgroup/system.slice/ssh.service/memory.current", "5\n"),
        ];
        assert_eq!(usage(&[&files[..], &[("proc/7/cgroup", other)]].concat()), None);
        assert_eq!(usage(&files), None, "there is no such process");
        let unseen = "0::/docker/abc123\n";
        assert_eq!(usage(&[("proc/7/cgroup", unseen)]), None, "the cgroup is out of sight");
    }
}
