//! Processes that are started for a measurement, on free ports of this machine. Each ends when it is dropped.

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

/// How long a process may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A running process that listens.
pub struct Process {
    pub addr: SocketAddr,
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program. What it says goes to `log`.
    pub fn start(name: &str, command: &mut Command, addr: SocketAddr, log: &Path) -> Result<Self> {
        let file = fs::File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.map_err(|error| format!("{name} can't be started: {error}"))?;
        Ok(Self { addr, child, name: name.to_owned(), log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it is up.
    pub fn wait_until(&mut self, is_up: impl Fn(SocketAddr) -> bool) -> Result<()> {
        let since = Instant::now();
        while !is_up(self.addr) {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} has ended: {status}\n{said}", self.name).into());
            }
            if since.elapsed() > PATIENCE {
                return Err(format!("{} does not come up", self.name).into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    /// Asks it to end, since some have children of their own to end (nginx's would outlive it), and ends it if it doesn't.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.pid().to_string()).status();
        let since = Instant::now();
        while asked.is_ok() && since.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(10));
        }
        // It has ended by itself, as a rule.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// An address of this machine that nobody listens on just now.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Asks once, over a connection of its own. The answer, head and body.
pub fn ask(addr: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !matches!(crate::wire::Answer::parse(&answer), Ok(Some(_))) {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(answer)
}

/// A folder for the files of one run. It goes when it is dropped.
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
        // What can't be removed is left to the system.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// The first line that a program prints, for what is told about versions.
pub fn says(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that starts another, and ends it when it is asked to end.
    const PARENT: &str = "sleep 600 & trap 'kill $!; exit' TERM; echo $! > child; wait";

    #[test]
    fn what_a_process_has_started_ends_with_it() {
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
            assert!(since.elapsed() < PATIENCE, "it has outlived its parent");
            sleep(Duration::from_millis(10));
        }
    }

    fn is_alive(pid: &str) -> bool {
        // One that has ended may wait for being looked at.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
    }
}
