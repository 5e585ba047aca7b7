use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{EnvironmentError, Environments, Interpreter, Package};
use crate::sandbox::Mode;

/// Environments in a folder of their own, beside one with a model's code.
struct Trial {
    environments: Environments,
    python: Arc<Interpreter>,
    folder: tempfile::TempDir,
    progress: Mutex<Vec<String>>,
}

impl Trial {
    async fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("code")).unwrap();
        // No index: what is needed lies beside the requirements.
        let offline = [("PIP_NO_INDEX", "1"), ("SECRET", "s")];
        let offline = offline.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environments = Environments::new(folder.path().join("environments"))
            .with_installer_environment(BTreeMap::from(offline))
            .with_mode(mode);
        let python = environments.interpreter("python3").await.unwrap();
        Self { environments, python, folder, progress: Mutex::default() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join("code").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A wheel with one module, that says `text`.
    fn wheel(&self, name: &str, text: &str) {
        let path = self.folder.path().join("code").join(format!("{name}-1-py3-none-any.whl"));
        let script = "import sys, zipfile\n\
            name, text, path = sys.argv[1:]\n\
            info = f'{name}-1.dist-info/'\n\
            with zipfile.ZipFile(path, 'w') as wheel:\n\
            \x20   wheel.writestr(name + '.py', f'SAYS = {text!r}\\n')\n\
            \x20   wheel.writestr(info + 'METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n')\n\
            \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
            \x20   names = [name + '.py', info + 'METADATA', info + 'WHEEL', info + 'RECORD']\n\
            \x20   wheel.writestr(info + 'RECORD', ''.join(n + ',,\\n' for n in names))\n";
        let made = std::process::Command::new(&self.python.path)
            .args(["-c", script, name, text])
            .arg(path)
            .status();
        assert!(made.unwrap().success());
    }

    async fn install(&self, packages: &[Package]) -> Result<Option<PathBuf>, EnvironmentError> {
        let requirements = self.folder.path().join("code/requirements.txt");
        let requirements = requirements.try_exists().unwrap().then_some(requirements);
        let progress = |line: &str| self.progress.lock().unwrap().push(line.to_owned());
        self.environments.install(&self.python, requirements.as_deref(), packages, &progress).await
    }

    fn said(&self) -> String {
        self.progress.lock().unwrap().join("\n")
    }

    /// What is in the folder of environments, but for what is being run.
    fn kept(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("environments")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap() != "run").collect()
    }
}

const MODES: [Mode; 2] = [Mode::Auto, Mode::Group];

fn package(module: &str, requirement: &str) -> Package {
    Package { module: module.to_owned(), requirement: requirement.to_owned() }
}

fn module(site: &Path, name: &str) -> String {
    fs::read_to_string(site.join(format!("{name}.py"))).unwrap()
}

#[tokio::test]
async fn interpreters_say_what_they_are() {
    let trial = Trial::new(Mode::Auto).await;
    let python = &trial.python;
    assert!(python.path.is_absolute() && python.version.starts_with("3."));
    let real = python.path.canonicalize().unwrap();
    let can_read = |path: &Path| python.readable.iter().any(|folder| path.starts_with(folder));
    assert!(can_read(&real), "{python:?}");
    let again = trial.environments.interpreter("python3").await.unwrap();
    assert!(Arc::ptr_eq(python, &again), "it was asked twice");
}

#[tokio::test]
async fn virtual_environments_bring_their_base() {
    let trial = Trial::new(Mode::Auto).await;
    let venv = trial.folder.path().join("venv");
    let made = std::process::Command::new(&trial.python.path)
        .args(["-m", "venv", "--without-pip"])
        .arg(&venv)
        .status();
    assert!(made.unwrap().success());
    let program = venv.join("bin/python").display().to_string();
    let found = trial.environments.interpreter(&program).await.unwrap();
    assert_eq!(found.path, Path::new(&program));
    for folder in [&venv].into_iter().chain(&trial.python.readable) {
        let is_there = found.readable.iter().any(|readable| folder.starts_with(readable));
        assert!(is_there || folder.ends_with("site-packages"), "{folder:?} {found:?}");
    }
}

#[tokio::test]
async fn other_programs_are_no_interpreters() {
    let trial = Trial::new(Mode::Auto).await;
    let old = trial.write(
        "old-python",
        "#!/bin/sh\necho '{\"path\": \"/x\", \"version\": \"3.8.19\", \"readable\": []}'\n",
    );
    let cases = [
        ("no-such-python".to_owned(), "it is not on the PATH"),
        ("/nowhere/python".to_owned(), "No such file or directory"),
        ("true".to_owned(), "it is no Python"),
        ("false".to_owned(), "it failed with: no reason"),
        (executable(&old), "it is Python 3.8.19, and 3.9 or newer is needed"),
    ];
    for (program, wanted) in cases {
        let error = trial.environments.interpreter(&program).await.unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(&program), "{error}");
    }
}

