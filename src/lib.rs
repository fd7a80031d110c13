//! Aforo counts the viewers of each live channel of a streaming site and shows the number on every page.
//!
//! The features decide which parts are compiled. Without features, the target decides how they behave:
//!
//! | features | for | contains |
//! |---|---|---|
//! | `ssr` (default) | the server | everything except the entry point of the browser half |
//! | `embed-site` | the server in one file | the same, and the files for browsers inside the program |
//! | `hydrate` | the browser half of the site's pages, as WebAssembly | [`islands`], and the entry point exported as `hydrate` |
//! | none | other Leptos apps, with any rendering mode | [`components`], [`hooks`] and [`domain`]; exports nothing and needs no styles |
//!
//! Other apps set `default-features = false`. In WebAssembly, components and hooks act. On other targets, where an app
//! renders its pages, they only render. `docs/embedding.md` shows how to use them.
//!
//! Imports go in one direction only:
//!
//! ```text
//! every build    components → hooks → { browser, platform } → domain; i18n for texts
//! site pages     app → pages → { islands → components, api }
//! server only    server::boot → http → presence → { store, fanout } → domain
//! ```
//!
//! Start reading at [`domain::roster`].

#![warn(missing_docs, unreachable_pub)]

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

/// The entry point in the browser. The page's script calls it with the ticket from the address, or an empty text, and
/// then hydrates each island.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate(ticket: String) {
    // Releases panic without a message: the code that formats messages would be a tenth of the download.
    if cfg!(debug_assertions) {
        console_error_panic_hook::set_once();
    }
    platform::keep_ticket(ticket);
    leptos::mount::hydrate_islands();
}

/// The files for browsers inside the program: `target/site` at the time of the build. It expands in `main.rs`, so that a
/// change of these files does not compile the library again.
#[doc(hidden)]
#[cfg(feature = "embed-site")]
#[macro_export]
macro_rules! embedded_site {
    () => {{
        #[derive(::rust_embed::Embed)]
        #[folder = "target/site"]
        struct Files;

        let files = Files::iter().filter_map(|path| {
            let file = Files::get(&path)?;
            let modified = file.metadata.last_modified().unwrap_or_default();
            Some((path.into_owned(), file.data, modified))
        });
        Some($crate::server::site::Embedded::new(files))
    }};
}

/// No files are inside the program.
#[doc(hidden)]
#[cfg(not(feature = "embed-site"))]
#[macro_export]
macro_rules! embedded_site {
    () => {
        None
    };
}
