//! Many open streams, held by as many processes as it takes.

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

/// The most streams of one process, below its limit of open files.
pub const PER_PROCESS: u32 = 18_000;

/// How long the last stream may take to get what is published.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to hold on each node.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub streams: u32,
    pub channels: u64,
    pub per_stream: u64,
}

/// Open streams. They close when it is dropped.
pub struct Crowd {
    helpers: Vec<Helper>,
}

struct Helper {
    child: Child,
    orders: ChildStdin,
    answers: Receiver<String>,
}

/// When the streams of one node got a count, in ms since it was asked for; sorted.
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
        // One after the other: the nodes share two processors with each other.
        for helper in &mut crowd.helpers {
            helper.order("open")?;
            let answer = helper.answer(Duration::from_secs(150))?;
            let (open, events) = (answer["open"].as_u64(), answer["events"].as_u64());
            if open != Some(shape.streams.into()) || open != events {
                return Err(format!("not all of {} streams are open: {answer}", shape.streams).into());
            }
        }
        Ok(crowd)
    }

    /// The processes that hold them.
    pub fn pids(&self) -> Vec<u32> {
        self.helpers.iter().map(|helper| helper.child.id()).collect()
    }

    /// Does something that makes the count so many, and waits until every stream has it.
    pub fn await_count(&mut self, count: u64, trigger: impl FnOnce() -> Result<()>) -> Result<Vec<Receipts>> {
        for helper in &mut self.helpers {
            helper.order(&format!("watch {count}"))?;
            helper.answer(PATIENCE)?;
        }
        let start = micros();
        trigger()?;
        let mut receipts = Vec::new();
        for helper in &mut self.helpers {
            let answer = match helper.answer(PATIENCE) {
                Ok(answer) => answer,
                Err(_) => {
                    helper.order("stop")?;
                    helper.answer(PATIENCE)?
                }
            };
            let at: Vec<u64> = answer.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
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
                "{PER_PROCESS} streams on one node at most: a process may not open more files"
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
        let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a helper without pipes".into());
        };
        let (send, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, orders, answers })
    }

    fn order(&mut self, order: &str) -> Result<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    fn answer(&mut self, patience: Duration) -> Result<Value> {
        let line = self.answers.recv_timeout(patience).map_err(|_| "streams are silent")?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
