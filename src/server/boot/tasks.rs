//! What subcommands do without a server: check the settings, write a demo history, send a test event. Each prints its
//! result to standard output.

use std::io::{self, Write};

use super::error::BootError;
use crate::server::{
    check,
    clock::{Clock, SystemClock},
    config::{DatabaseConfig, DemoHistory, Draft, InvalidConfig, SettingsError},
    database::Database,
    recording::past,
    webhooks::{
        self,
        sender::Outcome,
        settings::{Target, WebhookSettings},
    },
};

/// Prints what the server would do, and what is in its way.
pub(super) async fn check(draft: &Draft) -> Result<(), BootError> {
    let report = check::check(draft).await;
    // A closed output is not an error.
    let _closed = io::stdout().write_all(report.text.as_bytes());
    if report.problems.is_empty() { Ok(()) } else { Err(BootError::Check(report.problems)) }
}

/// Writes the history of `make demo` into a new SQLite file. Prints each channel with the number of its viewers at the
/// end.
///
/// # Errors
/// When the file exists or cannot be written.
pub(super) async fn demo_history(DemoHistory { file, channels }: &DemoHistory) -> Result<(), BootError> {
    if file.exists() {
        let problem = format!("demo-history: {} exists; name a new file", file.display());
        return Err(SettingsError::from(InvalidConfig(vec![problem])).into());
    }
    let database = Database::open(&DatabaseConfig::Sqlite(file.clone())).await?;
    let written = past::write(&database, channels, SystemClock::start().now()).await;
    let viewers = written.map_err(io::Error::other)?;
    database.close().await;
    for (channel, viewers) in channels.iter().zip(viewers) {
        println!("{channel} {viewers}");
    }
    Ok(())
}

/// Sends a test event, and prints what came of it.
pub(super) async fn test_webhook(settings: &WebhookSettings, target: &Target) -> Result<(), BootError> {
    match webhooks::send_test(settings, target).await? {
        Outcome::Delivered(status) => {
            println!("delivered: {} answered {status}", target.host());
            Ok(())
        }
        Outcome::Gone => {
            Err(BootError::Undelivered("410 Gone: the receiver wants no more events".to_owned()))
        }
        Outcome::Failed { reason, .. } => Err(BootError::Undelivered(reason)),
    }
}
