//! The HTML pages.
//!
//! A page contains the present count, a nonce and texts in the visitor's language, so only the visitor's browser may
//! cache it. Pages are compressed: they contain no secret that compression could reveal (the BREACH attack), and the
//! nonce is valid for one response. They are compressed as a whole, because a compressor takes far more memory than a
//! page, and would wait for a slow client.

use std::{
    collections::HashMap,
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use leptos::{config::LeptosOptions, nonce::Nonce, prelude::provide_context};
use leptos_axum::generate_route_list;
use percent_encoding::percent_decode_str;
use tower::{Layer, Service, service_fn};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::SizeAbove},
};

use super::{caching::NO_STORE, html, state::AppState, static_files, statistics_page};
use crate::{
    app::{App, SiteOrigin, StatsLink, TicketsRequired, is_overlay, shell},
    domain::{ChannelId, LiveMode, StreamTemplate},
    server::{
        listen::ConnectionInfo,
        site::{PACKAGE, Site, builds},
    },
};

/// Responses up to this size are not compressed: they fit into one packet.
const MIN_COMPRESSED_BYTES: u64 = 1_024;

/// Browsers may cache a page and must revalidate it before each use. (`no-store` would keep it out of the back/forward
/// cache of some browsers.)
const PRIVATE_REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");

/// No compression, as the last choice. A client that refuses it gets it all the same if it accepts nothing else
/// (RFC 9110, section 12.5.3), like everywhere else.
const UNCOMPRESSED: HeaderValue = HeaderValue::from_static("identity;q=0.001");

/// The media type of pages.
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The request headers that a page depends on.
pub(super) const VARY: HeaderValue = HeaderValue::from_static("accept-language, accept-encoding");

/// The options with which Leptos renders the paths of script, WebAssembly and styles.
///
/// # Errors
/// When the site holds no build.
pub fn leptos_options(addr: SocketAddr, site: &Site) -> io::Result<LeptosOptions> {
    let build = builds::current(site)?;
    Ok(LeptosOptions::builder()
        .output_name("aforo")
        .site_pkg_dir(format!("{PACKAGE}/{build}"))
        .site_addr(addr)
        .build())
}

/// The routes of pages and static files.
///
/// # Errors
/// When the site cannot be read.
pub fn routes(site: &Site) -> io::Result<Router<AppState>> {
    let mut router = static_files::routes(site)?;
    // The routes of the Leptos router. Generating them also initializes Leptos's executor.
    for listing in generate_route_list(App).iter().filter(|listing| listing.path() != statistics_page::PATH) {
        router = router.route(listing.path(), get(page));
    }
    Ok(router.merge(statistics_page::routes()))
}

/// Compresses a response of more than 1 KB, if a request with these headers accepts it. Pages are so repetitive that the
/// fastest level is good enough.
pub(super) async fn compressed(headers: &HeaderMap, response: Response) -> Response {
    let mut request = Request::new(Body::empty());
    // The first one decides where the list says several things of an encoding.
    for accepted in std::iter::once(&UNCOMPRESSED).chain(headers.get_all(header::ACCEPT_ENCODING)) {
        request.headers_mut().append(header::ACCEPT_ENCODING, accepted.clone());
    }
    let mut response = Some(response);
    let respond = service_fn(move |_request: Request| {
        let response = response.take().unwrap_or_default();
        async { Ok::<_, Infallible>(response) }
    });
    let layer = CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES));
    let Ok(response) = layer.layer(respond).call(request).await;
    let (head, body) = response.into_parts();
    match to_bytes(Body::new(body), usize::MAX).await {
        Ok(whole) => Response::from_parts(head, Body::from(whole)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Renders the page at the request's path. The whole page is rendered before it is sent, because it must be complete
/// without JavaScript. An unknown path gets the not-found page with status 404, and a script of another build a 404 without
/// a page.
pub async fn page(
    state: State<AppState>,
    connection: Extension<ConnectionInfo>,
    request: Request,
) -> Response {
    if static_files::has_hash(request.uri().path()) {
        return static_files::not_found();
    }
    let headers = request.headers().clone();
    compressed(&headers, uncompressed(state, connection, request).await).await
}

async fn uncompressed(
    State(state): State<AppState>,
    Extension(connection): Extension<ConnectionInfo>,
    request: Request,
) -> Response {
    if let Some(channel) = channel_in_form(request.uri()) {
        return Redirect::to(&format!("/{channel}")).into_response();
    }
    let path = request.uri().path();
    let is_embed = path.starts_with("/embed/") && channel_of(path).is_some();
    let frame_ancestors = if is_embed { state.embed_frame_ancestors.as_str() } else { "'none'" };
    let nonce = Nonce::new();
    let policy = if is_overlay(request.uri().path()) {
        overlay_policy(&nonce)
    } else {
        let stream = stream_source(state.stream_url_template.as_ref(), request.uri().path());
        policy(&nonce, frame_ancestors, stream.as_ref())
    };
    let if_none_match: Vec<_> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let Some(Rendered { status, html }) = render(&state, &connection, nonce.clone(), request, || {}).await
    else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HTML);
    headers.insert(header::VARY, VARY);
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if status != StatusCode::OK {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        return (status, headers, html).into_response();
    }
    headers.insert(header::CACHE_CONTROL, PRIVATE_REVALIDATED);
    // A page that contains the nonce differs in every response, so an ETag would never match.
    if !html.contains(nonce.as_inner().as_ref())
        && let Ok(tag) = HeaderValue::try_from(etag(&html))
    {
        let is_current = matches_etag(&if_none_match, &tag);
        headers.insert(header::ETAG, tag);
        if is_current {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
    }
    (headers, html).into_response()
}

/// A page as Leptos renders it.
pub(super) struct Rendered {
    /// 200, unless the page has set another status.
    pub(super) status: StatusCode,
    /// Valid HTML.
    pub(super) html: String,
}

/// Renders the page at the request's path, with `more` in its context. `None` if the rendering breaks off.
pub(super) async fn render(
    state: &AppState,
    connection: &ConnectionInfo,
    nonce: Nonce,
    request: Request,
    more: impl Fn() + Clone + Send + Sync + 'static,
) -> Option<Rendered> {
    let (presence, follows, leptos) = (state.presence.clone(), state.follows.clone(), state.leptos.clone());
    let template = state.stream_url_template.clone();
    let tickets = TicketsRequired(state.callers.tickets.are_required());
    let mode = state.live;
    let live = channel_of(request.uri().path()).filter(|_| mode == LiveMode::Signal);
    let live = live.map(|channel| state.signals.state(&channel));
    let origin = site_origin(state, connection, request.headers(), request.uri());
    let has_public_statistics = state.statistics.has_public_statistics();
    let context = move || {
        more();
        provide_context(presence.clone());
        provide_context(follows.clone());
        provide_context(tickets);
        provide_context(mode);
        if let Some(live) = live {
            provide_context(live);
        }
        if let Some(template) = template.clone() {
            provide_context(template);
        }
        if let Some(origin) = origin.clone() {
            provide_context(origin);
        }
        if has_public_statistics {
            provide_context(StatsLink);
        }
        provide_context(nonce.clone());
    };
    let rendered =
        leptos_axum::render_app_async_with_context(context, move || shell(leptos.clone()))(request).await;
    let status = rendered.status();
    let whole = to_bytes(rendered.into_body(), usize::MAX).await.ok()?;
    Some(Rendered { status, html: html::valid(&String::from_utf8_lossy(&whole)) })
}

/// The origin of this site as the visitor sees it. A trusted proxy tells the scheme in `X-Forwarded-Proto`.
pub(super) fn site_origin(
    state: &AppState,
    connection: &ConnectionInfo,
    headers: &HeaderMap,
    uri: &Uri,
) -> Option<SiteOrigin> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))?;
    let is_proxied = state.proxies.include(connection.peer().ip());
    let forwarded = headers.get("x-forwarded-proto").filter(|_| is_proxied);
    let is_tls = forwarded.map_or(state.speaks_tls, |proto| proto == "https");
    Some(SiteOrigin(format!("{}://{host}", if is_tls { "https" } else { "http" })))
}