fn executable(path: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn nothing_is_installed_if_nothing_is_wanted() {
    let trial = Trial::new(Mode::Auto).await;
    assert_eq!(trial.install(&[]).await.unwrap(), None);
    assert_eq!(trial.install(&[package("json", "not-on-any-index")]).await.unwrap(), None);
    trial.write("requirements.txt", "\n# none\n  \n");
    assert_eq!(trial.install(&[]).await.unwrap(), None);
}

#[tokio::test]
async fn requirements_are_installed_once_per_content() {
    for mode in MODES {
        let trial = Trial::new(mode).await;
        trial.wheel("sagebrush_one", "first");
        trial.wheel("sagebrush_two", "second");
        trial.write("requirements.txt", "-r more/other.txt # more\n-r beside.txt\n");
        trial.write("beside.txt", "./sagebrush_one-1-py3-none-any.whl\n");
        trial.write("more/other.txt", "\n");
        let wanted = [package("sagebrush_two", "./sagebrush_two-1-py3-none-any.whl")];
        let site = trial.install(&wanted).await.unwrap().unwrap();
        assert_eq!(module(&site, "sagebrush_one"), "SAYS = 'first'\n");
        assert_eq!(module(&site, "sagebrush_two"), "SAYS = 'second'\n");
        let said = trial.said();
        assert!(said.contains("sagebrush"), "{said}");
        // The same again, as another model has it.
        trial.write("requirements.txt", "# The same.\n-r more/other.txt\n\n-r beside.txt\n");
        assert_eq!(trial.install(&wanted).await.unwrap().unwrap(), site);
        assert_eq!(trial.said(), said, "the installer ran again");
        // Other content under the same name.
        trial.wheel("sagebrush_one", "third");
        let other = trial.install(&wanted).await.unwrap().unwrap();
        assert_eq!(module(&other, "sagebrush_one"), "SAYS = 'third'\n");
        assert_eq!(module(&site, "sagebrush_one"), "SAYS = 'first'\n");
        assert_eq!(trial.kept().len(), 2);
    }
}

#[tokio::test]
async fn the_installers_own_words_say_why_it_failed() {
    for mode in MODES {
        let trial = Trial::new(mode).await;
        trial.write("requirements.txt", "sagebrush-no-such-package==1.0\n");
        let error = trial.install(&[]).await.unwrap_err();
        let EnvironmentError::Install { reason } = &error else { panic!("{error}") };
        assert!(reason.contains("sagebrush-no-such-package"), "{reason}");
        assert!(!reason.contains('\u{1b}') && reason.lines().count() <= 15, "{reason}");
        assert!(error.to_string().starts_with("Installing the model's requirements failed: "));
        assert_eq!(trial.kept(), [] as [PathBuf; 0]);
        // It is mended by what it asks for.
        trial.wheel("sagebrush_no_such_package", "x");
        trial.write("requirements.txt", "./sagebrush_no_such_package-1-py3-none-any.whl\n");
        assert!(trial.install(&[]).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn one_of_many_installs_for_all() {
    let trial = Trial::new(Mode::Auto).await;
    trial.wheel("sagebrush_one", "first");
    trial.write("requirements.txt", "./sagebrush_one-1-py3-none-any.whl\n");
    let sites = futures::future::join_all((0..8).map(|_| trial.install(&[]))).await;
    let first = sites[0].as_ref().unwrap();
    assert!(sites.iter().all(|site| site.as_ref().unwrap() == first));
    let waited = trial.said().matches("Waiting for the same requirements").count();
    let installed = trial.said().lines().count() - waited;
    assert_eq!(waited, 7);
    let again = Trial::new(Mode::Auto).await;
    again.wheel("sagebrush_one", "first");
    again.write("requirements.txt", "./sagebrush_one-1-py3-none-any.whl\n");
    again.install(&[]).await.unwrap();
    assert_eq!(again.said().lines().count(), installed, "{}", trial.said());

    trial.write("requirements.txt", "sagebrush-no-such-package\n");
    trial.progress.lock().unwrap().clear();
    let failed = futures::future::join_all((0..8).map(|_| trial.install(&[]))).await;
    assert!(failed.iter().all(Result::is_err));
    let lines = trial.said().lines().count() - 7;
    trial.progress.lock().unwrap().clear();
    trial.install(&[]).await.unwrap_err();
    assert_eq!(trial.said().lines().count(), lines, "a failure is tried again by the next one");
}

#[tokio::test]
async fn what_was_interrupted_is_swept() {
    let trial = Trial::new(Mode::Auto).await;
    let part = trial.folder.path().join("environments/abc.part");
    fs::create_dir_all(part.join("site")).unwrap();
    trial.wheel("sagebrush_one", "first");
    trial.write("requirements.txt", "./sagebrush_one-1-py3-none-any.whl\n");
    let site = trial.install(&[]).await.unwrap().unwrap();
    assert_eq!(trial.kept(), [site.parent().unwrap()]);
    // Given up in the middle.
    trial.write("requirements.txt", "./sagebrush_one-1-py3-none-any.whl\n--pre\n");
    let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), trial.install(&[]));
    assert!(given_up.await.is_err());
    assert_eq!(trial.kept().len(), 1);
}
