use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sagebrush_core::logs::{LogSink, LogStream, MemoryLog};
use tokio::time::timeout;

use super::{Confinement, Home, Isolation, Mode, Program, Sandbox};
use crate::environment::{Environments, Interpreter};
use crate::output::{Tail, follow};
use crate::tree::proc::{Process, Snapshot};
use crate::tree::{Exit, Tree};

mod kill;

const GIVE_UP: Duration = Duration::from_secs(30);

/// A sandbox in a folder of its own, with a Python to run in it.
pub(crate) struct Trial {
    pub(crate) sandbox: Sandbox,
    python: Arc<Interpreter>,
    pub(crate) log: Arc<MemoryLog>,
    folder: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

/// One for each mode that this machine can do.
pub(crate) async fn trials() -> Vec<(Mode, Trial)> {
    let folder = tempfile::tempdir().unwrap();
    let mut trials = trials_in(folder.path()).await;
    // The last one to go takes the folder with it.
    trials.last_mut().unwrap().1._folder = Some(folder);
    trials
}

async fn trials_in(folder: &Path) -> Vec<(Mode, Trial)> {
    let mut trials = Vec::new();
    for mode in [Mode::Namespaces, Mode::Group] {
        let folder = folder.join(format!("{mode:?}"));
        let sandbox = Sandbox::open(folder.join("run")).unwrap().with_mode(mode);
        match (mode, sandbox.isolation().await) {
            (Mode::Namespaces, Isolation::Group { why }) => {
                println!("not tried in namespaces: {why}");
                continue;
            }
            (Mode::Group, found) => assert!(matches!(found, Isolation::Group { .. })),
            (Mode::Namespaces | Mode::Auto, _) => {}
        }
        let environments = Environments::new(folder.join("environments"));
        let python = environments.interpreter("python3").await.unwrap();
        trials.push((mode, Trial { sandbox, python, log: Arc::default(), folder, _folder: None }));
    }
    trials
}

impl Trial {
    pub(crate) fn confinement(&self) -> Confinement {
        Confinement { readable: self.python.readable.clone(), ..Confinement::default() }
    }

    pub(crate) fn python(&self, script: &str) -> Program {
        Program {
            path: self.python.path.clone(),
            arguments: vec!["-c".into(), script.into()],
            environment: BTreeMap::new(),
            directory: None,
            input: None,
        }
    }

    pub(crate) async fn start(&self, program: Program, confinement: &Confinement) -> (Tree, Tail) {
        let home = self.sandbox.home().unwrap();
        self.start_in(home, program, confinement).await
    }

    async fn start_in(
        &self,
        home: Home,
        program: Program,
        confinement: &Confinement,
    ) -> (Tree, Tail) {
        let tree = self.sandbox.start(program, confinement, home).await.unwrap();
        let at = LogStream { region: "r".into(), group: "g".into(), stream: "s".into() };
        let log: Arc<dyn LogSink> = self.log.clone();
        let tail = follow(&tree, &log, &at);
        (tree, tail)
    }

    /// Runs `script` to its end. Returns how it ended and what it printed.
    pub(crate) async fn run(&self, script: &str, confinement: &Confinement) -> (Exit, String) {
        let (tree, tail) = self.start(self.python(script), confinement).await;
        ended(&tree, &tail).await
    }

