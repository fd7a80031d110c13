//! The load kit: measures the performance of the server. `make bench` runs it; `aforo-load --help` lists the scenarios.
//!
//! Principles:
//! - It measures the deployed program from outside: over HTTP, and with the statistics of Linux and Redis.
//! - The tool and the server share the machine. The important figures are therefore memory, and work per second of CPU
//!   time of the server and its Redis. The report also has the CPU time of the tool and of other processes.
//! - Comparable servers are measured in the same run. Every round starts new processes; figures are medians with their
//!   range.
//! - The run fails if a call has no 2xx status or a stream misses an event.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;

mod bare;
mod calls;
mod carried;
mod conn;
mod crowd;
mod goals;
mod hold;
mod loops;
mod meter;
mod nchan;
mod process;
mod procfs;
mod raw;
mod redis;
mod report;
mod scenarios;
mod stats;
mod target;
mod visit;
mod wire;

use self::{process::Scratch, report::Report, target::Starter};

/// The allocator of the server under test. The bare axum server, which this program contains, must not differ by it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Every error ends the run with a message.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures the server.
#[derive(Parser)]
#[command(name = "aforo-load", max_term_width = 100)]
struct Options {
    /// The program under test
    #[arg(long, global = true, default_value = "target/release/aforo")]
    server: PathBuf,
    /// The files for browsers
    #[arg(long, global = true, default_value = "target/site")]
    site: PathBuf,
    /// Appends the figures of each round to a file, as lines of JSON
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Calls per second and per second of CPU time: closed loop
    Rates(scenarios::rates::Rates),
    /// What a ticket adds to a join: closed loop
    Tickets(scenarios::tickets::Tickets),
    /// Latency of heartbeats at a steady rate: open loop
    Latency(scenarios::latency::Latency),
    /// Memory and CPU time of open streams
    Streams(scenarios::streams::Streams),
    /// Time from a beat to the last of many streams
    Fanout(scenarios::fanout::Fanout),
    /// Memory in Redis per viewer
    Memory(scenarios::memory::Memory),
    /// The cost of a count in a large channel
    Million(scenarios::million::Million),
    /// The counts of many channels at once
    Bulk(scenarios::bulk::Bulk),
    /// Load on Redis while nothing happens
    Quiet(scenarios::quiet::Quiet),
    /// Time until counts are restored after Redis is emptied
    Wipe(scenarios::wipe::Wipe),
    /// The cost of recording, its size in the database, and the time of a chart
    History(scenarios::history::History),
    /// Performance of Redis alone
    Redis(scenarios::redis_alone::RedisAlone),
    /// Checks that all resources are released after many connections of all kinds
    Soak(scenarios::soak::Soak),
    /// A bounded run of all scenarios except soak (default)
    All,
    #[command(hide = true)]
    Hold(hold::Hold),
    #[command(hide = true)]
    Carry(carried::Carry),
    #[command(hide = true)]
    Bare { addr: std::net::SocketAddr },
    #[command(hide = true)]
    Raw { addr: std::net::SocketAddr },
}

fn main() -> std::process::ExitCode {
    match run(Options::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aforo-load: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let Options { server, site, out, command } = options;
    let command = match command {
        Some(Command::Hold(hold)) => return hold::run(hold),
        Some(Command::Carry(carry)) => return carried::run(&carry),
        Some(Command::Bare { addr }) => return bare::serve(addr),
        Some(Command::Raw { addr }) => return raw::serve(addr),
        command => command.unwrap_or(Command::All),
    };
    let mut report = Report::new(out.as_deref())?;
    let place = report.place(&server)?;
    eprintln!("{place}");
    let starter = Starter { server, site, scratch: Scratch::make()? };
    let done = scenarios::run(&command, &starter, &mut report);
    // Prints the figures so far even after an error.
    println!("{place}\n{}", report.text());
    done
}
