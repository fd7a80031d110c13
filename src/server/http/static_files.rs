//! The files that browsers load.
//!
//! - `/pkg/{build}/{file}` gives the bytes of that build or a 404, never those of another build. The bytes may be kept for
//!   good. The 404 may not be kept, since another node may have the file.
//! - A file at the root of the site has the same address in every build. Browsers ask for it again each time, and get it
//!   only if it has changed.
//!
//! `make site` puts each build into a folder of its own under `pkg`, named by a hash of its content, and writes the name
//! of the current one into `build.txt`. Older builds stay beside it for pages that are open. What cargo-leptos builds lies
//! in `pkg` itself, and has a hash of its content for a name.

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

/// The folder of builds under the site root; cargo-leptos has the same name for it.
pub const PACKAGE: &str = "pkg";

/// The file under the site root that names the current build.
const BUILD: &str = "build.txt";

/// A file that every build has.
const SCRIPT: &str = "aforo.js";

/// For what an address gives always.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For what has to be asked for again before each use.
const REVALIDATED: HeaderValue = HeaderValue::from_static("public, no-cache");
/// For what must not be kept.
pub const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");

const ANY_ORIGIN: (HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

/// The name of the build whose files the pages load.
///
/// # Errors
/// When the site root is not what `make site` or cargo-leptos builds.
pub fn current_build(site_root: &Path) -> io::Result<String> {
    let package = site_root.join(PACKAGE);
    if package.join(SCRIPT).is_file() {
        return version_of(&package);
    }
    let name = fs::read_to_string(site_root.join(BUILD))?.trim().to_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name && package.join(&name).join(SCRIPT).is_file() {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no build {name:?} in {PACKAGE}")))
    }
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

/// All of them. A file at the root wins over a channel of the same name.
///
/// # Errors
/// When the site root can't be read.
pub fn routes<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    Ok(builds(site_root)?.merge(root_files(site_root)?))
}

/// Builds are looked for on disk at each request, so that one can be put beside another while the server runs.
fn builds<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    let package = site_root.join(PACKAGE);
    let at = if package.join(SCRIPT).is_file() {
        format!("/{PACKAGE}/{}", version_of(&package)?)
    } else {
        format!("/{PACKAGE}")
    };
    let files = ServeDir::new(package)
        .append_index_html_on_directories(false)
        .ignore_multi_range_requests(true)
        .precompressed_br()
        .precompressed_gzip();
    let finish = async |response| finish(response, FOR_GOOD);
    Ok(Router::new().nest_service(&at, files).layer(map_response(finish)))
}

fn root_files<S: Clone + Send + Sync + 'static>(site_root: &Path) -> io::Result<Router<S>> {
    let mut router = Router::new();
    for entry in fs::read_dir(site_root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_public = !name.starts_with('.') && !name.ends_with(".br") && !name.ends_with(".gz");
        if path.is_file() && is_public {
            let file = ServeFile::new(&path)
                .ignore_multi_range_requests(true)
                .precompressed_br()
                .precompressed_gzip();
            router = router.route(&format!("/{name}"), get_service(file));
        }
    }
    let finish = async |response| finish(response, REVALIDATED);
    Ok(router.layer(map_response(finish)))
}

/// Says how long the answer may be kept, and lets every site read it: others load the widget, a sandboxed frame has an
/// origin of its own, and module scripts are fetched by the rules for foreign ones.
fn finish(mut response: Response, caching: HeaderValue) -> Response {
    let is_found = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, if is_found { caching } else { NOT_KEPT });
    headers.insert(ANY_ORIGIN.0, ANY_ORIGIN.1);
    response
}
