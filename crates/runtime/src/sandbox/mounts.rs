//! What a program in namespaces finds in its file system, as arguments of bubblewrap.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::detect::Bubblewrap;
use super::{Confinement, Home};

/// Where SageMaker's containers have their files.
pub(super) const BASE_DIR: &str = "/opt/ml";

/// Folders in it that a program may write to; they go with its home.
const WRITABLE: &[&str] = &["input", "output"];

/// The system. Links among them (`/bin` to `usr/bin`) stay links.
const SYSTEM: &[&str] =
    &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store"];

/// What programs and libraries look up in `/etc`; the rest, with its secrets, is not there.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "machine-id",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
    "static",
    "timezone",
];

/// Numeric libraries read here how many cores there are and how they are joined.
const TOPOLOGY: &[&str] = &["/sys/devices/system/cpu", "/sys/devices/system/node"];

/// The namespaces and the file system in them. The order counts: what comes later lies on top.
pub(super) fn arguments(
    bubblewrap: &Bubblewrap,
    confinement: &Confinement,
    home: &Path,
    program: Option<&Path>,
) -> Vec<OsString> {
    let mut mounts =
        Mounts { list: Vec::new(), readable: SYSTEM.iter().map(PathBuf::from).collect() };
    mounts.add(&["--die-with-parent", "--new-session", "--unshare-user", "--unshare-pid"]);
    mounts.add(&["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"]);
    if !confinement.network {
        mounts.add(&["--unshare-net"]);
    }
    mounts.system();
    mounts.add(&["--proc", "/proc", "--dev", "/dev"]);
    for place in ["/dev/shm", "/tmp"] {
        // Files in memory count as memory that the program takes.
        if let Some(bytes) = confinement.memory_bytes.filter(|_| bubblewrap.has_sizes) {
            mounts.add(&["--size", &bytes.to_string()]);
        }
        mounts.add(&["--tmpfs", place]);
    }
    mounts.add(&["--remount-ro", "/dev", "--symlink", "/tmp", "/var/tmp", "--dir", BASE_DIR]);
    mounts.readable(confinement, program, home);
    mounts.base_dir(confinement, home);
    for place in confinement.writable.iter().map(PathBuf::as_path).chain([home]) {
        mounts.bind("--bind", place, place);
    }
    mounts.add(&["--remount-ro", "/"]);
    mounts.list
}

/// Makes what a program may write to.
pub(super) fn make_folders(home: &Home) -> io::Result<()> {
    WRITABLE.iter().try_for_each(|name| home.folder(&format!("ml/{name}")).map(drop))
}

struct Mounts {
    list: Vec<OsString>,
    /// The folders that can be read whole.
    readable: Vec<PathBuf>,
}

impl Mounts {
    fn add<S: AsRef<OsStr>>(&mut self, arguments: &[S]) {
        self.list.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
    }

    fn bind(&mut self, how: &str, from: &Path, to: &Path) {
        self.add(&[OsStr::new(how), from.as_os_str(), to.as_os_str()]);
    }

    fn system(&mut self) {
        for path in SYSTEM.iter().map(Path::new) {
            if let Ok(target) = fs::read_link(path) {
                self.bind("--symlink", &target, path);
            } else {
                self.bind("--ro-bind-try", path, path);
            }
        }
        let etc = Path::new("/etc");
        let others = Path::new("/opt");
        for path in ETC.iter().map(|name| etc.join(name)) {
            self.bind("--ro-bind-try", &path, &path);
        }
        for path in entries(others) {
            self.bind("--ro-bind-try", &path, &path);
            self.readable.push(path);
        }
        for path in TOPOLOGY.iter().map(Path::new) {
            self.bind("--ro-bind-try", path, path);
        }
    }

    /// Each at its own place and, if that is a link, where it leads; outer folders before inner
    /// ones, which they would hide.
    fn readable(&mut self, confinement: &Confinement, program: Option<&Path>, home: &Path) {
        let wanted = confinement.readable.iter().map(PathBuf::as_path).chain(program);
        let mut places = BTreeMap::new();
        for path in wanted.flat_map(chain) {
            if let Ok(target) = path.canonicalize() {
                places.insert(path, target);
            }
        }
        let ours = data_dir(home);
        let is_ours = |place: &PathBuf| place.starts_with(ours) && place != ours;
        let (inside, outside): (Vec<_>, Vec<_>) =
            places.into_iter().partition(|(place, _)| is_ours(place));
        self.bind_readable(outside);
        // A folder around ours, such as a project with its environment, does not show ours.
        if self.readable.iter().any(|folder| ours.starts_with(folder) && ours != folder) {
            self.add(&[OsStr::new("--tmpfs"), ours.as_os_str()]);
            self.readable.retain(|folder| !ours.starts_with(folder));
        }
        self.bind_readable(inside);
    }

    fn bind_readable(&mut self, places: Vec<(PathBuf, PathBuf)>) {
        for (path, target) in places {
            let is_there = self.readable.iter().any(|folder| path.starts_with(folder));
            let hides_ours = Path::new(BASE_DIR).starts_with(&path);
            if is_there || hides_ours {
                continue;
            }
            self.bind("--ro-bind-try", &target, &path);
            self.readable.push(path);
        }
    }

    fn base_dir(&mut self, confinement: &Confinement, home: &Path) {
        let base_dir = Path::new(BASE_DIR);
        for (name, target) in &confinement.ml {
            self.bind("--ro-bind", target, &base_dir.join(name));
        }
        let is_given = |name: &&str| confinement.ml.iter().any(|(given, _)| given == name);
        for name in WRITABLE.iter().filter(|name| !is_given(name)) {
            self.bind("--bind", &home.join("ml").join(name), &base_dir.join(name));
        }
    }
}

/// What we keep: the folder around that of all homes.
fn data_dir(home: &Path) -> &Path {
    home.parent().and_then(Path::parent).unwrap_or(home)
}

/// What is in `/opt`, but for what has the place of the program's own files.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| path != Path::new(BASE_DIR)).collect()
}

/// `path` and, while it is a link, what it leads to, and that with all links resolved.
fn chain(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    let mut last = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&last) else { break };
        last = last.parent().unwrap_or_else(|| Path::new("/")).join(target);
        found.push(last.clone());
    }
    found.extend(path.canonicalize());
    found
}
