//! The server half. Modules in the order in which they stand on each other:
//!
//! [`clock`], [`metrics`], [`supervisor`], [`shutdown`], [`store_error`], [`limits`], [`listen`] → [`config`], [`telemetry`] →
//! [`redis`] → [`store`], [`follows`] → [`fanout`] → [`presence`] → [`http`] → [`boot`].

#![warn(missing_docs)]

pub mod boot;
pub mod clock;
pub mod config;
pub mod fanout;
pub mod follows;
pub mod http;
pub mod limits;
pub mod listen;
pub mod metrics;
pub mod presence;
pub mod redis;
pub mod shutdown;
pub mod store;
pub mod store_error;
pub mod supervisor;
pub mod telemetry;
