//! The static files that browsers load.
//!
//! - `/pkg/{build}/{file}` serves the file of that build, or 404. It never serves a file of another build. Caches may
//!   keep the file forever. They must not keep the 404, because another node may have the file.
//! - A file at the root of the site has the same path in every build. Browsers must revalidate it before each use.
//!
//! `make site` puts each build into its own folder under `pkg`, named by a hash of the content, and writes the name of
//! the current build to `build.txt`. Older builds stay for pages that are still open. cargo-leptos builds into `pkg`
//! itself; the hash of that folder is used as the name of the build.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
};

use axum::{
    Router,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::Response,
    routing::get_service,
};
use tower_http::services::{ServeDir, ServeFile};

/// The folder of builds under the site root. cargo-leptos uses the same name.
pub const PACKAGE: &str = "pkg";

/// The file under the site root that names the current build.
const BUILD_FILE: &str = "build.txt";

/// A file that every build contains.
const SCRIPT: &str = "aforo.js";

/// `Cache-Control` of files that never change.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// `Cache-Control` of files that must be revalidated before each use.
const REVALIDATED: HeaderValue = HeaderValue::from_static("public, no-cache");
/// `Cache-Control` of responses that must not be cached.
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const ANY_ORIGIN: (HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// The name of the build whose files the pages load.
///
/// # Errors
/// When the site root holds no build by `make site` or cargo-leptos.
pub fn current_build(site_root: &Path) -> io::Result<String> {
    let package = site_root.join(PACKAGE);
    if package.join(SCRIPT).is_file() {
        return hash_of(&package);
    }
    let name = fs::read_to_string(site_root.join(BUILD_FILE))?.trim().to_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name && package.join(&name).join(SCRIPT).is_file() {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("build {name:?} not found in {PACKAGE}")))
    }
}

/// A hash of the names and contents of a folder's files.
fn hash_of(folder: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    hash_files(folder, &mut hasher)?;
    Ok(format!("{:016x}", hasher.finish()))
}

/// Hashes the files of a folder and its subfolders; cargo-leptos puts JavaScript snippets into subfolders.
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

/// The routes of all static files. A file at the root takes precedence over a channel of the same name.
///
/// # Errors
/// When the site root cannot be read.
pub fn routes<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    Ok(builds(site_root)?.merge(root_files(site_root)?))
}

/// The routes of builds. They are read from disk on each request, so that a build can be added while the server runs.
fn builds<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    let package = site_root.join(PACKAGE);
    let path = if package.join(SCRIPT).is_file() {
        format!("/{PACKAGE}/{}", hash_of(&package)?)
    } else {
        format!("/{PACKAGE}")
    };
    let files = ServeDir::new(package)
        .append_index_html_on_directories(false)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_gzip();
    let finish = async |response| finish(response, IMMUTABLE);
    Ok(Router::new().nest_service(&path, files).layer(map_response(finish)))
}

/// The routes of the files at the root of the site.
fn root_files<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    let mut router = Router::new();
    for name in root_names(site_root)? {
        let file = ServeFile::new(site_root.join(&name))
            .ignore_multi_range_requests(true)
            .precompressed_br()
            .precompressed_gzip();
        router = router.route(&format!("/{name}"), get_service(file));
    }
    let finish = async |response| finish(response, REVALIDATED);
    Ok(router.layer(map_response(finish)))
}

/// The names of the files at the root of the site.
///
/// # Errors
/// When the site root cannot be read.
pub fn root_names(site_root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(site_root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_public = !name.starts_with('.') && !name.ends_with(".br") && !name.ends_with(".gz");
        if path.is_file() && is_public {
            names.push(name);
        }
    }
    Ok(names)
}

/// Adds `Cache-Control`, and lets scripts of every origin read the response: other sites load the widget, a sandboxed
/// frame has an opaque origin, and module scripts are fetched with CORS.
fn finish(mut response: Response, cache_control: HeaderValue) -> Response {
    let is_found = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, if is_found { cache_control } else { NO_STORE });
    headers.insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    response
}
