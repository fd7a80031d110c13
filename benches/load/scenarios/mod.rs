//! The scenarios, one per file.

pub mod bulk;
pub mod fanout;
pub mod history;
pub mod latency;
pub mod memory;
pub mod million;
pub mod quiet;
pub mod rates;
pub mod redis_alone;
pub mod soak;
pub mod streams;
pub mod tickets;
pub mod wipe;

use clap::Parser;

use crate::{
    Command, Result,
    calls::{Audience, Call},
    loops::{Outcome, Plan, Until, closed},
    report::Report,
    target::{Running, Starter},
};

/// Runs one scenario, or a bounded run of all.
pub fn run(command: &Command, starter: &Starter, report: &mut Report) -> Result<()> {
    match command {
        Command::Rates(rates) => rates.run(starter, report),
        Command::Tickets(tickets) => tickets.run(starter, report),
        Command::Latency(latency) => latency.run(starter, report),
        Command::Streams(streams) => streams.run(starter, report),
        Command::Fanout(fanout) => fanout.run(starter, report),
        Command::Memory(memory) => memory.run(starter, report),
        Command::Million(million) => million.run(starter, report),
        Command::Bulk(bulk) => bulk.run(starter, report),
        Command::Quiet(quiet) => quiet.run(starter, report),
        Command::Wipe(wipe) => wipe.run(starter, report),
        Command::History(history) => history.run(starter, report),
        Command::Redis(alone) => alone.run(starter, report),
        Command::Soak(soak) => soak.run(starter, report),
        Command::All => all(starter, report),
        Command::Hold(_) | Command::Carry(_) | Command::Bare { .. } | Command::Raw { .. } => Ok(()),
    }
}

/// The command lines of the scenarios that `make bench` runs.
const ALL: &[&str] = &[
    "redis",
    "rates --seconds 2",
    "tickets --seconds 2",
    "latency --seconds 3",
    "streams",
    "streams --targets memory --over tls --seconds 5",
    "streams --targets memory --over http2 --seconds 5",
    "fanout --changes 12",
    "memory",
    "million --viewers 200000",
    "bulk",
    "quiet",
    "wipe --rounds 2",
    "history --seconds 10 --channels 100 --hours 1 --days 1",
];

fn all(starter: &Starter, report: &mut Report) -> Result<()> {
    for words in ALL {
        eprintln!("{words}");
        let options = crate::Options::try_parse_from(["aforo-load"].into_iter().chain(words.split(' ')))?;
        if let Some(command) = options.command {
            run(&command, starter, report)?;
        }
    }
    Ok(())
}

/// Long leases, so that viewers count during the whole scenario.
const LONG_LEASES: [(&str, &str); 3] =
    [("VIEWER_TIMEOUT", "1200"), ("VIEWER_HIDDEN_TIMEOUT", "1200"), ("VIEWER_CLEANUP_INTERVAL", "3600")];

/// Sends the joins of all viewers at full speed.
fn fill(running: &Running, audience: Audience) -> Result<Outcome> {
    let next = &mut audience.once(Call::Join);
    let plan = Plan { addr: running.addr(), connections: 64, next };
    let (outcome, (), ()) = closed(plan, Until::Calls(audience.viewers), || Ok(()))?;
    outcome.all_ok()
}
