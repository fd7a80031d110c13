//! The files for browsers: in a folder, or inside the program.
//!
//! A release is built with the feature `embed-site`, so that the program is the only file to deploy. A folder is for
//! development and for tests, and for operators who set `LEPTOS_SITE_ROOT`.

pub mod builds;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt, fs,
    future::{Ready, ready},
    io::{self, Cursor, SeekFrom},
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower_http::services::fs::{Backend, File, Metadata};

/// The folder of builds in the site. cargo-leptos uses the same name.
pub const PACKAGE: &str = "pkg";

/// The file of the site that names the current build.
pub const BUILD_FILE: &str = "build.txt";

/// The files for browsers.
#[derive(Debug, Clone)]
pub enum Site {
    /// In this folder. A file is read at each request, so that a build can be added while the server runs.
    Folder(PathBuf),
    /// Inside the program.
    Embedded(Embedded),
}

impl Site {
    /// The content of a file. The path is relative to the root of the site, with `/` between its parts.
    ///
    /// # Errors
    /// When the file does not exist or can't be read.
    pub fn read(&self, path: &str) -> io::Result<Bytes> {
        match self {
            Self::Folder(root) => fs::read(root.join(path)).map(Bytes::from),
            Self::Embedded(files) => files.get(Path::new(path)).map(|file| file.content.clone()),
        }
    }

    /// Whether the site has a file at this path.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        match self {
            Self::Folder(root) => root.join(path).is_file(),
            Self::Embedded(files) => files.get(Path::new(path)).is_ok(),
        }
    }

    /// The names of the files at the root, hidden ones included.
    ///
    /// # Errors
    /// When the folder can't be read.
    fn root_names(&self) -> io::Result<Vec<String>> {
        match self {
            Self::Folder(root) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(root)? {
                    let path = entry?.path();
                    if path.is_file() {
                        names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
                    }
                }
                Ok(names)
            }
            Self::Embedded(files) => Ok(files.0.keys().filter(|path| !path.contains('/')).cloned().collect()),
        }
    }

    /// The names of the public files at the root.
    ///
    /// # Errors
    /// When the site cannot be read.
    pub fn public_names(&self) -> io::Result<Vec<String>> {
        let is_public =
            |name: &String| !name.starts_with('.') && !name.ends_with(".br") && !name.ends_with(".gz");
        Ok(self.root_names()?.into_iter().filter(is_public).collect())
    }
}

/// The site for people.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(root) => root.display().fmt(f),
            Self::Embedded(_) => f.write_str("the program itself"),
        }
    }
}

/// Files inside the program, by their path. Cloning is cheap.
#[derive(Clone)]
pub struct Embedded(Arc<BTreeMap<String, EmbeddedFile>>);

/// The content of a file, and when it was last changed.
#[derive(Debug, Clone)]
struct EmbeddedFile {
    content: Bytes,
    modified: SystemTime,
}

impl Embedded {
    /// Collects files: the path, the content, and the seconds from the Unix epoch to the last change. Responses name the
    /// time and derive the `ETag` from it.
    #[must_use]
    pub fn new(files: impl IntoIterator<Item = (String, Cow<'static, [u8]>, u64)>) -> Self {
        let entry = |(path, content, seconds)| {
            let content = match content {
                Cow::Borrowed(content) => Bytes::from_static(content),
                Cow::Owned(content) => Bytes::from(content),
            };
            (path, EmbeddedFile { content, modified: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) })
        };
        Self(Arc::new(files.into_iter().map(entry).collect()))
    }

    /// The name of the build that the pages load, if there is one.
    #[must_use]
    pub fn build(&self) -> Option<String> {
        let file = self.get(Path::new(BUILD_FILE)).ok()?;
        Some(String::from_utf8_lossy(&file.content).trim().to_owned())
    }

    fn get(&self, path: &Path) -> io::Result<&EmbeddedFile> {
        let parts: Option<Vec<&str>> = path
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .map(|part| match part {
                Component::Normal(name) => name.to_str(),
                _ => None,
            })
            .collect();
        let file = parts.and_then(|parts| self.0.get(&parts.join("/")));
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} files)", self.0.len())
    }
}

/// What `ServeDir` asks about a file. Folders do not exist for it: a request for one gets a 404 either way.
#[derive(Debug, Clone, Copy)]
pub struct FileInfo {
    len: u64,
    modified: SystemTime,
}

impl Metadata for FileInfo {
    fn is_dir(&self) -> bool {
        false
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(self.modified)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// An embedded file that is being sent.
#[derive(Debug)]
pub struct OpenFile {
    content: Cursor<Bytes>,
    info: FileInfo,
}

impl File for OpenFile {
    type Metadata = FileInfo;
    type MetadataFuture<'a> = Ready<io::Result<FileInfo>>;

    fn metadata(&self) -> Self::MetadataFuture<'_> {
        ready(Ok(self.info))
    }
}

impl AsyncRead for OpenFile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.content).poll_read(context, buffer)
    }
}

impl AsyncSeek for OpenFile {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.content).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.content).poll_complete(context)
    }
}

impl Backend for Embedded {
    type File = OpenFile;
    type Metadata = FileInfo;
    type OpenFuture = Ready<io::Result<OpenFile>>;
    type MetadataFuture = Ready<io::Result<FileInfo>>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        ready(
            self.get(&path)
                .map(|file| OpenFile { content: Cursor::new(file.content.clone()), info: file.info() }),
        )
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        ready(self.get(&path).map(EmbeddedFile::info))
    }
}

impl EmbeddedFile {
    fn info(&self) -> FileInfo {
        FileInfo { len: self.content.len() as u64, modified: self.modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_files_inside_and_to_nothing_else() {
        let file = |path: &str| (path.to_owned(), Cow::Owned(path.as_bytes().to_vec()), 7);
        let files = Embedded::new([file("build.txt"), file("pkg/one/aforo.js")]);
        for path in ["build.txt", "./build.txt", "pkg/one/aforo.js", "./pkg/one/aforo.js"] {
            assert_eq!(files.get(Path::new(path)).unwrap().content, path.trim_start_matches("./"), "{path}");
        }
        for path in ["", ".", "pkg", "pkg/one", "/build.txt", "pkg/../build.txt", "none"] {
            assert_eq!(files.get(Path::new(path)).unwrap_err().kind(), io::ErrorKind::NotFound, "{path}");
        }
        assert_eq!(files.build().as_deref(), Some("build.txt"));
        assert_eq!(Site::Embedded(files).root_names().unwrap(), ["build.txt"]);
    }
}
