//! Why the server did not start, or a subcommand failed. Each error has a message for the operator and an exit status.

use std::{io, net::SocketAddr};

use crate::server::{
    config::SettingsError, database, listen::TlsError, redis::OpenError, site::Site, store::Difference,
    webhooks::sender::SetUpError,
};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration is invalid.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A Redis address is invalid. The message does not contain it, because it may hold a password.
    #[error("invalid Redis address")]
    Store(#[from] OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] database::OpenError),
    /// The other nodes of the store have another setting.
    #[error(transparent)]
    Difference(#[from] Difference),
    /// The site cannot be read, or holds no build.
    #[error("cannot read the site files from {path}: {source}; run `make site`, or set LEPTOS_SITE_ROOT")]
    Site {
        /// The site.
        path: String,
        /// The error of reading it.
        source: io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The configured address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error("TLS_CERT, TLS_KEY: {0}")]
    Tls(#[from] TlsError),
    /// Webhooks cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] SetUpError),
    /// The test event was not delivered.
    #[error("not delivered: {0}")]
    Undelivered(String),
    /// `aforo check` found problems.
    #[error("the server would not work:{}", .0.iter().map(|problem| format!("\n  - {problem}")).collect::<String>())]
    Check(Vec<String>),
    /// `aforo health` got no answer, or a bad one.
    #[error("{0}")]
    NotAlive(String),
    /// `aforo top` got no answer, or cannot use the terminal.
    #[error("{0}")]
    Top(String),
    /// The export of traces cannot start.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Traces(String),
    /// A call to the system failed.
    #[error("system error: {0}")]
    System(#[from] io::Error),
}

impl BootError {
    /// The error of reading the site.
    pub(super) fn site(site: &Site, source: io::Error) -> Self {
        Self::Site { path: site.to_string(), source }
    }

    /// Prints the error and returns the exit status: 2 for invalid settings and flags, for a database that can't be used
    /// and for the problems that a check found, 1 for other errors. Help and version go to standard output with status 0.
    #[must_use]
    pub fn report(&self) -> u8 {
        match self {
            Self::Settings(SettingsError::Usage(usage)) => {
                // A closed output is not an error.
                let _closed = usage.print();
                u8::try_from(usage.exit_code()).unwrap_or(2)
            }
            other => {
                eprintln!("aforo: {other}");
                let is_setting = matches!(
                    other,
                    Self::Settings(_) | Self::Database(_) | Self::Difference(_) | Self::Check(_)
                );
                if is_setting { 2 } else { 1 }
            }
        }
    }
}
