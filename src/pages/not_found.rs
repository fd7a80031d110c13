use leptos::prelude::*;
use leptos_meta::Title;

use crate::hooks::{use_locale, use_not_found};

/// What there is instead of a page that doesn't exist; answered with 404.
#[component]
pub fn NotFoundPage() -> impl IntoView {
    use_not_found();
    let words = use_locale().words();
    view! {
        <Title text=words.not_found />
        <main class="home">
            <h1 class="home__name">{words.not_found}</h1>
            <p>{words.not_found_hint}</p>
            <p>
                <a href="/">{words.home}</a>
            </p>
        </main>
    }
}
