//! The files that browsers load, and the pages.

use std::{collections::HashMap, io, net::SocketAddr, path::Path};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use leptos::{config::LeptosOptions, nonce::Nonce, prelude::provide_context};
use leptos_axum::generate_route_list;

use super::{files, state::AppState};
use crate::{
    app::{App, shell},
    domain::ChannelId,
};

/// What Leptos needs to know to name the files in the pages.
///
/// # Errors
/// When the files of the browser half can't be read.
pub fn leptos_options(addr: SocketAddr, site_root: &Path) -> io::Result<LeptosOptions> {
    let build = files::current_build(site_root)?;
    Ok(LeptosOptions::builder()
        .output_name("aforo")
        .site_root(site_root.to_string_lossy().into_owned())
        .site_pkg_dir(format!("{}/{build}", files::PACKAGE))
        .site_addr(addr)
        .build())
}

/// Files and pages. A file of the site root wins over a channel of the same name.
///
/// # Errors
/// When the site root can't be read.
pub fn routes(site_root: &Path) -> io::Result<Router<AppState>> {
    let mut router = files::routes(site_root)?;
    // The pages' own list of routes; making it also readies Leptos's executor.
    for listing in generate_route_list(App) {
        router = router.route(listing.path(), get(page));
    }
    Ok(router)
}

/// Renders whatever page is at the request's path, whole: without JavaScript it has to be complete too. Where there is
/// none it is the page that says so, with 404.
pub async fn page(State(state): State<AppState>, request: Request) -> Response {
    if let Some(channel) = asked_for(request.uri()) {
        return Redirect::to(&format!("/{channel}")).into_response();
    }
    let is_embed = request.uri().path().starts_with("/embed/");
    let framed_by = if is_embed { state.embed_frame_ancestors.as_str() } else { "'none'" };
    let nonce = Nonce::new();
    let policy = policy(&nonce, framed_by);
    let (presence, follows, leptos) = (state.presence.clone(), state.follows.clone(), state.leptos.clone());
    let template = state.stream_url_template.clone();
    let context = move || {
        provide_context(presence.clone());
        provide_context(follows.clone());
        if let Some(template) = template.clone() {
            provide_context(template);
        }
        provide_context(nonce.clone());
    };
    let render = leptos_axum::render_app_async_with_context(context, move || shell(leptos.clone()));
    ([(header::CONTENT_SECURITY_POLICY, policy)], render(request).await).into_response()
}

/// What a page may load: from here, and the one script that has the nonce. Streams are played from any secure place.
fn policy(nonce: &Nonce, framed_by: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data: https:; media-src 'self' blob: https:; connect-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors {framed_by}"
    )
}

/// The channel that the form of the home page asks for.
fn asked_for(uri: &Uri) -> Option<ChannelId> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri).ok()?;
    (uri.path() == "/").then(|| ChannelId::parse(query.get("channel")?.trim()).ok())?
}
