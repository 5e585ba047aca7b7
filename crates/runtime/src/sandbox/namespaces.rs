//! Programs in namespaces of their own, through bubblewrap.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::detect::{self, Bubblewrap};
use super::{Confinement, Home, Program, limits, mounts};
use crate::tree::family::{Kind, MARKER};
use crate::tree::proc::Process;

/// How long bubblewrap may take until it tells its first process.
const BIRTH: Duration = Duration::from_secs(30);
/// What it says about it is shorter.
const LONGEST: usize = 4 << 10;

/// What bubblewrap tells of the namespaces.
#[derive(Deserialize)]
struct Born {
    #[serde(rename = "child-pid")]
    child: i32,
}

pub(super) async fn start(
    bubblewrap: &Bubblewrap,
    program: Program,
    confinement: &Confinement,
    home: &Home,
) -> io::Result<(Child, Kind)> {
    let options = write_options(bubblewrap, &program, confinement, home)?;
    // Bubblewrap says on descriptor 3 which its first process is: the first lines of what comes
    // through the pipe. Its options come through 4, where no list of processes shows them.
    let script = format!("exec 3>&2 4<\"$1\" && shift && {}", limits::script(confinement));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script, "sh"]).arg(&options).arg(&bubblewrap.path);
    command.args(["--info-fd", "3", "--args", "4", "--"]);
    if let Some(script) = limits::script_inside(confinement) {
        command.args(["/bin/sh", "-c", &script, "sh"]);
    }
    command
        .arg(&program.path)
        .args(&program.arguments)
        // Bubblewrap itself runs unconfined: the program's variables are among its options.
        .env_clear()
        .current_dir(home.path())
        .stdin(program.input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let holder = child.id().and_then(|id| i32::try_from(id).ok());
    let unborn = Unborn(holder.and_then(Process::of));
    let stderr = child.stderr.as_mut().ok_or_else(|| io::Error::other("it has no output"))?;
    let born = timeout(BIRTH, birth(stderr)).await;
    let born = born.map_err(|_| io::Error::other("bubblewrap hangs"))??;
    // A short program may have ended meanwhile, and another process have got its number.
    let first = Process::of(born.child).filter(|first| Some(first.parent) == holder);
    let first = first.unwrap_or_else(|| Process::gone(born.child));
    std::fs::remove_file(&options)?;
    unborn.told();
    Ok((child, Kind::Namespaces { first }))
}

/// A start that may be given up. Until bubblewrap has told its first process, nobody else knows of
/// that; left alone, it would wait for ever for the word to begin.
struct Unborn(Option<Process>);

impl Unborn {
    fn told(mut self) {
        self.0 = None;
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(holder) = &self.0 {
            holder.signal_group(Signal::KILL); // The first process is still of its group.
        }
    }
}

/// Writes bubblewrap's options where it reads them, each ended by a zero byte.
fn write_options(
    bubblewrap: &Bubblewrap,
    program: &Program,
    confinement: &Confinement,
    home: &Home,
) -> io::Result<PathBuf> {
    let mut confinement = confinement.clone();
    let directory = program.directory.as_deref().unwrap_or_else(|| home.path());
    let is_writable = confinement.writable.iter().any(|place| directory.starts_with(place));
    if !is_writable && !is_inside(directory, home) {
        confinement.readable.push(directory.to_owned());
    }
    let mut options = mounts::arguments(bubblewrap, &confinement, home.path(), Some(&program.path));
    options.extend(["--chdir".into(), directory.into()]);
    let mut set = |name: OsString, value: OsString| {
        options.extend(["--setenv".into(), name, value]);
    };
    detect::environment().for_each(|(name, value)| set(name, value));
    set("HOME".into(), home.path().into());
    for (name, value) in &program.environment {
        set(name.into(), value.into());
    }
    set(MARKER.into(), home.path().into());
    let path = home.path().join(".options");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let ended = options.iter().flat_map(|option| [option.as_bytes(), b"\0"]);
    file.write_all(&ended.collect::<Vec<_>>().concat())?;
    Ok(path)
}

/// True for a place that the program has anyway.
fn is_inside(directory: &Path, home: &Home) -> bool {
    directory.starts_with(home.path())
        || directory.starts_with(mounts::BASE_DIR)
        || directory == Path::new("/tmp")
}

/// Reads what bubblewrap tells of its first process, which waits until it has been told, and not
/// a byte more: the rest is the program's.
async fn birth(stderr: &mut ChildStderr) -> io::Result<Born> {
    let mut said = Vec::new();
    while said.len() < LONGEST && !said.ends_with(b"}\n") {
        match stderr.read_u8().await {
            Ok(byte) => said.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    let refused = || {
        let said = String::from_utf8_lossy(&said);
        io::Error::other(said.trim().trim_start_matches("bwrap: ").to_owned())
    };
    serde_json::from_slice(&said).map_err(|_| refused())
}
