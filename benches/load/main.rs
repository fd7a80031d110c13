//! The load kit: what the server can do, in figures. `make bench` runs it; `aforo-load --help` names all of it.
//!
//! How it stays honest:
//! - It measures the program that is deployed, from outside: over HTTP, and by what Linux and Redis tell of it.
//! - The tool and the server share the machine. So what counts is work per second of the server's (and its Redis's)
//!   processor time, and memory; the tool's own time and that of others is told beside it.
//! - Peers are measured in the same run. Every round starts fresh processes; figures are medians with their range.
//! - A call that is not answered with 2xx, and a stream that misses an event, end the run.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod bare;
mod calls;
mod conn;
mod crowd;
mod goals;
mod hold;
mod loops;
mod meter;
mod nchan;
mod process;
mod procfs;
mod redis;
mod report;
mod scenarios;
mod stats;
mod target;
mod visit;
mod wire;

use self::{process::Scratch, report::Report, target::Starter};

/// Whatever is wrong ends the run, with a sentence.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Measures the server.
#[derive(Parser)]
#[command(name = "aforo-load", max_term_width = 100)]
struct Options {
    /// The program under test
    #[arg(long, global = true, default_value = "target/release/aforo")]
    server: PathBuf,
    /// Its files for browsers
    #[arg(long, global = true, default_value = "target/site")]
    site: PathBuf,
    /// Appends each round's figures to a file, a line of JSON each
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Calls per second and per second of processor time: closed loop
    Rates(scenarios::rates::Rates),
    /// How long a heartbeat takes at a steady rate: open loop
    Latency(scenarios::latency::Latency),
    /// Memory and processor time of open streams
    Streams(scenarios::streams::Streams),
    /// From a beat to the last of many streams
    Fanout(scenarios::fanout::Fanout),
    /// Memory in Redis per viewer
    Memory(scenarios::memory::Memory),
    /// The cost of a count in a large channel
    Million(scenarios::million::Million),
    /// The counts of many channels at once
    Bulk(scenarios::bulk::Bulk),
    /// What a node asks of Redis while nothing happens
    Quiet(scenarios::quiet::Quiet),
    /// How soon counts are whole when Redis is emptied
    Wipe(scenarios::wipe::Wipe),
    /// What Redis alone can do
    Redis(scenarios::redis_alone::RedisAlone),
    /// Whether everything is given back after many connections of all kinds; fails if not
    Soak(scenarios::soak::Soak),
    /// A bounded run of all that measures; the default
    All,
    #[command(hide = true)]
    Hold(hold::Hold),
    #[command(hide = true)]
    Bare { addr: std::net::SocketAddr },
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
        Some(Command::Bare { addr }) => return bare::serve(addr),
        command => command.unwrap_or(Command::All),
    };
    let mut report = Report::new(out.as_deref())?;
    let place = report.place(&server)?;
    eprintln!("{place}");
    let starter = Starter { server, site, scratch: Scratch::make()? };
    let done = scenarios::run(&command, &starter, &mut report);
    // What was measured before something went wrong is worth telling too.
    println!("{place}\n{}", report.text());
    done
}
