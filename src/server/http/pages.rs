//! The pages.
//!
//! A page holds a count of this moment, a nonce, and words in the visitor's language, so no cache may give it to anybody
//! else. It is compressed on the way: there is nothing secret in it, which compression could give away (the attack is
//! known as BREACH). The nonce is in it once and for one answer.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    path::Path,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    handler::Handler,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use leptos::{config::LeptosOptions, nonce::Nonce, prelude::provide_context};
use leptos_axum::generate_route_list;
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::SizeAbove},
};

use super::{html, state::AppState, static_files};
use crate::server::listen::ConnectionInfo;
use crate::{
    app::{App, SiteOrigin, shell},
    domain::{ChannelId, StreamTemplate},
};

/// The least length of a page that is worth compressing: it fits into one packet anyway.
const WORTH_COMPRESSING: u64 = 1_024;

/// Browsers may keep a page and have to ask before they show it again. (`no-store` would keep it out of the back/forward
/// cache of some.)
const OWN_COPY: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What a page depends on apart from its address.
const VARY: HeaderValue = HeaderValue::from_static("accept-language, accept-encoding");

/// What Leptos needs to know to name the files in the pages.
///
/// # Errors
/// When the files of the browser's half can't be read.
pub fn leptos_options(addr: SocketAddr, site_root: &Path) -> io::Result<LeptosOptions> {
    let build = static_files::current_build(site_root)?;
    Ok(LeptosOptions::builder()
        .output_name("aforo")
        .site_root(site_root.to_string_lossy().into_owned())
        .site_pkg_dir(format!("{}/{build}", static_files::PACKAGE))
        .site_addr(addr)
        .build())
}

/// Pages and files.
///
/// # Errors
/// When the site root can't be read.
pub fn routes(site_root: &Path) -> io::Result<Router<AppState>> {
    let mut router = static_files::routes(site_root)?;
    // The pages' own list of routes; making it also readies Leptos's executor.
    for listing in generate_route_list(App) {
        router = router.route(listing.path(), get(page.layer(compression())));
    }
    Ok(router)
}

/// Compresses pages, and nothing that is small. They repeat themselves so much that the fastest way is good enough.
pub fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(WORTH_COMPRESSING))
}

/// Renders whatever page is at the request's path, whole: without JavaScript it has to be complete too. Where there is
/// none it is the page that says so, with 404.
pub async fn page(
    State(state): State<AppState>,
    Extension(link): Extension<ConnectionInfo>,
    request: Request,
) -> Response {
    if let Some(channel) = asked_for(request.uri()) {
        return Redirect::to(&format!("/{channel}")).into_response();
    }
    let is_embed = request.uri().path().starts_with("/embed/");
    let framed_by = if is_embed { state.embed_frame_ancestors.as_str() } else { "'none'" };
    let nonce = Nonce::new();
    let stream = source(state.stream_url_template.as_ref(), request.uri().path());
    let policy = policy(&nonce, framed_by, stream.as_ref());
    let known: Vec<_> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let rendered = render(&state, &link, nonce.clone(), request).await;

    let status = rendered.status();
    let Ok(whole) = to_bytes(rendered.into_body(), usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let html = html::valid(&String::from_utf8_lossy(&whole));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::VARY, VARY);
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if status != StatusCode::OK {
        headers.insert(header::CACHE_CONTROL, static_files::NOT_KEPT);
        return (status, headers, html).into_response();
    }
    headers.insert(header::CACHE_CONTROL, OWN_COPY);
    // A page with a nonce in it is another one each time.
    if !html.contains(nonce.as_inner().as_ref())
        && let Ok(tag) = HeaderValue::try_from(tag_of(&html))
    {
        let is_known = is_known(&known, &tag);
        headers.insert(header::ETAG, tag);
        if is_known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
    }
    (headers, html).into_response()
}

async fn render(state: &AppState, link: &ConnectionInfo, nonce: Nonce, request: Request) -> Response<Body> {
    let (presence, follows, leptos) = (state.presence.clone(), state.follows.clone(), state.leptos.clone());
    let template = state.stream_url_template.clone();
    let origin = origin(state, link, &request);
    let context = move || {
        provide_context(presence.clone());
        provide_context(follows.clone());
        if let Some(template) = template.clone() {
            provide_context(template);
        }
        if let Some(origin) = origin.clone() {
            provide_context(origin);
        }
        provide_context(nonce.clone());
    };
    leptos_axum::render_app_async_with_context(context, move || shell(leptos.clone()))(request).await
}

/// Where the visitor has found this site. A proxy of ours says whether that was by TLS.
fn origin(state: &AppState, link: &ConnectionInfo, request: &Request) -> Option<SiteOrigin> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str))?;
    let is_proxied = state.proxies.include(link.peer().ip());
    let forwarded = request.headers().get("x-forwarded-proto").filter(|_| is_proxied);
    let is_tls = forwarded.map_or(state.speaks_tls, |proto| proto == "https");
    Some(SiteOrigin(format!("{}://{host}", if is_tls { "https" } else { "http" })))
}

/// What a page may load: from here, the one script that has the nonce, and the stream from where it is. (hls.js hands the
/// stream to the video as `blob:`.)
fn policy(nonce: &Nonce, framed_by: &str, stream: Option<&Source>) -> String {
    let connect =
        stream.and_then(|stream| stream.origin.as_ref()).map_or_else(String::new, |at| format!(" {at}"));
    let media = stream.map_or_else(String::new, |_| format!(" media-src 'self' blob:{connect};"));
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:;{media} connect-src 'self'{connect}; base-uri 'none'; form-action 'self'; \
         frame-ancestors {framed_by}"
    )
}

/// Where a page's stream comes from.
struct Source {
    /// `None` if that is this site.
    origin: Option<String>,
}

/// Where the stream on the page at this path comes from, if there is one.
fn source(template: Option<&StreamTemplate>, path: &str) -> Option<Source> {
    let name = path.strip_prefix("/embed/").or_else(|| path.strip_prefix('/'))?;
    let channel = ChannelId::parse(name).ok()?;
    template.map(|template| Source { origin: template.origin(&channel) })
}

/// The channel that the form of the home page asks for.
fn asked_for(uri: &Uri) -> Option<ChannelId> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri).ok()?;
    (uri.path() == "/").then(|| ChannelId::parse(query.get("channel")?.trim()).ok())?
}

/// What stands for a page in `ETag`. It is weak: compressed or not, the page is the same.
fn tag_of(html: &str) -> String {
    let mut hasher = DefaultHasher::new();
    html.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Whether the browser has this page already (`If-None-Match`, RFC 9110, section 13.1.2).
fn is_known(known: &[HeaderValue], tag: &HeaderValue) -> bool {
    let mut tags = known.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.any(|known| matches!(known.trim_ascii(), known if known == b"*" || known == tag.as_bytes()))
}
