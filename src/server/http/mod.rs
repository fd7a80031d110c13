//! The HTTP interface: routes, calls and pages.
//!
//! - Checks of every request: [`preflight`], [`request_id`].
//! - Checks of the calls that change something: [`cors`], [`bots`], [`access`].
//! - Calls: [`viewers`], [`counts`], [`follows`], [`signals`], [`hooks`], [`statistics`], [`anomalies`], [`stream`],
//!   [`badge`], [`oembed`], [`health`], [`openapi`]. [`server_fn`] reads the arguments of server functions and runs them;
//!   [`turns`] lets each address read statistics one by one. [`problem`] turns errors into responses; [`caching`] decides
//!   what caches may keep. `extract` and [`query`] take what handlers need from requests, and [`json`] writes long answers.
//! - Pages and files: [`pages`], [`statistics_page`], [`html`], [`static_files`].
//! - [`router`] assembles the application; [`state`] holds the state of its handlers.

pub mod access;
pub mod anomalies;
pub mod badge;
pub mod bots;
pub mod caching;
pub mod cors;
pub mod counts;
pub mod direct;
mod extract;
pub mod follows;
pub mod health;
pub mod hooks;
pub mod html;
pub mod json;
pub mod oembed;
pub mod openapi;
pub mod pages;
pub mod preflight;
pub mod problem;
pub mod query;
pub mod request_id;
pub mod router;
pub mod server_fn;
pub mod signals;
pub mod state;
pub mod static_files;
pub mod statistics;
pub mod statistics_page;
pub mod stream;
pub mod turns;
pub mod viewers;
