//! Child processes for a measurement, on free ports of this machine. Dropping a [`Process`] ends it.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::Result;

/// The timeout for the start of a process.
const PATIENCE: Duration = Duration::from_secs(20);

/// The timeout for a graceful exit.
const GRACE: Duration = Duration::from_secs(3);

/// A running server process.
pub struct Process {
    pub addr: SocketAddr,
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program. Its output is written to `log`.
    pub fn start(name: &str, command: &mut Command, addr: SocketAddr, log: &Path) -> Result<Self> {
        let file = fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { addr, child, name: name.to_owned(), log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `is_up` returns true.
    pub fn wait_until(&mut self, is_up: impl Fn(SocketAddr) -> bool) -> Result<()> {
        let since = Instant::now();
        while !is_up(self.addr) {
            if let Some(status) = self.child.try_wait()? {
                let output = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} has exited: {status}\n{output}", self.name).into());
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{} did not start in time", self.name).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    /// Sends SIGTERM first, since some processes must end their children (the workers of nginx would outlive it), and
    /// SIGKILL after the timeout.
    fn drop(&mut self) {
        let sent = Command::new("kill").arg(self.pid().to_string()).status();
        let since = Instant::now();
        while sent.is_ok() && since.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        // Usually the process has already exited.
        let _exited = self.child.kill();
        let _exited = self.child.wait();
    }
}

/// An address of this machine that is free at the moment.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Sends one request over a new connection. Returns the head and the body of the response.
pub fn ask(addr: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request)?;
    let mut response = Vec::new();
    let mut piece = [0; 4096];
    while !matches!(crate::wire::Response::parse(&response), Ok(Some(_))) {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => response.extend_from_slice(&piece[..read]),
        }
    }
    Ok(response)
}

/// A temporary folder for the files of one run. Dropping it deletes the folder.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn make() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("aforo-load-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Files that cannot be removed are left to the system.
        let _error = fs::remove_dir_all(&self.0);
    }
}

/// The first line of output of a program, for versions in the report.
pub fn first_line(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell script that starts a child, and ends it on SIGTERM.
    const PARENT: &str = "sleep 600 & trap 'kill $!; exit' TERM; echo $! > child; wait";

    #[test]
    fn children_of_a_process_end_with_it() {
        let scratch = Scratch::make().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", PARENT]).current_dir(scratch.path(""));
        let addr = free_address().unwrap();
        let mut parent = Process::start("sh", &mut command, addr, &scratch.path("log")).unwrap();
        let child = || fs::read_to_string(scratch.path("child")).unwrap_or_default().trim().to_owned();
        parent.wait_until(|_| !child().is_empty()).unwrap();
        assert!(is_alive(&child()));
        drop(parent);
        let since = Instant::now();
        while is_alive(&child()) {
            assert!(since.elapsed() < PATIENCE, "the child outlives its parent");
            sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: &str) -> bool {
        // A process that has ended may still be a zombie.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }
}
