//! The files that browsers load, and the pages.

use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    path::Path,
};

use axum::{
    Router,
    extract::{Query, Request, State},
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, get_service},
};
use leptos::{config::LeptosOptions, nonce::Nonce, prelude::provide_context};
use leptos_axum::generate_route_list;
use tower::ServiceBuilder;
use tower_http::{
    services::{ServeDir, ServeFile},
    set_header::SetResponseHeaderLayer,
};

use super::state::AppState;
use crate::{
    app::{App, shell},
    domain::{ChannelId, StreamTemplate},
};

/// The browser half, under the site root; named as cargo-leptos names it.
const PACKAGE: &str = "pkg";

/// What Leptos needs to know to name the files in the pages.
///
/// The address of the package holds a hash of its content, so that browsers may keep the files for good and still get
/// new ones after a deployment.
///
/// # Errors
/// When the files of the browser half can't be read.
pub fn leptos_options(addr: SocketAddr, site_root: &Path) -> io::Result<LeptosOptions> {
    let version = version_of(&site_root.join(PACKAGE))?;
    Ok(LeptosOptions::builder()
        .output_name("aforo")
        .site_root(site_root.to_string_lossy().into_owned())
        .site_pkg_dir(format!("{PACKAGE}/{version}"))
        .site_addr(addr)
        .build())
}

/// A hash over the names and contents of a folder's files.
fn version_of(folder: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    hash_files(folder, &mut hasher)?;
    Ok(format!("{:016x}", hasher.finish()))
}

/// Also of those in folders within it: cargo-leptos puts pieces of JavaScript there.
fn hash_files(folder: &Path, hasher: &mut impl Hasher) -> io::Result<()> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        path.file_name().hash(hasher);
        if path.is_dir() {
            hash_files(&path, hasher)?;
        } else {
            fs::read(&path)?.hash(hasher);
        }
    }
    Ok(())
}

/// Files and pages. A file of the site root wins over a channel of the same name.
///
/// # Errors
/// When the site root can't be read.
pub fn routes(site_root: &Path) -> io::Result<Router<AppState>> {
    let mut router = Router::new();
    // Other sites load the widget; a sandboxed frame has an origin of its own; and module scripts are fetched by the rules
    // for foreign ones.
    let any_origin = SetResponseHeaderLayer::overriding(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    for entry in fs::read_dir(site_root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !name.ends_with(".br") && !name.ends_with(".gz") {
            let file = ServeFile::new(&path).precompressed_br().precompressed_gzip();
            let file = cached("public, max-age=3600").layer(any_origin.clone()).service(file);
            router = router.route(&format!("/{name}"), get_service(file));
        }
    }
    let package = ServeDir::new(site_root.join(PACKAGE)).precompressed_br().precompressed_gzip();
    router = router.nest_service(
        &format!("/{PACKAGE}/{{version}}"),
        cached("public, max-age=31536000, immutable").layer(any_origin).service(package),
    );

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
    let stream = source(state.stream_url_template.as_ref(), request.uri().path());
    let policy = policy(&nonce, framed_by, stream.as_ref());
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

fn cached(
    policy: &'static str,
) -> ServiceBuilder<
    tower::layer::util::Stack<SetResponseHeaderLayer<HeaderValue>, tower::layer::util::Identity>,
> {
    let value = HeaderValue::from_static(policy);
    ServiceBuilder::new().layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, value))
}
