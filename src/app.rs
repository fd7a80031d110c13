//! The HTML document around every page, and the routes.

use leptos::{config::LeptosOptions, prelude::*};
use leptos_meta::{MetaTags, provide_meta_context};
use leptos_router::{
    components::{Route, Router, Routes},
    path,
};

use crate::pages::{ChannelPage, EmbedPage, HomePage, NotFoundPage, StatsPage, request::use_locale};
pub use crate::pages::{SiteOrigin, StatsLink, TicketsRequired, stats};

/// The HTML document around a page. Pages include their own scripts.
#[must_use]
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let styles = format!("/{}/{}.css", options.site_pkg_dir, options.output_name);
    // Pages with islands need the options for the paths of the browser half's files.
    provide_context(options);
    view! {
        <!DOCTYPE html>
        <html lang=use_locale().as_str()>
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                <link rel="stylesheet" href=styles />
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
                // After the other paths of two parts, which take precedence.
                <Route path=path!("/:channel/stats") view=StatsPage />
            </Routes>
        </Router>
    }
}
