//! Where followers are kept.

use std::{path::PathBuf, sync::Arc};

use super::{FileFollowers, Followers, RemoteFollowers};
use crate::server::{config::Config, redis::Runner};

/// The file can't be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "followers can't be kept in {folder}: {source}. DATA_DIR says where, and one process may use a folder"
)]
pub struct OpenError {
    folder: PathBuf,
    source: redb::Error,
}

/// Opens the place that the settings name: the store of the leases, if that is outside of this process, else the file in
/// `DATA_DIR`.
///
/// # Errors
/// When the folder can't be written, or another process uses it.
pub fn open(config: &Config, runner: Option<Arc<dyn Runner>>) -> Result<Arc<dyn Followers>, OpenError> {
    if let Some(runner) = runner {
        return Ok(Arc::new(RemoteFollowers::new(runner, &config.redis_key_prefix)));
    }
    let folder = &config.data_dir;
    let file = FileFollowers::open(folder).map_err(|source| OpenError { folder: folder.clone(), source })?;
    tracing::info!(folder = %folder.display(), "followers are kept in a file");
    Ok(Arc::new(file))
}
