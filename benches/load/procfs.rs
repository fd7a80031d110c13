//! What processes cost, as Linux tells it under `/proc`.

use std::{fs, io};

/// How many ticks of processor time `/proc` counts in a second; the same on all of Linux.
const TICKS: f64 = 100.0;

/// The processor time that a process has used since its start, in seconds.
pub fn cpu_of(pid: u32) -> io::Result<f64> {
    cpu(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or_else(|| malformed("stat"))
}

/// The memory of a process that is in RAM, in bytes. The kernel's own for its sockets is not in it.
pub fn resident(pid: u32) -> io::Result<u64> {
    rss(&fs::read_to_string(format!("/proc/{pid}/status"))?).ok_or_else(|| malformed("status"))
}

/// How many files and sockets a process has open.
pub fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// The processor time that the whole machine has used, in seconds.
pub fn cpu_of_machine() -> io::Result<f64> {
    busy(&fs::read_to_string("/proc/stat")?).ok_or_else(|| malformed("stat"))
}

/// The processes that a process has started.
pub fn children(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = fs::read_to_string(thread?.path().join("children"))?;
        children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Processor and memory of this machine, in words.
pub fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = value(&processors, "model name").unwrap_or("processors");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = value(&memory, "MemTotal").and_then(kilobytes).unwrap_or_default();
    format!("{count} × {model}, {:.0} GiB", memory as f64 / f64::from(1 << 30))
}

fn cpu(stat: &str) -> Option<f64> {
    // The second field is the program's name in parentheses and may hold anything.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS)
}

fn rss(status: &str) -> Option<u64> {
    kilobytes(value(status, "VmRSS")?)
}

/// All but what is spent idle and waiting for disks; what guests of this machine use is in `user` already.
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
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/…/{file} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_whatever_the_program_is_called() {
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
    fn waiting_is_not_work() {
        assert_eq!(busy("cpu  100 20 30 4000 500 6 44 70 0 0\ncpu0 1 1 1 1\n"), Some(2.0));
        assert_eq!(busy("cpu0 1 2 3"), None);
    }

    #[test]
    fn this_process_is_found() {
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
