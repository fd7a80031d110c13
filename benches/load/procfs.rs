//! Resource usage of processes, from `/proc` of Linux.

use std::{fs, io};

/// Ticks of CPU time per second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

/// The CPU time of a process since its start, in seconds.
pub fn cpu_of(pid: u32) -> io::Result<f64> {
    cpu(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(|| malformed("stat"))
}

/// The resident memory of a process, in bytes. Kernel memory for its sockets is not included.
pub fn resident(pid: u32) -> io::Result<u64> {
    rss(&fs::read_to_string(format!("/proc/{pid}/status"))?).ok_or_else(|| malformed("status"))
}

/// The number of open file descriptors of a process.
pub fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The CPU time of the whole machine, in seconds.
pub fn cpu_of_machine() -> io::Result<f64> {
    busy(&fs::read_to_string("/proc/stat")?).ok_or_else(|| malformed("stat"))
}

/// The child processes of a process. A thread that ends meanwhile is left out.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(list) = fs::read_to_string(thread?.path().join("children")) else { continue };
        children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(children)
}

/// A description of the processors and the memory of this machine.
pub fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&processors, "model name").unwrap_or("processors");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = value(&memory, "MemTotal").and_then(kilobytes).unwrap_or_default();
    format!("{count} × {model}, {:.0} GiB", memory as f64 / f64::from(1 << 30))
}

fn cpu(stat: &str) -> Option<f64> {
    // The second field is the name of the program in parentheses, which may contain spaces and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS)
}

fn rss(status: &str) -> Option<u64> {
    kilobytes(value(status, "VmRSS")?)
}

/// All CPU time except idle and I/O wait. Time of virtual guests is already included in `user`.
fn busy(stat: &str) -> Option<f64> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) as f64 / TICKS)
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start().strip_prefix(':').map(str::trim)
}

fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected format of /proc/…/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_with_any_program_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 150 0 0 0 250 50 9 9 20 0 1 0 100 1 2 3";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(cpu("7 (a"), None);
        assert_eq!(cpu("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(rss("Name:\taforo\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(rss("Name:\taforo\n"), None);
    }

    #[test]
    fn idle_and_waiting_times_are_not_counted() {
        assert_eq!(busy("cpu  100 20 30 4000 500 6 44 70 0 0\ncpu0 1 1 1 1\n"), Some(2.0));
        assert_eq!(busy("cpu0 1 2 3"), None);
    }

    #[test]
    fn the_current_process_is_measured() {
        let me = std::process::id();
        assert!(resident(me).unwrap() > 100_000);
        assert!(descriptors(me).unwrap() > 3);
        assert!(cpu_of(me).unwrap() <= cpu_of_machine().unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(children(me).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
