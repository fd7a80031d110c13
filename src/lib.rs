//! Aforo counts who is watching each live channel of a streaming site and shows the number on every page.
//!
//! What is compiled depends on the features and, without any, on the target:
//!
//! | features | for | what there is |
//! |---|---|---|
//! | `ssr` (default) | the server | everything but the entry point of the browser half |
//! | `hydrate` | the browser half of our pages, as WebAssembly | [`islands`], and the entry point that is exported as `hydrate` |
//! | none | other Leptos apps, however they render | [`components`], [`hooks`] and [`domain`]; nothing is exported, no styles are needed |
//!
//! Other apps say `default-features = false`. In WebAssembly components and hooks act; compiled for anything else, where
//! an app renders its pages, they do nothing but render. `docs/embedding.md` shows how to use them.
//!
//! Imports flow one way:
//!
//! ```text
//! every build    components → hooks → { browser, platform } → domain; i18n for texts
//! our pages      app → pages → { islands → components, api }
//! server only    server::boot → http → presence → { store, fanout } → domain
//! ```
//!
//! Whoever reads the code for the first time starts at [`domain::roster`].

#[cfg(any(feature = "ssr", feature = "hydrate"))]
pub mod api;
#[cfg(feature = "ssr")]
pub mod app;
pub mod browser;
pub mod components;
pub mod domain;
pub mod hooks;
pub mod i18n;
#[cfg(any(feature = "ssr", feature = "hydrate"))]
pub mod islands;
#[cfg(feature = "ssr")]
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
