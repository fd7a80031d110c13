//! Startup and shutdown: assembles the server from its configuration, serves until a signal, and drains.
//!
//! `services` builds what handlers and background loops share, `loops` starts the loops, and `serve` binds the port, serves
//! and ends all of it. `tasks` is what subcommands do without a server.

mod error;
mod loops;
mod serve;
mod services;
mod tasks;

use std::io;

use tokio::runtime::Runtime;

pub use self::{error::BootError, serve::Server};
use crate::server::{
    config::{self, Draft, Secret, Task},
    health,
    shutdown::shutdown_signal,
    site::Embedded,
    telemetry, top,
    traces::Traces,
};

/// Runs the program: reads the settings, serves, and shuts down on SIGTERM or SIGINT; or does what a subcommand asks.
/// `embedded` is the site inside the program, if it has one.
///
/// # Errors
/// When the server cannot start, or the subcommand fails.
pub fn main(embedded: Option<Embedded>) -> Result<(), BootError> {
    let draft = config::draft(std::env::args_os(), embedded)?;
    with_runtime(|runtime| run(runtime, draft))?
}

/// Runs `work` with a runtime. Does not wait for look-ups of names that are still under way at the end: they can take
/// longer than a shutdown may.
fn with_runtime<T>(work: impl FnOnce(&Runtime) -> T) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = work(&runtime);
    runtime.shutdown_background();
    Ok(result)
}

fn run(runtime: &Runtime, draft: Draft) -> Result<(), BootError> {
    if matches!(draft.config.task, Task::Check) {
        return runtime.block_on(tasks::check(&draft));
    }
    if let Task::DemoHistory(task) = &draft.config.task {
        return runtime.block_on(tasks::demo_history(task));
    }
    // It shows another node, so the settings of this one may be wrong.
    if let Task::Top(task) = &draft.config.task {
        return top::run(runtime, &draft.config, task).map_err(BootError::Top);
    }
    let config = draft.complete()?;
    if matches!(config.task, Task::Health) {
        return runtime.block_on(health::ask(&config)).map_err(BootError::NotAlive);
    }
    let start = |collector: &Secret| Traces::start(collector, runtime.handle().clone());
    let collector = config.otlp_endpoint.as_ref().filter(|_| matches!(config.task, Task::Serve));
    let traces = collector.map(start).transpose().map_err(BootError::Traces)?;
    let _until_the_end = telemetry::init(config.log_format, &config.log, traces.as_ref());
    runtime.block_on(async {
        if let Task::TestWebhook(target) = &config.task {
            return tasks::test_webhook(&config.webhooks, target).await;
        }
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let server = Server::bind(&config).await?.export(traces);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        if config.tickets.lacks_id_secret() {
            tracing::info!("VIEWER_TICKET_ID_SECRET is not set: ids of viewers are made from accounts alone");
        }
        tracing::info!("accepting up to {} connections", server.listener.capacity());
        tracing::info!("serving {scheme}://{}", server.addr());
        server.serve(shutdown_signal()?).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn a_look_up_that_hangs_does_not_hold_up_the_end() {
        let (release, released) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel();
        thread::spawn(move || {
            // As tokio looks up names.
            let work = |runtime: &Runtime| drop(runtime.spawn_blocking(move || released.recv()));
            with_runtime(work).unwrap();
            ended.send(()).unwrap();
        });
        end.recv_timeout(Duration::from_secs(30)).expect("the end");
        drop(release);
    }
}
