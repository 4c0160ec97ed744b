//! What can go wrong with the catalog, for whoever has to repair it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the catalog did not do what it was asked.
#[derive(Debug, Error)]
pub enum CatalogError {
    #[error("the catalog {} cannot be opened: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the catalog {} is held by another process; is a scheduler running on it?", path.display())]
    Held { path: PathBuf },
    #[error("the catalog {} is damaged ({reason}); restore a copy, or move it away and let all members join again", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("the catalog {} was written by a newer version ({found}; this one knows {known}); upgrade this scheduler", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("the disk with the catalog is full; nothing was changed; make room and try again")]
    DiskFull,
    #[error("the catalog cannot be written: {0}")]
    NotWritable(String),
    #[error("the catalog is damaged ({0}); restore a copy, or move it away and let all members join again")]
    Corrupt(String),
    #[error("the catalog has no {kind} {name}")]
    Missing { kind: &'static str, name: String },
    #[error("the catalog has {limit} {kind} already; remove some")]
    TooMany { kind: &'static str, limit: u32 },
    #[error("the catalog holds what cannot be read: {0}")]
    Unreadable(String),
    #[error("the catalog could not finish the operation; the log of the scheduler says why")]
    Stopped,
    #[error("no certificate could be made: {0}")]
    Making(String),
    #[error("no thread for the catalog: {0}")]
    Thread(io::Error),
    #[error("the catalog failed: {0}")]
    Sql(rusqlite::Error),
}

impl CatalogError {
    /// Of opening the file at `path`.
    pub(super) fn of_file(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Held { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, reason: error.to_string() }
            }
            _ => error.into(),
        }
    }

    /// What was asked for is not there; nothing is wrong with the catalog.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    pub(super) fn missing(kind: &'static str, name: &impl ToString) -> Self {
        Self::Missing { kind, name: name.to_string() }
    }
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::SystemIoFailure | ErrorCode::PermissionDenied) => {
                Self::NotWritable(error.to_string())
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Corrupt(error.to_string()),
            _ => Self::Sql(error),
        }
    }
}
