//! Aforo counts who is watching each live channel of a streaming site and shows the number on every page.
//!
//! One crate, two halves: the server renders pages, takes beats and streams counts (feature `ssr`); the browser brings
//! the islands of those pages to life (feature `hydrate`, WebAssembly). Imports flow one way:
//!
//! ```text
//! both halves    app → pages → components → hooks → { api, platform } → domain
//! server only    server::boot → router → { calls, reads, sse, health, site } → presence → { store, fanout } → domain
//! ```
//!
//! Whoever reads the code for the first time starts at [`domain::roster`].

pub mod api;
pub mod app;
pub mod components;
pub mod domain;
pub mod hooks;
pub mod pages;
pub mod platform;
#[cfg(feature = "ssr")]
pub mod server;

/// The browser's entry point: the page's script calls it, then brings each island to life.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    // Releases stop at a panic without a message: what it takes to write one is a tenth of what browsers load.
    if cfg!(debug_assertions) {
        console_error_panic_hook::set_once();
    }
    leptos::mount::hydrate_islands();
}
