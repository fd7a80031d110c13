//! The server half. Each module depends only on modules in the lines above it:
//!
//! - [`backoff`], [`clock`], [`metrics`], [`shutdown`], [`site`], [`spans`], [`store_error`], [`limits`], [`tickets`], [`access`], [`fanout`],
//!   [`history`], [`webhooks::settings`];
//! - [`supervisor`], [`listen`];
//! - [`redis`];
//! - [`config`];
//! - [`traces`]; [`telemetry`], [`store`], [`follows`], [`signals`];
//! - [`database`];
//! - [`presence`];
//! - [`recording`], [`anomalies`];
//! - [`webhooks`];
//! - [`http`];
//! - [`check`], [`health`];
//! - [`top`];
//! - [`boot`].

pub mod access;
pub mod anomalies;
pub mod backoff;
pub mod boot;
pub mod check;
pub mod clock;
pub mod config;
pub mod database;
pub mod fanout;
pub mod follows;
pub mod health;
pub mod history;
pub mod http;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod presence;
pub mod recording;
pub mod redis;
pub mod shutdown;
pub mod signals;
pub mod site;
pub mod spans;
pub mod store;
pub mod store_error;
pub mod supervisor;
pub mod telemetry;
pub mod tickets;
pub mod top;
pub mod traces;
pub mod webhooks;
