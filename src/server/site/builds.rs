//! The builds in a site. `make site` names the current one in `build.txt`; cargo-leptos has one, without a name.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
};

use super::{BUILD_FILE, PACKAGE, Site};

/// A file that every build contains.
const SCRIPT: &str = "aforo.js";

/// The name of the build whose files the pages load.
///
/// # Errors
/// When the site holds no build by `make site` or cargo-leptos.
pub fn current(site: &Site) -> io::Result<String> {
    if let Some(build) = of_cargo_leptos(site)? {
        return Ok(build);
    }
    let name = String::from_utf8_lossy(&site.read(BUILD_FILE)?).trim().to_owned();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name && site.has(&format!("{PACKAGE}/{name}/{SCRIPT}")) {
        Ok(name)
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("build {name:?} not found in {PACKAGE}")))
    }
}

/// The name of the build by cargo-leptos in the folder of the builds, if there is one: a hash of it. (`make site` removes it, so
/// it never is in the program.)
///
/// # Errors
/// When the folder cannot be read.
pub fn of_cargo_leptos(site: &Site) -> io::Result<Option<String>> {
    let Site::Folder(root) = site else { return Ok(None) };
    let package = Some(root.join(PACKAGE)).filter(|package| package.join(SCRIPT).is_file());
    package.map(|package| hash_of(&package)).transpose()
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
