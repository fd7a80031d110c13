//! The HTML document around every page, and the routes.

use leptos::{config::LeptosOptions, either::Either, prelude::*};
use leptos_meta::{MetaTags, provide_meta_context};
use leptos_router::{
    components::{Route, Router, Routes},
    path,
};

use crate::pages::{
    ChannelPage, EmbedPage, HomePage, NotFoundPage, OverlayHead, OverlayPage, StatsPage,
    request::{use_is_overlay, use_locale},
};
pub use crate::pages::{
    EmbedSize, SiteOrigin, StatsLink, TicketsRequired, embed_code, request::is_overlay, stats,
};

/// The HTML document around a page. Pages include their own scripts.
#[must_use]
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let styles = format!("/{}/{}.css", options.site_pkg_dir, options.output_name);
    // Pages with islands need the options for the paths of the browser half's files.
    provide_context(options);
    let head = if use_is_overlay() {
        Either::Left(view! { <OverlayHead /> })
    } else {
        Either::Right(view! {
            <meta name="color-scheme" content="light dark" />
            <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
            <link rel="stylesheet" href=styles />
        })
    };
    view! {
        <!DOCTYPE html>
        <html lang=use_locale().as_str()>
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                {head}
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

/// The routes of the pages.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    view! {
        <Router>
            <Routes fallback=NotFoundPage>
                <Route path=path!("/") view=HomePage />
                <Route path=path!("/:channel") view=ChannelPage />
                <Route path=path!("/embed/:channel") view=EmbedPage />
                <Route path=path!("/overlay/:channel") view=OverlayPage />
                // After the other paths of two parts, which take precedence.
                <Route path=path!("/:channel/stats") view=StatsPage />
            </Routes>
        </Router>
    }
}
