//! Tests from outside the crate; one binary, so that it is linked once.
//!
//! - `architecture`: who may import whom, and where the feature gates are.
//! - `api`: the calls over HTTP.
//! - `badge`: the count as an image and as JSON.
//! - `caching`: who may keep which answer for how long, and what is sent again.
//! - `caddy`, `nginx`: behind real ones, with the configurations in `docs/deploy`.
//! - `cluster`, `upstash`: what is particular to those stores.
//! - `connections`: ways to Redis (TLS, users, sockets, databases), and wrong ones.
//! - `contract`: what every store promises, run on every store.
//! - `counting`: ways in which counters elsewhere have gone wrong.
//! - `deploy`: what operators copy, held to the program.
//! - `documents`: what they promise, held to the code; their links and commands.
//! - `faults`: real Redis servers that are killed, emptied, paused, filled and demoted.
//! - `files`: what browsers load, and of which build.
//! - `fuzz`: every parser of what strangers send, given whatever there is.
//! - `follow`: who follows what, wherever that is kept.
//! - `home`: what is live now; players.
//! - `html`: pages, held to the HTML standard by its checker.
//! - `nodes`: several programs of ours, of which one is killed.
//! - `openapi`: the description of the calls, held to the code.
//! - `pages`: what the server renders.
//! - `raw`: requests as bytes.
//! - `settings`: those that are wrong, and the program's word on them.
//! - `scale`: what many viewers, channels and streams cost.
//! - `requests`: their names, and the log.
//! - `stream`: the event stream over HTTP.
//! - `trust`: whose ids are seen where, and who may remove whom.
//! - `hardening`: input that no client of ours sends, each with the reason for it.
//! - `widget`: the element for other sites.
//! - `support`: what the others start and speak with.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod architecture;
mod badge;
mod caching;
mod caddy;
mod cluster;
mod contract;
mod counting_regressions;
mod deploy;
mod documents;
mod faults;
mod files;
mod follow;
mod fuzz;
mod hardening;
mod home;
mod html;
mod http_connections;
mod id_secrecy;
mod limits;
mod multi_node;
mod nginx;
mod observability;
mod openapi;
mod origins;
mod pages;
mod raw;
mod redis_connections;
mod request_log;
mod scale;
mod sequences;
mod settings;
mod stream;
mod support;
mod tls;
mod upstash;
mod widget;
