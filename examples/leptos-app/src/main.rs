//! A client-rendered app that shows the badge: on a page for each channel, and on a page whose channel changes.
//!
//! The requests go to `/api/viewer/…` on the app's own origin. A proxy must pass them to Aforo.

use aforo::{
    components::{EmbedViewerTracker, PageRole, ViewerCounter},
    domain::ChannelId,
    i18n::Locale,
};
use leptos::{either::Either, prelude::*};
use leptos_router::{
    components::{A, Route, Router, Routes},
    hooks::use_params_map,
    path,
};

fn main() {
    leptos::mount::mount_to_body(App);
}

#[component]
fn App() -> impl IntoView {
    view! {
        <Router>
            <Routes fallback=|| "Not found">
                <Route path=path!("/") view=Links />
                <Route path=path!("/watch/:channel") view=Watch />
                <Route path=path!("/turn") view=Turn />
            </Routes>
        </Router>
    }
}

#[component]
fn Links() -> impl IntoView {
    view! {
        <nav>
            <A href="/">"Home"</A>
            " "
            <A href="/watch/ana.tv">"ana.tv"</A>
            " "
            <A href="/watch/eva.tv">"eva.tv"</A>
            " "
            <A href="/watch/no%20channel">"no channel"</A>
            " "
            <A href="/turn">"any"</A>
        </nav>
    }
}

/// The channel of the route. For an invalid name the page shows an error instead of a badge and sends no requests.
#[component]
fn Watch() -> impl IntoView {
    let params = use_params_map();
    let channel = Memo::new(move |_| ChannelId::parse(&params.read().get("channel").unwrap_or_default()));
    let badge = move || match channel.get() {
        Ok(channel) => {
            Either::Left(view! { <ViewerCounter channel locale=Locale::En role=PageRole::Viewer /> })
        }
        Err(error) => Either::Right(view! { <p role="alert">{error.to_string()}</p> }),
    };
    view! {
        <Links />
        {badge}
    }
}

/// The channel from an input field. The signal changes, and the components stay mounted.
#[component]
fn Turn() -> impl IntoView {
    let (channel, set_channel) = signal(ChannelId::parse("ana.tv").expect("a valid name"));
    let (error, set_error) = signal(None);
    let switch_channel = move |name: String| match ChannelId::parse(&name) {
        Ok(channel) => {
            set_channel.set(channel);
            set_error.set(None);
        }
        Err(error) => set_error.set(Some(error.to_string())),
    };
    view! {
        <Links />
        <main>
            <input aria-label="Channel" on:change:target=move |event| switch_channel(event.target().value()) />
            <EmbedViewerTracker channel />
            <ViewerCounter channel locale=Locale::En role=PageRole::CountedElsewhere />
            <p role="alert">{error}</p>
        </main>
    }
}
