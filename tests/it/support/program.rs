//! Runs the server as a separate process, with environment variables and a log.

use std::{
    collections::HashSet,
    fs::{self, File},
    ops::Deref,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{NO_LIMITS, PATIENCE, TestApp, database_of, postgres::is_root, stub_site};

/// Environment variables that must not reach the server.
const UNSET: [&str; 8] = [
    "DATABASE_URL",
    "REDIS_URL",
    "UPSTASH_REDIS_REST_URL",
    "UPSTASH_REDIS_REST_TOKEN",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "WEBHOOK_URLS",
    "WEBHOOK_SECRET",
];

/// A running server process. Dropping it kills the process.
pub struct Program {
    app: TestApp,
    process: Process,
}

impl Program {
    /// Starts the server with these settings, and waits until it accepts requests.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_as(&[], settings).await
    }

    /// Starts the server. Until the limit is lifted, it can't write a file beyond this size in KB.
    pub async fn start_with_file_limit(size: u32, settings: &[(&str, &str)]) -> Self {
        // `sh` counts in blocks of 512 bytes. Without the trap the process would be killed instead.
        let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", 2 * size);
        Self::start_as(&["sh", "-c", &script], settings).await
    }

    /// Starts the server with a log that nobody reads from its first line on that says the address.
    pub async fn start_with_stuck_log(settings: &[(&str, &str)]) -> Self {
        let reader =
            "while IFS= read -r line; do echo \"$line\"; [[ $line == *serving* ]] && break; done; sleep 60";
        let script = format!("exec \"$0\" \"$@\" 2> >({{ {reader}; }} >&2)");
        Self::start_as(&["bash", "-c", &script], settings).await
    }

    /// Lifts the limit of the size of files.
    pub fn lift_file_limit(&self) {
        let pid = format!("--pid={}", self.process.child.id());
        assert!(Command::new("prlimit").args([&pid, "--fsize=unlimited:"]).status().unwrap().success());
    }

    /// Starts the server by a command, which gets the program and its arguments.
    async fn start_as(command: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut process = Process::start(command, settings);
        let serving = async {
            loop {
                assert!(
                    process.child.try_wait().unwrap().is_none(),
                    "the server has exited: {}",
                    process.log()
                );
                let log = process.log();
                if let Some((_, rest)) = log.split_once("serving ") {
                    // In the JSON log format, the message ends with a quote.
                    return rest.split(['"', '\n']).next().unwrap().trim().to_owned();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let address = timeout(PATIENCE, serving).await.expect("the server accepts requests");
        Self { app: TestApp::at(address), process }
    }

    /// Starts the server with invalid settings. Returns the exit status and the log.
    pub async fn fail(settings: &[(&str, &str)]) -> (ExitStatus, String) {
        Self::fail_as(&[], settings).await
    }

    /// Like `fail`, and root is held to the rights of files like other users.
    pub async fn fail_unprivileged(settings: &[(&str, &str)]) -> (ExitStatus, String) {
        let command: &[&str] = if is_root() { &["setpriv", "--bounding-set=-all"] } else { &[] };
        Self::fail_as(command, settings).await
    }

    async fn fail_as(command: &[&str], settings: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut process = Process::start(command, settings);
        let ended = async {
            loop {
                if let Some(status) = process.child.try_wait().unwrap() {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let status = timeout(PATIENCE, ended).await.expect("the server exits");
        (status, process.log())
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until the log contains this text.
    pub async fn wait_for_log(&self, text: &str) {
        let logged = async {
            while !self.log().contains(text) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, logged).await.unwrap_or_else(|_| panic!("{text:?} in {}", self.log()));
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The number of the next file descriptor that the process will open.
    pub fn next_descriptor(&self) -> u32 {
        let open = fs::read_dir(format!("/proc/{}/fd", self.process.child.id())).unwrap();
        let number = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().parse().unwrap();
        let open: HashSet<u32> = open.map(|entry| number(entry.unwrap())).collect();
        (0..).find(|number| !open.contains(number)).unwrap()
    }

    /// The names of the threads of the process, 15 characters of each.
    pub fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.child.id())).unwrap();
        // A thread may end meanwhile.
        let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.map(|name| name.trim_end().to_owned()).collect()
    }

    /// Limits the file descriptors of the process to numbers below `limit`.
    pub fn limit_descriptors(&self, limit: u32) {
        let (pid, limit) = (format!("--pid={}", self.process.child.id()), format!("--nofile={limit}:"));
        assert!(Command::new("prlimit").args([pid, limit]).status().unwrap().success());
    }

    /// Waits until the process exits.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.process.child.try_wait().unwrap() {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("the server exits")
    }

    /// Kills the process without a shutdown.
    pub fn kill(self) {
        drop(self.process);
    }
}

impl Deref for Program {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    fn start(command: &[&str], settings: &[(&str, &str)]) -> Self {
        let folder = stub_site("stub");
        let words = [command, &[env!("CARGO_BIN_EXE_aforo")]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        for name in UNSET {
            command.env_remove(name);
        }
        let child = command
            .args(["--site-addr=127.0.0.1:0", "--count-update-interval=100", "--site-root"])
            .arg(folder.path())
            .args(NO_LIMITS)
            .env("DATA_DIR", folder.path().join("data"))
            // Nodes with the same store share a database.
            .envs(settings.iter().find_map(|(_, value)| database_of(value)).map(|url| ("DATABASE_URL", url)))
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has already exited.
        let _exited = self.child.kill();
        self.child.wait().unwrap();
    }
}
