//! Real Redis servers, each on a free port with its own folder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use redis::{Client, Connection, RedisError, RedisResult};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::PATIENCE;

const SETTINGS: &str = include_str!("../../../docs/settings.md");

/// The databases of the nodes, by what is in the address of their store: a port, or the path of a socket.
static DATABASES: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());

/// Registers the database of all nodes whose store has this in its address.
pub fn share_database(part_of_address: impl Into<String>, file: PathBuf) {
    DATABASES.lock().insert(part_of_address.into(), file);
}

/// The address of the database that all nodes with this store share, if the text contains the address of a store of the
/// tests.
pub fn database_of(text: &str) -> Option<String> {
    let is_named = |part: &str| {
        text.match_indices(part)
            .any(|(at, _)| !text[at + part.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    let databases = DATABASES.lock();
    let (_, file) = databases.iter().find(|(part, _)| is_named(part))?;
    Some(format!("sqlite:{}", file.display()))
}

/// The words of the `ACL SETUSER` line in `docs/settings.md`, with the given password.
pub fn acl_line(password: &str) -> Vec<String> {
    let start = "ACL SETUSER aforo ";
    let line = SETTINGS.lines().find(|line| line.starts_with(start)).expect("docs/settings.md has the line");
    line.split(' ')
        .map(|word| if word == ">password" { format!(">{password}") } else { word.to_owned() })
        .collect()
}

/// A Redis server. Dropping it kills the process.
pub struct RedisServer {
    pub port: u16,
    /// Additional flags.
    pub flags: Vec<String>,
    process: Option<Child>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server without persistence.
    pub async fn start() -> Self {
        let mut server = Self::reserve();
        server.run().await;
        server
    }

    /// Reserves a port for a server without starting it.
    pub fn reserve() -> Self {
        let server =
            Self { port: free_port(), flags: Vec::new(), process: None, folder: TempDir::new().unwrap() };
        share_database(format!(":{}", server.port), server.database());
        server
    }

    /// The SQLite file that all nodes with this server share.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("aforo.db")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts or restarts the server. It loads a dump if there is one.
    pub async fn run(&mut self) {
        self.process = Some(self.spawn());
        let up = async {
            while self.try_connect().is_err() {
                // It ends at once if another process of the tests still holds a copy of a socket on its port.
                if self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some()) {
                    self.process = Some(self.spawn());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("redis-server accepts connections");
    }

    fn spawn(&self) -> Child {
        let port = self.port.to_string();
        Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.flags)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (by `make test`)")
    }

    /// Creates the user in `docs/settings.md`.
    pub fn add_user(&self, password: &str, more: &[&str]) {
        let words = acl_line(password);
        let words: Vec<_> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        self.request::<()>(&words);
    }

    /// Adds a TLS port with a certificate for `localhost` from a new CA. Takes effect at the next start. Returns the
    /// port and the file of the CA certificate.
    pub fn add_tls(&mut self) -> (u16, PathBuf) {
        let (port, path) = (free_port(), |name: &str| self.folder.path().join(name));
        share_database(format!(":{port}"), self.database());
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        fs::write(path("ca.pem"), ca_certificate.pem()).unwrap();
        fs::write(path("server.pem"), certificate.pem()).unwrap();
        fs::write(path("server.key"), key.serialize_pem()).unwrap();
        let port_flag = port.to_string();
        for (flag, value) in [
            ("--tls-port", Path::new(&port_flag)),
            ("--tls-cert-file", &path("server.pem")),
            ("--tls-key-file", &path("server.key")),
            ("--tls-ca-cert-file", &path("ca.pem")),
            ("--tls-auth-clients", Path::new("no")),
        ] {
            self.flags.extend([flag.to_owned(), value.display().to_string()]);
        }
        (port, path("ca.pem"))
    }

    /// Adds a unix socket. Takes effect at the next start. Returns its path.
    pub fn add_socket(&mut self) -> String {
        let path = self.folder.path().join("socket").display().to_string();
        self.flags.extend(["--unixsocket".to_owned(), path.clone()]);
        share_database(&path, self.database());
        path
    }

    /// The names of all keys in a database.
    pub fn keys(&self, database: u8) -> Vec<String> {
        let mut connection = self.try_connect().unwrap();
        redis::cmd("SELECT").arg(database).exec(&mut connection).unwrap();
        redis::cmd("KEYS").arg("*").query(&mut connection).unwrap()
    }

    /// Starts to record all commands.
    pub async fn monitor(&self) -> Monitor {
        let path = self.folder.path().join("monitor");
        let process = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "MONITOR"])
            .stdout(File::create(&path).unwrap())
            .spawn()
            .unwrap();
        let monitor = Monitor { process, path };
        let ready = async {
            while !fs::read_to_string(&monitor.path).unwrap().starts_with("OK") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("redis-cli monitors the server");
        monitor
    }

    /// The process id, if the server is running.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The file that SAVE writes and that the server loads at its start.
    #[allow(dead_code, reason = "tests/stress uses it")]
    pub fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// Whether the server has been started and not killed.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Kills the server without a shutdown.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Suspends the server. Connections stay open and get no answer.
    #[allow(dead_code, reason = "tests/it uses it")]
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes a suspended server. It executes what it was sent meanwhile.
    #[allow(dead_code, reason = "tests/it uses it")]
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().expect("a running server").to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Sends a command and waits for the response.
    pub fn command<T: redis::FromRedisValue>(&self, command: &str) -> T {
        self.request(&command.split(' ').collect::<Vec<_>>())
    }

    /// Like `command`, with arguments that may contain spaces.
    pub fn request<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut request = redis::cmd(words[0]);
        request.arg(&words[1..]);
        request.query(&mut self.try_connect().unwrap()).unwrap()
    }

    /// The number of script calls so far.
    pub fn calls(&self) -> u64 {
        let stats: String = self.command("INFO commandstats");
        let calls = |line: &str| {
            let (command, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let ours = !["info", "ping", "client|setinfo", "client", "hello", "select"].contains(&command);
            numbers.split(',').next()?.parse::<u64>().ok().filter(|_| ours && !command.starts_with("client"))
        };
        // The statistics include the commands inside scripts. Only the calls of scripts themselves are network calls.
        stats.lines().filter(|line| line.contains("eval")).filter_map(calls).sum()
    }

    fn try_connect(&self) -> RedisResult<Connection> {
        let connect = || Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(5));
        // Reads with a time limit are interrupted by the signal that a process has ended.
        let is_interrupted = |error: &RedisError| error.to_string().contains("Interrupted system call");
        let mut connection = loop {
            match connect() {
                Err(error) if is_interrupted(&error) => {}
                result => break result?,
            }
        };
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A recording of the commands that a server receives. Dropping it ends the recording.
pub struct Monitor {
    process: Child,
    path: PathBuf,
}

impl Monitor {
    /// The commands so far, without those inside scripts.
    pub fn commands(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap();
        text.lines().skip(1).filter(|line| !line.contains(" lua] ")).map(str::to_owned).collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A port that is free, and so is its cluster bus port. The ports are below those that the kernel gives to connections, and
/// a test process uses each of them once, so that nothing takes the port before the server does.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const PORTS: u16 = 10_000;
    const CLUSTER_BUS: u16 = 10_000;
    static USED: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(100);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..PORTS {
        let nth = start.wrapping_add(USED.fetch_add(1, Relaxed).into()) % u32::from(PORTS);
        let port = FIRST + u16::try_from(nth).unwrap();
        if is_free(port) && is_free(port + CLUSTER_BUS) {
            return port;
        }
    }
    panic!("no port is free");
}
