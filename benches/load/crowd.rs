//! Many open streams, held by one helper process per node.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{Result, hold::micros, process::Process};

/// The maximum number of streams of one process, below its limit of open files.
pub const PER_PROCESS: u32 = 18_000;

/// The timeout for the delivery of an event to the last stream.
const PATIENCE: Duration = Duration::from_secs(15);

/// The streams to hold on each node.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub streams: u32,
    pub channels: u64,
    pub per_stream: u64,
}

/// Open streams. Dropping it closes them.
pub struct Crowd {
    helpers: Vec<Helper>,
}

struct Helper {
    child: Child,
    commands: ChildStdin,
    responses: Receiver<String>,
}

/// The times at which the streams of one node received a count, in ms since its trigger, sorted.
#[derive(Debug)]
pub struct Receipts {
    pub times: Vec<f64>,
    pub missed: usize,
}

impl Crowd {
    /// Opens the same crowd on each node, and waits for the first count on each stream.
    pub fn open(nodes: &[Process], shape: Shape) -> Result<Self> {
        let mut crowd = Self { helpers: Vec::new() };
        for (node, process) in nodes.iter().enumerate() {
            let offset = u32::try_from(node)? * shape.streams;
            crowd.helpers.push(Helper::start(process.addr, shape, offset)?);
        }
        // One after the other: the nodes share two processors.
        for helper in &mut crowd.helpers {
            helper.command("open")?;
            let response = helper.response(Duration::from_secs(150))?;
            let (open, events) = (response["open"].as_u64(), response["events"].as_u64());
            if open != Some(shape.streams.into()) || open != events {
                return Err(format!("not all {} streams are open: {response}", shape.streams).into());
            }
        }
        Ok(crowd)
    }

    /// The ids of the helper processes.
    pub fn pids(&self) -> Vec<u32> {
        self.helpers.iter().map(|helper| helper.child.id()).collect()
    }

    /// Calls `trigger`, which changes the count to `count`, and waits until every stream has received it.
    pub fn await_count(&mut self, count: u64, trigger: impl FnOnce() -> Result<()>) -> Result<Vec<Receipts>> {
        for helper in &mut self.helpers {
            helper.command(&format!("watch {count}"))?;
            helper.response(PATIENCE)?;
        }
        let start = micros();
        trigger()?;
        let mut receipts = Vec::new();
        for helper in &mut self.helpers {
            let response = match helper.response(PATIENCE) {
                Ok(response) => response,
                Err(_) => {
                    helper.command("stop")?;
                    helper.response(PATIENCE)?
                }
            };
            let at: Vec<u64> = response.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
            let mut times: Vec<f64> =
                at.iter().filter(|at| **at > 0).map(|at| at.saturating_sub(start) as f64 / 1000.0).collect();
            times.sort_by(f64::total_cmp);
            receipts.push(Receipts { missed: at.len() - times.len(), times });
        }
        Ok(receipts)
    }
}

impl Helper {
    fn start(addr: SocketAddr, shape: Shape, offset: u32) -> Result<Self> {
        if shape.streams > PER_PROCESS {
            return Err(format!(
                "at most {PER_PROCESS} streams on one node: a process may not open more files"
            )
            .into());
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["hold", &addr.to_string(), "--streams", &shape.streams.to_string()]);
        command.args([
            "--channels",
            &shape.channels.to_string(),
            "--per-stream",
            &shape.per_stream.to_string(),
        ]);
        command.args(["--offset", &offset.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a helper has no pipes".into());
        };
        let (send, responses) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, commands, responses })
    }

    fn command(&mut self, command: &str) -> Result<()> {
        Ok(writeln!(self.commands, "{command}")?)
    }

    fn response(&mut self, timeout: Duration) -> Result<Value> {
        let line = self.responses.recv_timeout(timeout).map_err(|_| "a helper did not respond in time")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail if the process has already exited.
        let _exited = self.child.kill();
        let _exited = self.child.wait();
    }
}
