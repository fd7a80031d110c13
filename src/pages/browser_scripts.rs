use leptos::{config::LeptosOptions, nonce::use_nonce, prelude::*};

/// The script that starts the islands; its head is for those who read it here.
const START: &str = include_str!("start.js");

/// What brings the islands of a page to life: the browser's half, loaded at once and started when the browser is idle.
///
/// It is a part of the pages that have islands, so that the others load none of it. It stands for Leptos's
/// `HydrationScripts`, which shows the nonce in an attribute that every selector can read, and gives up when a file does not
/// load.
#[component]
pub(super) fn BrowserScripts() -> impl IntoView {
    let options = use_context::<LeptosOptions>()?;
    // What is outside of islands is not hydrated.
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
