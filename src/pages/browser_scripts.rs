use leptos::{config::LeptosOptions, nonce::use_nonce, prelude::*};

/// The script that starts the islands, from client/src/start.ts. Its header comment is not sent.
const START: &str = include_str!("start.js");

/// The scripts that hydrate the islands of a page. The browser half is loaded at once and started when the browser is
/// idle.
///
/// Only pages with islands contain it, so other pages load no scripts for islands. It replaces Leptos's
/// `HydrationScripts`, which exposes the nonce in an attribute that CSS selectors can read, and doesn't retry when a
/// file fails to load.
#[component]
pub(super) fn BrowserScripts() -> impl IntoView {
    let options = use_context::<LeptosOptions>()?;
    // HTML outside of islands is not hydrated.
    if let Some(context) = Owner::current_shared_context() {
        context.set_is_hydrating(false);
    }
    let file = |extension| format!("/{}/{}.{extension}", options.site_pkg_dir, options.output_name);
    let start = START.split_once("*/").map_or(START, |(_, code)| code.trim());
    let view = view! {
        <link rel="modulepreload" href=file("js") />
        <link rel="preload" href=file("wasm") r#as="fetch" r#type="application/wasm" crossorigin="" />
        <script type="module" nonce=use_nonce()>
            {start}
        </script>
    };
    Some(view.into_any())
}
