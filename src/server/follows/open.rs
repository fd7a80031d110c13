//! Opens the configured store of followers.

use std::{path::PathBuf, sync::Arc};

use super::{FileFollowers, Followers, RemoteFollowers};
use crate::server::{config::Config, redis::Runner};

/// The file of followers can't be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "followers can't be stored in {folder}: {source}. Set DATA_DIR to a writable folder; only one process may use a folder"
)]
pub struct OpenError {
    folder: PathBuf,
    source: redb::Error,
}

/// Opens the store of followers: Redis through `runner` if there is one, otherwise the file in `DATA_DIR`.
///
/// # Errors
/// When the folder can't be written, or another process uses it.
pub fn open(config: &Config, runner: Option<Arc<dyn Runner>>) -> Result<Arc<dyn Followers>, OpenError> {
    if let Some(runner) = runner {
        return Ok(Arc::new(RemoteFollowers::new(runner, &config.redis_key_prefix)));
    }
    let folder = &config.data_dir;
    let file = FileFollowers::open(folder).map_err(|source| OpenError { folder: folder.clone(), source })?;
    tracing::info!(folder = %folder.display(), "followers file opened");
    Ok(Arc::new(file))
}
