//! Everything that is reached by HTTP: the routes, what each call takes and answers, and the pages.
//!
//! [`preflight`], [`request_id`], [`bots`], [`cors`] look at every request; [`caller`] is who calls; [`viewers`], [`counts`],
//! [`follows`], [`stream`], [`badge`], [`health`], [`openapi`] are calls; [`pages`], [`html`], [`static_files`] are what browsers
//! load; [`router`] puts them together.

pub mod badge;
pub mod bots;
pub mod caller;
pub mod cors;
pub mod counts;
pub mod follows;
pub mod health;
pub mod html;
pub mod openapi;
pub mod pages;
pub mod preflight;
pub mod problem;
pub mod request_id;
pub mod router;
pub mod state;
pub mod static_files;
pub mod stream;
pub mod viewers;
