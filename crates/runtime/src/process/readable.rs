//! What a program must be able to read so that it starts at all. Blocks.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Why `program` cannot be started, if a look at it tells.
pub(super) fn fault(program: &Path) -> Option<String> {
    let found = match fs::metadata(program) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some("there is no such file".to_owned());
        }
        Err(error) => return Some(error.to_string()),
    };
    if !found.is_file() {
        return Some("it is no file".to_owned());
    }
    (found.permissions().mode() & 0o111 == 0).then(|| "it is not executable".to_owned())
}

/// The folders that belong to `program`: its own; the whole of a `bin`'s parent, as of a virtual
/// environment; and the interpreter that such an environment was made with.
pub(super) fn folders(program: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let real = fs::canonicalize(program).ok();
    for path in [Some(program), real.as_deref()].into_iter().flatten() {
        let Some(folder) = path.parent() else { continue };
        let prefix = prefix(folder);
        folders.extend(interpreter(&prefix));
        folders.push(prefix);
    }
    folders.retain(|folder| folder.is_absolute() && folder.parent().is_some());
    folders.sort();
    folders.dedup();
    folders
}

/// The folders that arguments name: `/srv/app/serve.py` stands for `/srv/app`, for a script has
/// its modules beside it.
pub(super) fn named(arguments: &[String]) -> Vec<PathBuf> {
    let path = |argument: &String| {
        let text = argument.split_once('=').map_or(argument.as_str(), |(_, value)| value);
        let path = Path::new(text);
        let folder = if path.is_dir() { path } else { path.parent()? };
        let is_narrow =
            path.is_absolute() && path.try_exists().is_ok_and(|is| is) && folder.parent().is_some();
        is_narrow.then(|| folder.to_owned())
    };
    arguments.iter().filter_map(path).collect()
}

/// Of `/srv/app/.venv/bin` it is `/srv/app/.venv`.
fn prefix(folder: &Path) -> PathBuf {
    let is_bin = folder.file_name().is_some_and(|name| name == "bin" || name == "sbin");
    let parent = folder.parent().filter(|parent| is_bin && parent.parent().is_some());
    parent.unwrap_or(folder).to_owned()
}

/// What `pyvenv.cfg` names as the home of the interpreter.
fn interpreter(environment: &Path) -> Option<PathBuf> {
    let config = fs::read_to_string(environment.join("pyvenv.cfg")).ok()?;
    let home = config.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "home").then(|| PathBuf::from(value.trim()))
    });
    home.map(|home| prefix(&home))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_folders() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("serve.py");
        fs::write(&script, "").unwrap();
        let check = |argument: String, wanted: &[&Path]| {
            assert_eq!(named(std::slice::from_ref(&argument)), wanted, "{argument}");
        };
        check(script.display().to_string(), &[dir.path()]);
        check(format!("--config={}", script.display()), &[dir.path()]);
        check(dir.path().display().to_string(), &[dir.path()]);
        check(dir.path().join("none").display().to_string(), &[]);
        check("serve.py".to_owned(), &[]);
        check("/".to_owned(), &[]);
    }

    #[test]
    fn a_virtual_environment_brings_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("venv/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(dir.path().join("venv/pyvenv.cfg"), "home = /opt/python/bin\nx = y\n").unwrap();
        let program = bin.join("serve");
        fs::write(&program, "").unwrap();
        assert_eq!(fault(&program).as_deref(), Some("it is not executable"));
        assert_eq!(fault(&bin).as_deref(), Some("it is no file"));
        assert_eq!(fault(&bin.join("x")).as_deref(), Some("there is no such file"));
        let found = folders(&program);
        assert!(found.contains(&PathBuf::from("/opt/python")), "{found:?}");
        assert!(found.contains(&dir.path().join("venv")), "{found:?}");
        assert_eq!(folders(Path::new("/serve")), Vec::<PathBuf>::new());
        assert_eq!(folders(Path::new("/bin/sh-none")), [PathBuf::from("/bin")]);
    }
}
