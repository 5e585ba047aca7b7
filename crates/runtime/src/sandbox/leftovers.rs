//! What an earlier run of ours left when it was killed: processes and folders.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Signal, getpid};

use crate::tree::family::MARKER;
use crate::tree::proc::{Process, Snapshot, boot_id};

/// Beside a home: which process runs in it. Not in it, where the program could name another.
const NOTE: &str = "process";
/// How often it is looked for processes that do not end yet.
const LOOKS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Notes which process runs in `home`.
pub(super) fn note(home: &Path, root: &Process) -> io::Result<()> {
    fs::write(home.with_extension(NOTE), format!("{} {} {}", boot_id(), root.id, root.started))
}

/// Removes a home and its note.
pub(super) fn remove(home: &Path) -> io::Result<()> {
    match fs::remove_file(home.with_extension(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    remove_folder(home)
}

/// Ends the processes of an earlier run below `run_dir` and removes its folders.
pub(super) fn sweep(run_dir: &Path) -> io::Result<()> {
    let entries = fs::read_dir(run_dir)?.collect::<io::Result<Vec<_>>>()?;
    if entries.is_empty() {
        return Ok(());
    }
    for entry in &entries {
        let path = entry.path();
        if let Some(root) = noted(&path) {
            tracing::info!(process = root.id, "a program of an earlier run is ended");
            root.signal_group(Signal::KILL);
            root.kill();
        }
    }
    end_marked(run_dir);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() { remove_folder(&path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}

/// The process of a note, if it still runs.
fn noted(path: &Path) -> Option<Process> {
    if path.extension() != Some(OsStr::new(NOTE)) {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split(' ');
    if words.next()? != boot_id() {
        return None;
    }
    let (id, started) = (words.next()?.parse().ok()?, words.next()?.parse::<u64>().ok()?);
    Process::of(id).filter(|found| found.started == started && found.is_of_our_user())
}

/// Ends the processes that were started in a home below `run_dir`.
fn end_marked(run_dir: &Path) {
    let start = [MARKER.as_bytes(), b"=", run_dir.as_os_str().as_bytes(), b"/"].concat();
    let is_marked = |process: &&Process| {
        process.id != getpid().as_raw_pid()
            && !process.zombie
            && process.is_of_our_user()
            && process.environment_has(|entry| entry.starts_with(&start))
    };
    for _ in 0..LOOKS {
        let all = Snapshot::take();
        let marked: Vec<&Process> = all.iter().filter(is_marked).collect();
        if marked.is_empty() {
            return;
        }
        for process in marked {
            process.kill();
        }
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(run_dir = %run_dir.display(), "programs of an earlier run do not end");
}

/// Removes a folder, even if folders in it were made read-only.
fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder)?;
            fs::remove_dir_all(folder)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn open_up(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut open: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(())
}
