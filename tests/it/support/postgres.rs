//! Real PostgreSQL servers, each on a free port with its own folder.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

use super::{PATIENCE, free_port};

/// The password of the user of the tests.
pub const PASSWORD: &str = "a-password-of-the-test";

/// Faster than the defaults, and as durable for a server that is killed: only a crash of the machine could lose data.
const FLAGS: [&str; 12] = [
    "-c",
    "listen_addresses=127.0.0.1",
    "-c",
    "unix_socket_directories=",
    "-c",
    "fsync=off",
    "-c",
    "full_page_writes=off",
    "-c",
    "max_connections=200",
    "-c",
    "log_min_messages=fatal",
];

/// Runs the program in `$@` until this shell's input ends, which it does at the latest when the test process ends. Then
/// kills it and removes its folder, `$0`. The program gets no input.
const GUARD: &str = r#"
"$@" </dev/null &
pid=$!
echo $pid > "$0/pid"
read -r what
kill -KILL $pid $(cat /proc/$pid/task/$pid/children) 2>/dev/null
wait
[ "$what" = keep ] || rm -rf "$0"
"#;

/// A PostgreSQL server. Dropping it kills the processes and removes the data.
pub struct Postgres {
    pub port: u16,
    folder: PathBuf,
    running: Option<(Child, ChildStdin)>,
}

impl Postgres {
    /// Starts a server.
    pub async fn start() -> Self {
        let mut server = Self::reserve();
        server.run().await;
        server
    }

    /// The server that the tests of this process share. Each uses its own [`Postgres::database`].
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// Creates the data of a server and reserves a port for it, without starting it.
    pub fn reserve() -> Self {
        let folder = TempDir::new().unwrap().keep();
        let data = folder.join("data");
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        give_away(&folder);
        let created = unprivileged("initdb", &folder)
            .args(["--no-sync", "--no-instructions", "--encoding=UTF8", "--username=aforo"])
            .args(["--auth=scram-sha-256", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .expect("PostgreSQL is installed (by `make test`)");
        assert!(created.success(), "initdb creates the data of a server");
        Self { port: free_port(), folder, running: None }
    }

    /// Starts the server, again after a kill.
    pub async fn run(&mut self) {
        let started = async {
            loop {
                self.spawn();
                while self.is_running() {
                    if PgConnection::connect(&self.url("postgres")).await.is_ok() {
                        return;
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                // The memory of a killed server may still be in use.
                self.end("keep");
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, started).await.expect("PostgreSQL accepts connections");
    }

    /// The address of a new, empty database.
    pub async fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, SeqCst));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://aforo:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs a statement in a database.
    pub async fn execute(&self, database: &str, statement: &str) {
        execute(&self.url(database), statement).await;
    }

    /// Kills all processes of the server. The data stay.
    pub fn kill(&mut self) {
        self.end("keep");
    }

    /// Suspends all processes of the server. Connections stay open and get no answer.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes a suspended server.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn spawn(&mut self) {
        let data = self.folder.join("data");
        let mut server = unprivileged("postgres", &self.folder);
        server.args(FLAGS).args(["-p", &self.port.to_string(), "-D"]).arg(data);
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD]).arg(&self.folder).arg(server.get_program()).args(server.get_args());
        // Not the caller's output: it would stay open for as long as the server runs.
        let log = fs::File::create(self.folder.join("log")).unwrap();
        guard.current_dir(&self.folder).env("LC_ALL", "C");
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let mut guard = guard.spawn().expect("a shell");
        let input = guard.stdin.take().unwrap();
        self.running = Some((guard, input));
    }

    /// Whether the server's first process runs.
    fn is_running(&self) -> bool {
        // The file may not be written yet.
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        pid.is_empty() || status.is_ok_and(|status| !status.contains(") Z "))
    }

    /// Kills the server. `what` is the word for the guard.
    fn end(&mut self, what: &str) {
        if let Some((mut guard, mut input)) = self.running.take() {
            self.signal("CONT");
            let _ended = writeln!(input, "{what}");
            drop(input);
            guard.wait().unwrap();
            // Absent if the guard has removed the folder.
            let _absent = fs::remove_file(self.folder.join("pid"));
        }
    }

    fn signal(&self, name: &str) {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        let pid = pid.trim();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        // A process may have ended.
        let _ended = Command::new("kill")
            .args(["-s", name, pid])
            .args(children.split_whitespace())
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("remove");
        // The guard has removed the folder, if the server was running.
        let _absent = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a statement at an address.
pub async fn execute(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A command for a program of PostgreSQL. They refuse to run as root, so root runs them as another user.
fn unprivileged(program: &str, folder: &Path) -> Command {
    let path = programs().join(program);
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.arg(path).current_dir(folder).env("LC_ALL", "C");
    command
}

/// The folder with the programs of PostgreSQL. Debian keeps most of them out of `PATH`.
fn programs() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<_> = env::split_paths(&path).collect();
        let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut installed: Vec<_> = installed.map(|entry| entry.path().join("bin")).collect();
        installed.sort_by_key(|folder| {
            folder.components().nth_back(1).map(|version| version.as_os_str().to_owned())
        });
        folders.extend(installed.into_iter().rev());
        let found = folders.into_iter().find(|folder| folder.join("initdb").exists());
        found.expect("PostgreSQL is installed (by `make test`)")
    })
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives a folder to the user who runs the servers.
fn give_away(folder: &Path) {
    if is_root() {
        let given = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder).status();
        assert!(given.unwrap().success());
    }
}
