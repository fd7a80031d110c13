//! The static files that browsers load.
//!
//! - `/pkg/{build}/{file}` serves the file of that build, or 404. It never serves a file of another build. Caches may
//!   keep the file forever. They must not keep the 404, because another node may have the file.
//! - A file at the root of the site has the same path in every build. Browsers must revalidate it before each use. Only
//!   hls.js has a hash in its name, and a missing one is a 404 too, instead of the page of a channel.
//!
//! `make site` puts each build into its own folder under `pkg`, named by a hash of the content, and writes the name of
//! the current build to `build.txt`. Older builds stay for pages that are still open.
//!
//! The rules are the same for a folder and for files inside the program.

use std::{io, path::Path};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get_service,
};
use tower_http::services::{
    ServeDir,
    fs::{Backend, DefaultServeDirFallback, TokioBackend},
};

use super::caching::NO_STORE;
use crate::server::site::{PACKAGE, Site, builds};

/// How much of a file is read at once, in bytes. Each answer keeps this much in memory.
const PART_BYTES: usize = 8 * 1024;

/// The request header that the choice among the encodings of a file depends on.
const VARY: HeaderValue = HeaderValue::from_static("accept-encoding");

/// `Cache-Control` of files that never change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// `Cache-Control` of files that must be revalidated before each use.
const REVALIDATED: HeaderValue = HeaderValue::from_static("public, no-cache");

const ANY_ORIGIN: (HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// The routes of all static files. A file at the root takes precedence over a channel of the same name.
///
/// # Errors
/// When the site cannot be read.
pub fn routes<S: Clone + Send + Sync + 'static>(site: &Site) -> io::Result<Router<S>> {
    let builds_path = match builds::of_cargo_leptos(site)? {
        Some(build) => format!("/{PACKAGE}/{build}"),
        None => format!("/{PACKAGE}"),
    };
    let names = site.public_names()?;
    Ok(match site {
        Site::Folder(root) => {
            build_files(&builds_path, root, TokioBackend).merge(root_files(&names, root, TokioBackend))
        }
        Site::Embedded(files) => {
            let root = Path::new("");
            build_files(&builds_path, root, files.clone()).merge(root_files(&names, root, files.clone()))
        }
    })
}

/// The routes of builds. In a folder they are read from disk on each request, so that a build can be added while the
/// server runs.
fn build_files<S: Clone + Send + Sync + 'static>(
    path: &str,
    root: &Path,
    backend: impl Backend,
) -> Router<S> {
    let finish = async |response| finish(response, IMMUTABLE);
    Router::new().nest_service(path, serve(&root.join(PACKAGE), backend)).layer(map_response(finish))
}

/// The routes of the files at the root of the site.
fn root_files<S: Clone + Send + Sync + 'static>(
    names: &[String],
    root: &Path,
    backend: impl Backend,
) -> Router<S> {
    let files = serve(root, backend);
    let mut router = Router::new();
    for name in names {
        router = router.route(&format!("/{name}"), get_service(files.clone()));
    }
    let finish = async |response| finish(response, REVALIDATED);
    router.layer(map_response(finish))
}

fn serve<B: Backend>(folder: &Path, backend: B) -> ServeDir<DefaultServeDirFallback, B> {
    ServeDir::with_backend(folder, backend)
        .append_index_html_on_directories(false)
        .with_buf_chunk_size(PART_BYTES)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_gzip()
}

/// Whether this is the path of a root file with a hash in its name: `/hls-` with 8 upper-case letters or digits, and `.js`
/// (client/build.mjs). Each build has a name of its own, which pages of other builds still ask for. At least one of the 8
/// is a letter, so no channel has such a path: the names of channels are in lower case.
pub fn has_hash(path: &str) -> bool {
    let hash = path.strip_prefix("/hls-").and_then(|rest| rest.strip_suffix(".js")).unwrap_or_default();
    hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// The response to a request for a file that does not exist.
pub fn not_found() -> Response {
    finish(StatusCode::NOT_FOUND.into_response(), NO_STORE)
}

/// Adds `Cache-Control`, and lets scripts of every origin read the response: other sites load the widget, a sandboxed
/// frame has an opaque origin, and module scripts are fetched with CORS. A 304 has the same `Vary` as the file
/// (RFC 9110, section 15.4.5).
fn finish(mut response: Response, cache_control: HeaderValue) -> Response {
    let is_found = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, if is_found { cache_control } else { NO_STORE });
    headers.insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    if is_found {
        headers.insert(header::VARY, VARY);
    }
    response
}
