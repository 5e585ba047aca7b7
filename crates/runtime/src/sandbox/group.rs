//! Where there are no namespaces: a process group, with links in place of mounts.

use std::io;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::{Confinement, Home, Program, detect, limits};
use crate::tree::family::{Kind, MARKER};

pub(super) fn start(
    program: Program,
    confinement: &Confinement,
    home: &Home,
) -> io::Result<(Child, Kind)> {
    let ml = home.folder("ml")?;
    for (name, target) in &confinement.ml {
        // The target's own place: a relative one would be looked for beside the link.
        std::os::unix::fs::symlink(std::path::absolute(target)?, ml.join(name))?;
    }
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &limits::script(confinement), "sh"])
        .arg(&program.path)
        .args(&program.arguments)
        .env_clear()
        .envs(detect::environment())
        .env("HOME", home.path())
        .env("TMPDIR", home.folder("tmp")?)
        .envs(&program.environment)
        .env(MARKER, home.path())
        .current_dir(program.directory.as_deref().unwrap_or_else(|| home.path()))
        .stdin(program.input.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    Ok((command.spawn()?, Kind::Group))
}