/// The content security policy of a page: files of this site, the inline script with the nonce, and the stream from its
/// origin. (hls.js hands the stream to the video as `blob:`.)
fn policy(nonce: &Nonce, frame_ancestors: &str, stream: Option<&StreamSource>) -> String {
    let connect =
        stream.and_then(|stream| stream.origin.as_ref()).map_or_else(String::new, |at| format!(" {at}"));
    let media = stream.map_or_else(String::new, |_| format!(" media-src 'self' blob:{connect};"));
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:;{media} connect-src 'self'{connect}; base-uri 'none'; form-action 'self'; \
         frame-ancestors {frame_ancestors}"
    )
}

/// The content security policy of an overlay. Inline styles are allowed: OBS puts the style sheet of its user into the
/// page as a `<style>` element, and that is how an overlay is themed.
fn overlay_policy(nonce: &Nonce) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src 'self' data:; \
         font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The source of a page's HLS stream.
struct StreamSource {
    /// `None` for this site.
    origin: Option<String>,
}

/// The source of the stream on the page at this path, if the page shows one.
fn stream_source(template: Option<&StreamTemplate>, path: &str) -> Option<StreamSource> {
    let channel = channel_of(path)?;
    template.map(|template| StreamSource { origin: template.origin(&channel) })
}

/// The channel of the page at this path, as the router of the pages reads it: it decodes the path twice, ignores a slash at
/// the end, and resolves the segments `.` and `..`, so these two channels have no page.
fn channel_of(path: &str) -> Option<ChannelId> {
    let name = path.strip_prefix("/embed/").or_else(|| path.strip_prefix('/'))?;
    let once = percent_decode_str(name.strip_suffix('/').unwrap_or(name)).decode_utf8().ok()?;
    let channel = ChannelId::parse(&percent_decode_str(&once).decode_utf8().ok()?).ok()?;
    (!matches!(channel.as_str(), "." | "..")).then_some(channel)
}

/// The channel that a visitor entered into the form of the home page.
fn channel_in_form(uri: &Uri) -> Option<ChannelId> {
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri).ok()?;
    (uri.path() == "/").then(|| ChannelId::parse(query.get("channel")?.trim()).ok())?
}

/// The `ETag` of a page. It is weak, because the page is the same with and without compression.
fn etag(html: &str) -> String {
    let mut hasher = DefaultHasher::new();
    html.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Whether `If-None-Match` contains the page's tag. The comparison is weak (RFC 9110, section 13.1.2).
fn matches_etag(if_none_match: &[HeaderValue], tag: &HeaderValue) -> bool {
    let opaque = |tag: &'_ [u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    let mut tags = if_none_match.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.any(|known| {
        matches!(known.trim_ascii(), b"*") || opaque(known.trim_ascii()) == opaque(tag.as_bytes())
    })
}
