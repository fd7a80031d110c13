//! Integration tests, compiled as one binary so that it is linked once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

// What the operator is told of waves of joins.
mod anomalies;
// The JSON API over HTTP: names, fields, statuses and headers.
mod api;
// The archive of counts.
mod archive;
// Imports between modules, and the places of feature gates.
mod architecture;
// The badge as an image, as JSON and as text.
mod badge;
// Cache headers, compression and conditional requests of pages.
mod caching;
// Operation behind a real Caddy with `docs/deploy/Caddyfile`.
mod caddy;
// Reads of only the channels that have changed.
mod changes;
// Channels in several parts: spread over a cluster, counted as one, and lost in part.
mod channel_parts;
// `aforo check` and `aforo health`.
mod check;
// Redis Cluster: spread of channels, failover and moving slots.
mod cluster;
// The contract of all stores, run on every store.
mod contract;
// How long caches may keep counts.
mod count_caching;
// Typical bugs of viewer counters.
mod counting_regressions;
// The database: its contract, its faults, and databases that can't be used.
mod database;
// `.env.example` and `docs/deploy` match the program.
mod deploy;
mod direct_calls;
// Documents match the code; their links and commands work.
mod documents;
// Faults of real Redis servers: killed, emptied, paused, out of memory, demoted.
mod faults;
// Static files: builds, cache headers and range requests.
mod files;
// Following a channel over HTTP.
mod follow;
// The figures of present broadcasts on streams.
mod figures;
// Property tests of all parsers of untrusted input.
mod fuzz;
// Invalid input: each case gets its error and changes no count.
mod hardening;
// Lists of live channels, and the player.
mod home;
// All pages are valid HTML by the checker of the HTML standard.
mod html;
// HTTP connections: limits, timeouts and shutdown.
mod http_connections;
// Secrecy of viewer and session ids: nobody can end the session of another viewer.
mod id_secrecy;
// The files for Kubernetes.
mod kubernetes;
// Limits per address and per node.
mod limits;
// The live signal: its store, calls, pages, and real video servers.
mod live_signal;
// Several nodes over one Redis: killed and cut-off nodes, and nodes of two versions.
mod multi_node;
// Operation behind a real nginx with `docs/deploy/nginx.conf`.
mod nginx;
// Health endpoints, metrics and logs.
mod observability;
// How to embed a channel page, for blogs and forums.
mod oembed;
// The OpenAPI document matches the code.
mod openapi;
// Cross-origin requests and frame policies.
mod origins;
// The overlay for OBS.
mod overlay;
// Rendered pages.
mod pages;
// A server process that is stopped for a while.
mod pauses;
// Malformed HTTP requests, as raw bytes.
mod raw;
// Recording by real nodes: its cost, the age of the figures, and nodes that end.
mod recording;
// Connections to Redis: TLS, users, unix sockets, databases and errors.
mod redis_connections;
// The log of renewals of a busy node.
mod renewal_log;
// The shortcut for heartbeats in the script that writes.
mod renewals;
// Request ids and the request log.
mod request_log;
// Costs of many viewers, channels and streams.
mod scale;
// Broadcasts of a known script.
mod scripted;
// Shared test vectors for rules that exist in Rust and in TypeScript.
mod sequences;
// The end of a node while its store is away.
mod shutdown;
// Invalid settings and their error messages.
mod settings;
// The event stream over HTTP.
mod stream;
// Servers, clients and helpers for all tests.
mod support;
// Tickets: who a viewer is, if the site says so.
mod tickets;
// TLS and the reload of certificates.
mod tls;
// `aforo top` in a terminal, and as text.
mod top;
// Traces, as a collector gets them.
mod traces;
// Upstash: its protocol, errors and number of commands.
mod upstash;
// The statistics of channels.
mod statistics;
mod statistics_page;
// Webhooks: events, deliveries, retries and the addresses that they may reach.
mod webhooks;
// The element for other sites.
mod widget;
