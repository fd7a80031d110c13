//! `aforo top`: shows a running node in the terminal, from its public endpoints: live channels, rates, streams, store
//! and database.
//!
//! - `scrape` reads the text of `/metrics`;
//! - `state` keeps what is shown: samples, rates, the order of the channels;
//! - `view` draws it, for a terminal and as plain text;
//! - `node` asks the node;
//! - `terminal` reads keys and draws each second.
//!
//! Only the last two do I/O.

mod node;
mod scrape;
mod state;
mod terminal;
mod view;

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use self::{node::Node, state::Top};
use super::config::{Config, TopTask};

/// The time between two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// The width of the plain text, in characters.
const TEXT_WIDTH: usize = 100;

/// Shows the node until the user ends it. Without a terminal, or with `--once`, it prints what the node did within a
/// second, and ends.
///
/// # Errors
/// When the address is unusable, the terminal fails, or the node does not answer and its text was to be printed.
pub fn run(
    runtime: &tokio::runtime::Runtime,
    config: &Config,
    TopTask { url, once }: &TopTask,
) -> Result<(), String> {
    let node = Node::new(config, url.as_ref())?;
    // A terminal that cannot move its cursor names itself so.
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if *once || is_dumb || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return runtime.block_on(print(&node));
    }
    let has_color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    terminal::run(runtime, node, has_color).map_err(|error| format!("the terminal fails: {error}"))
}

/// Takes two samples and prints them. Rates need two.
async fn print(node: &Node) -> Result<(), String> {
    let mut top = Top::new(node.name());
    let start = Instant::now();
    for is_second in [false, true] {
        if is_second {
            sleep(INTERVAL).await;
        }
        let sample = node.sample().await;
        top.take(sample, start.elapsed());
        if let Some(fault) = top.fault() {
            return Err(format!("{}: {fault}", node.name()));
        }
    }
    let text = view::text(&top, TEXT_WIDTH);
    match io::stdout().write_all(text.as_bytes()) {
        // The reader wanted no more, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| error.to_string()),
    }
}