    /// Returns what `script` printed first, while it runs on.
    pub(crate) async fn first_line(&self) -> String {
        let printed = async {
            loop {
                if let Some((_, line)) = self.log.lines().first() {
                    return line.clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(GIVE_UP, printed).await.unwrap()
    }

    pub(crate) fn assert_nothing_is_left(&self) {
        let run = self.folder.join("run");
        assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0, "a folder is left");
        self.assert_no_process_is_left();
    }

    pub(crate) fn assert_no_process_is_left(&self) {
        let run = self.folder.canonicalize().unwrap().join("run");
        let marker = format!("SAGEBRUSH_HOME={}", run.display());
        let all = Snapshot::take();
        let is_ours = |process: &&Process| {
            process.environment_has(|entry| entry.starts_with(marker.as_bytes()))
        };
        let left: Vec<_> = all.iter().filter(is_ours).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

pub(crate) async fn ended(tree: &Tree, tail: &Tail) -> (Exit, String) {
    let exit = timeout(GIVE_UP, tree.ended()).await.expect("it ends");
    (exit, tail.complete().await)
}

/// Runs `script` and wants it to print `wanted` and nothing to be left.
async fn check(trial: &Trial, confinement: &Confinement, script: &str, wanted: &str) {
    let (exit, text) = trial.run(script, confinement).await;
    assert_eq!((exit, text.as_str()), (Exit::Code(0), wanted), "{script}");
    trial.assert_nothing_is_left();
}

#[tokio::test]
async fn programs_get_nothing_of_our_environment() {
    for (mode, trial) in trials().await {
        let script = "import os; print(sorted(set(os.environ) - {'PATH', 'LANG', 'LANGUAGE', 'TZ', \
            'PWD', 'LC_ALL', 'LC_CTYPE', 'TMPDIR', 'OLDPWD', '_', 'SHLVL'})); \
            print(os.environ['HOME'] == os.getcwd() == os.environ['SAGEBRUSH_HOME'], \
            os.environ['A_KEY'], os.path.isdir(os.environ['HOME']))";
        let mut program = trial.python(script);
        program.environment.insert("A_KEY".to_owned(), "a value\nof two lines".to_owned());
        let (tree, tail) = trial.start(program, &trial.confinement()).await;
        let (_, text) = ended(&tree, &tail).await;
        let wanted = "['A_KEY', 'HOME', 'SAGEBRUSH_HOME']\nTrue a value\nof two lines True";
        assert_eq!(text, wanted, "{mode:?}");
    }
}

#[tokio::test]
async fn the_model_is_where_containers_have_it() {
    for (mode, trial) in trials().await {
        let model = trial.folder.join("model");
        std::fs::create_dir(&model).unwrap();
        std::fs::write(model.join("weights"), "w").unwrap();
        let confinement = Confinement { ml: vec![("model", model.clone())], ..trial.confinement() };
        let home = trial.sandbox.home().unwrap();
        let base = trial.sandbox.base_dir(&home).await;
        assert_eq!(base == Path::new("/opt/ml"), mode == Mode::Namespaces);
        let script = format!(
            "import os; b = '{}'\n\
             print(open(b + '/model/weights').read(), sorted(os.listdir(b)))\n\
             open(b + '/output/x', 'w').write('x')\n\
             try: open(b + '/model/new', 'w'); print('written')\n\
             except OSError as error: print(error.strerror)",
            base.display()
        );
        let (tree, tail) = trial.start_in(home, trial.python(&script), &confinement).await;
        let (_, text) = ended(&tree, &tail).await;
        let last = match mode {
            Mode::Namespaces | Mode::Auto => "Read-only file system",
            Mode::Group => "written",
        };
        assert_eq!(text, format!("w ['input', 'model', 'output']\n{last}"), "{mode:?}");
        trial.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_not_there() {
    let user_home = std::env::home_dir().unwrap();
    for (mode, trial) in trials().await {
        if mode != Mode::Namespaces {
            continue;
        }
        let data = trial.folder.join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("secret"), "s").unwrap();
        let gone = [data.as_path(), Path::new("/etc/shadow"), Path::new("/home")];
        for path in gone.into_iter().chain([user_home.join(".bashrc").as_path()]) {
            let script = format!("import os; print(os.path.exists('{}'))", path.display());
            check(&trial, &trial.confinement(), &script, "False").await;
        }
        // Its home is visible, the homes of others and the notes beside it are not.
        let script = "import os; h = os.environ['HOME']; \
            print(os.listdir(os.path.dirname(h)) == [os.path.basename(h)])";
        check(&trial, &trial.confinement(), script, "True").await;
        let places = ["/", "/usr", "/etc", "/opt", "/dev", "/proc/sys/kernel", "/sys/devices"];
        for place in places {
            let script = format!(
                "import os\n\
                 try: open('{place}/sagebrush-test', 'w'); print('written')\n\
                 except OSError: print('refused')"
            );
            check(&trial, &trial.confinement(), &script, "refused").await;
        }
        let script = "import os; print(os.getpid() < 9, len(os.listdir('/dev/shm')), \
            os.listdir('/tmp'), os.path.exists('/sys/devices/system/cpu/online'))";
        // Bubblewrap made the way to the folders below /tmp that the test itself uses.
        let top = trial.folder.components().nth(2).unwrap().as_os_str().to_owned();
        check(
            &trial,
            &trial.confinement(),
            script,
            &format!("True 0 [{top:?}] True").replace('"', "'"),
        )
        .await;
    }
}

#[tokio::test]
async fn folders_around_ours_do_not_show_it() {
    for (mode, trial) in trials().await {
        if mode != Mode::Namespaces {
            continue;
        }
        for name in ["secret", "environment", "../beside"] {
            std::fs::write(trial.folder.join(name), "s").unwrap();
        }
        let around = trial.folder.parent().unwrap().to_owned();
        let given = vec![around.clone(), trial.folder.join("environment")];
        let readable = [trial.confinement().readable, given].concat();
        let confinement = Confinement { readable, ..trial.confinement() };
        let script = format!(
            "import os; f = '{}'; print(sorted(os.listdir(f)), 'beside' in os.listdir(f + '/..'))",
            trial.folder.display()
        );
        check(&trial, &confinement, &script, "['environment', 'run'] True").await;
    }
}

#[tokio::test]
async fn where_namespaces_are_wanted_nothing_runs_without() {
    for (_, trial) in trials().await {
        let why = "bubblewrap is not installed".to_owned();
        let sandbox = Sandbox::open(trial.folder.join("other")).unwrap();
        let sandbox = sandbox.with_mode(Mode::Namespaces);
        sandbox.found.set(super::Found::Nothing { why: why.clone() }).ok().unwrap();
        assert_eq!(sandbox.isolation().await, Isolation::Group { why });
        let home = sandbox.home().unwrap();
        let refused = sandbox.start(trial.python(""), &trial.confinement(), home).await;
        let said = refused.err().unwrap().to_string();
        assert!(said.ends_with("does not give: bubblewrap is not installed"), "{said}");
    }
}

#[tokio::test]
async fn temporary_files_are_private_and_go() {
    for (_, trial) in trials().await {
        let name = format!("sagebrush-test-{}", uuid::Uuid::new_v4());
        let script = format!(
            "import tempfile, os; p = os.path.join(tempfile.gettempdir(), '{name}'); \
             open(p, 'w').write('x'); print(os.path.exists(p))"
        );
        check(&trial, &trial.confinement(), &script, "True").await;
        assert!(!std::env::temp_dir().join(&name).try_exists().unwrap());
    }
}

#[tokio::test]
async fn the_network_is_there_if_it_may_be() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for (mode, trial) in trials().await {
        for network in [true, false] {
            let confinement = Confinement { network, ..trial.confinement() };
            let script = format!(
                "import socket\n\
                 s = socket.create_server(('127.0.0.1', 0)); \
                 socket.create_connection(s.getsockname()); print('loopback is up')\n\
                 try: socket.create_connection(('127.0.0.1', {port})); print('connected')\n\
                 except OSError: print('refused')"
            );
            let reaches = network || mode == Mode::Group;
            let wanted = if reaches { "connected" } else { "refused" };
            check(&trial, &confinement, &script, &format!("loopback is up\n{wanted}")).await;
        }
    }
}

#[tokio::test]
async fn too_much_memory_fails_where_it_is_asked_for() {
    for (_, trial) in trials().await {
        let confinement = Confinement { memory_bytes: Some(512 << 20), ..trial.confinement() };
        let script = "import resource, sys\n\
            try: x = bytearray(2 << 30)\n\
            except MemoryError: print('refused', resource.getrlimit(resource.RLIMIT_CORE))";
        check(&trial, &confinement, script, "refused (0, 0)").await;
        let (exit, text) = trial.run("bytearray(2 << 30)", &confinement).await;
        assert_eq!(exit, Exit::Code(1));
        assert!(text.ends_with("MemoryError"), "{text}");
    }
}

#[tokio::test]
async fn descriptors_pass_through_standard_input() {
    for (_, trial) in trials().await {
        let (one, other) = UnixStream::pair().unwrap();
        let mut sender = trial.python(
            "import os, socket; s = socket.socket(fileno=0); \
             open('f', 'w').write('from the other'); f = os.open('f', os.O_RDONLY); \
             socket.send_fds(s, [b'x'], [f]); s.recv(1)",
        );
        sender.input = Some(OwnedFd::from(one));
        let mut receiver = trial.python(
            "import os, socket; s = socket.socket(fileno=0); \
             _, fds, _, _ = socket.recv_fds(s, 1, 1); print(os.read(fds[0], 99).decode()); \
             s.send(b'y')",
        );
        receiver.input = Some(OwnedFd::from(other));
        let confinement = trial.confinement();
        let (sender, complaints) = trial.start(sender, &confinement).await;
        let (receiver, printed) = trial.start(receiver, &confinement).await;
        let received = ended(&receiver, &printed).await;
        assert_eq!(received, (Exit::Code(0), "from the other".to_owned()));
        assert_eq!(ended(&sender, &complaints).await, (Exit::Code(0), String::new()));
        trial.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn what_cannot_start_says_so() {
    for (_, trial) in trials().await {
        let cases = [
            ("/nowhere/python", "cannot start /nowhere/python: No such file"),
            ("no-such-program", "cannot start no-such-program: it is not on the PATH"),
            ("/etc/passwd", "cannot start /etc/passwd: it is no program"),
        ];
        for (path, wanted) in cases {
            let program = Program { path: PathBuf::from(path), ..trial.python("") };
            let home = trial.sandbox.home().unwrap();
            let refused = trial.sandbox.start(program, &trial.confinement(), home).await;
            let said = refused.err().unwrap().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
        // Folders of the model that are missing.
        let missing = vec![("model", PathBuf::from("/nowhere/model"))];
        let confinement = Confinement { ml: missing, ..trial.confinement() };
        let home = trial.sandbox.home().unwrap();
        let refused = trial.sandbox.start(trial.python(""), &confinement, home).await;
        let said = refused.err().unwrap().to_string();
        assert!(said.contains("/nowhere/model"), "{said}");
        trial.assert_nothing_is_left();
    }
}

#[tokio::test]
async fn programs_on_the_path_run_in_a_folder_of_theirs() {
    for (_, trial) in trials().await {
        let directory = trial.folder.join("a folder");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("text"), "in it").unwrap();
        let program = Program {
            path: PathBuf::from("cat"),
            arguments: vec!["text".into()],
            directory: Some(directory),
            ..trial.python("")
        };
        let (tree, tail) = trial.start(program, &Confinement::default()).await;
        assert_eq!(ended(&tree, &tail).await, (Exit::Code(0), "in it".to_owned()));
    }
}

#[tokio::test]
async fn what_an_earlier_run_left_is_swept() {
    for (_, trial) in trials().await {
        let script = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)";
        let (tree, _) = trial.start(trial.python(script), &trial.confinement()).await;
        trial.first_line().await;
        let run_dir = trial.folder.join("run");
        std::fs::create_dir(run_dir.join("other")).unwrap();
        // Whoever has the number now is not the one that was noted.
        let own = std::process::id();
        std::fs::write(run_dir.join("other.process"), format!("a-boot {own} 1")).unwrap();
        let _second = Sandbox::open(run_dir.clone()).unwrap();
        let exit = timeout(GIVE_UP, tree.ended()).await.unwrap();
        assert_eq!(exit, Exit::Signal(9));
        trial.assert_nothing_is_left();
    }
}

/// Whoever stops an instance that is being launched drops the start at any moment.
#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    for (mode, trial) in trials().await {
        for delay in 0..40 {
            let home = trial.sandbox.home().unwrap();
            let confinement = trial.confinement();
            let start = trial.sandbox.start(trial.python("pass"), &confinement, home);
            drop(timeout(Duration::from_micros(delay * 250), start).await);
        }
        let left = async {
            while n_running_in(&trial.folder) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(GIVE_UP, left).await.is_ok(), "{mode:?}: a process is left");
    }
}

/// How many processes have their working directory below `folder`.
fn n_running_in(folder: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let places =
        processes.filter_map(|process| std::fs::read_link(process.path().join("cwd")).ok());
    places.filter(|place| place.starts_with(folder)).count()
}
